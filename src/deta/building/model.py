"""A trained detector in the hands of a program: ``deta.load(...)``, which the commands use, too."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, overload

import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from deta.building.build import choose_postprocess, restore_detector, trust_in
from deta.building.evaluation import Judged, evaluate_checkpoint
from deta.building.published import named_weights, open_checkpoint, read_published
from deta.building.stored import build, section
from deta.data.images import EXIF_CHOICES, ImageRules
from deta.data.transforms import Transform
from deta.evaluation import DetectionResult
from deta.inference import Predictor, Result, SourceOptions, open_source
from deta.inference.pictures import forgotten
from deta.inference.results import DEFAULT_SCORE
from deta.models.postprocess import Postprocess
from deta.training.checkpoint import Checkpoint, holds_checkpoint
from deta.utils.checks import require_choice
from deta.utils.files import expanded, is_there
from deta.utils.names import nearest
from deta.zoo import Places

Given = Image.Image | NDArray[Any] | Tensor
"""Images that a program holds."""


@dataclass(frozen=True, eq=False)
class Model:
    """A trained detector.

    Attributes:
        checkpoint: What it was read from, without its weights.
        predictor: Detector, preparation of images and selection of detections.
        trusted: Classes that its configuration may name beside those of deta.
    """

    checkpoint: Checkpoint
    predictor: Predictor
    trusted: Sequence[str] = ()

    @property
    def path(self) -> Path:
        """The file that it was read from."""
        return self.checkpoint.path

    @property
    def names(self) -> tuple[str, ...]:
        """Name of every class index."""
        return self.predictor.names

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration of its training, plain values."""
        return self.checkpoint.config

    @property
    def detector(self) -> nn.Module:
        """The network, in evaluation mode."""
        return self.predictor.detector

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.predictor.device

    def __repr__(self) -> str:
        return f"Model({str(self.path)!r}, {len(self.names)} classes, {self.device})"

    @overload
    def predict(
        self,
        source: Given,
        *,
        min_score: float = ...,
        batch_size: int | None = ...,
        **options: Any,  # noqa: ANN401 - those of SourceOptions, which checks them
    ) -> Result: ...

    @overload
    def predict(
        self,
        source: str | Path,
        *,
        min_score: float = ...,
        batch_size: int | None = ...,
        **options: Any,  # noqa: ANN401 - those of SourceOptions, which checks them
    ) -> Result | Any: ...  # noqa: ANN401 - a name may mean one image or many, and who writes it knows

    @overload
    def predict(
        self,
        source: Sequence[Any],
        *,
        min_score: float = ...,
        batch_size: int | None = ...,
        **options: Any,  # noqa: ANN401 - those of SourceOptions, which checks them
    ) -> list[Result]: ...

    def predict(
        self,
        source: Any,
        *,
        min_score: float = DEFAULT_SCORE,
        batch_size: int | None = None,
        **options: Any,
    ) -> Result | list[Result]:
        """Detect objects.

        Args:
            source: Path or address of an image; an image of Pillow, an array ``[H, W, 3]`` of uint8 or a tensor
                ``[3, H, W]`` of uint8 or in 0..1; a folder, a quoted glob, a list file or a video; or a sequence of any
                of these. Channels are red, green, blue.
            min_score: Score from which detections are told, 0..1; ``result.at(score)`` changes it later.
            batch_size: Most images of a batch, from 1; None chooses by their size and the device.
            options: Those of ``SourceOptions``.

        Returns:
            One result for one image, a list for anything that may hold several. Those of many files do not keep the
            pixels: ``draw`` reads the file again.

        Raises:
            ValueError: The source is none of these, or an image cannot be used (``ImageError``).
            OSError: It cannot be read.
        """
        found = open_source(source, _source_options(options))
        results = self.predictor.stream(
            found.pictures, min_score=min_score, batch_size=batch_size, is_single=found.is_single
        )
        if found.is_single:
            (result,) = results
            return result
        return [_without_pixels(result) for result in results]

    def stream(
        self,
        source: Given | str | Path | Sequence[Any],
        *,
        min_score: float = DEFAULT_SCORE,
        batch_size: int | None = None,
        **options: Any,  # noqa: ANN401 - those of SourceOptions, which checks them
    ) -> Generator[Result, None, None]:
        """``predict`` one result after the other, with pixels; the next ones are made meanwhile.

        Also for what has no end: cameras, streams and watched folders, which are let go once no more results are taken.
        Everything is as in ``predict``.
        """
        found = open_source(source, _source_options(options))
        return self.predictor.stream(
            found.pictures, min_score=min_score, batch_size=batch_size, is_single=found.is_single
        )

    def evaluate(
        self,
        annotations: str | Path | None = None,
        images: str | Path | None = None,
        **settings: Any,  # noqa: ANN401 - settings of the data set, which checks them
    ) -> DetectionResult:
        """Evaluate on a data set; the numbers are those of ``deta eval``.

        Args:
            annotations: JSON in the layout that the training had; None takes the data set of the training.
            images: Folder in which the names in it start; must be given with ``annotations``.
            settings: Further settings of the data set, such as ``eval_batch_size=8`` or ``num_workers=0``.

        Returns:
            Average precision by COCO's or LVIS's rules; ``print(result)`` shows all numbers.

        Raises:
            ValueError: The categories are others than those of the training, or a setting does not exist.
            OSError: A file is missing.
        """
        if (annotations is None) != (images is None):
            raise ValueError("evaluate needs both annotations and images, or neither for the data set of the training")
        given = dict(settings)
        if annotations is not None and images is not None:
            given |= {"val_annotations": str(Path(annotations).absolute()), "val_images": str(Path(images).absolute())}
        judged: Judged = evaluate_checkpoint(
            self.checkpoint,
            self.detector,
            self.predictor.postprocess,
            data=given,
            trusted=self.trusted,
            device=self.device,
        )
        self.detector.to(self.device).eval()
        return judged.result


def load(
    weights: str | Path,
    *words: str,
    device: str = "auto",
    precision: str = "32-true",
    postprocess: Postprocess | None = None,
    trusted: Sequence[str] = (),
    exif: str = "auto",
    max_image_pixels: int = ImageRules.max_pixels,
    scale_16bit: bool = False,
    places: Places | None = None,
) -> Model:
    """A trained detector.

    Args:
        weights: Directory of a run, of which its best checkpoint is taken, a checkpoint file, a published one, or the
            name of published weights (``deta weights list``), which are downloaded once.
        words: Of a published file what it holds, as ``deta convert`` takes it: ``"system=dino"``.
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        postprocess: Selection of detections, by the score of the training; None is that of the training.
        trusted: Classes that the stored configuration may build beside those of deta, such as ``["mine.MyNeck"]``.
        exif: An EXIF orientation: ``auto`` (as the training did, applied where it met none), ``apply`` or ``ignore``.
        max_image_pixels: Larger images are unusable, from 1.
        scale_16bit: Map 16-bit images to 8 bits instead of refusing them.
        places: Where files of weights by name are looked for and kept; None is as the environment says.

    Raises:
        FileNotFoundError: There is no such file or run.
        ValueError: The file is damaged, or wants to build what is neither deta's nor trusted.
    """
    chosen = choose_device(device)
    checkpoint = _read(weights, words, places)
    detector = restore_detector(checkpoint, trusted).to(chosen)
    rules = ImageRules(max_pixels=max_image_pixels, scale_16bit=scale_16bit, exif=_exif(exif, checkpoint))
    predictor = Predictor(
        detector=detector,
        postprocess=choose_postprocess(postprocess, checkpoint, trusted),
        transform=_make_transform(checkpoint, trusted),
        names=checkpoint.category_names,
        category_ids=checkpoint.category_ids,
        rules=rules,
        device=chosen,
        precision=precision,
    )
    return Model(replace(checkpoint, weights={}), predictor, tuple(trusted))


def _read(weights: str | Path, words: Sequence[str], places: Places | None) -> Checkpoint:
    path = expanded(weights)
    place = path if is_there(path) else weights
    if not words:
        return open_checkpoint(place, places)
    name = named_weights(place)
    if name is not None:
        raise ValueError(f"{words[0]}: {name} is a name of published weights, which says itself what they are of")
    if holds_checkpoint(path):
        raise ValueError(f"{words[0]}: {path} is a checkpoint of deta, which says itself what it holds")
    return read_published(path, words)


def choose_device(name: str) -> torch.device:
    """The device of this name; ``auto`` is a GPU where there is one.

    Raises:
        ValueError: It is no device, or this machine has none.
    """
    has_cuda = torch.cuda.is_available()
    require_choice("device", name, ("auto", "cpu", "cuda"))
    if name == "cuda" and not has_cuda:
        raise ValueError("device=cuda: this machine has no usable CUDA device; use device=cpu")
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


def _exif(chosen: str, checkpoint: Checkpoint) -> str:
    """What orientations do; it is taken from the training unless it is chosen."""
    if require_choice("exif", chosen, EXIF_CHOICES) != "auto":
        return chosen
    return require_choice(f"exif of {checkpoint.path}", checkpoint.exif or "apply", EXIF_CHOICES)


def _make_transform(checkpoint: Checkpoint, trusted: Sequence[str]) -> Transform:
    """The preparation of validation images in the training of the checkpoint."""
    place = "data.val_transform"
    transform: Transform = build(section(checkpoint, place), place, trust_in(checkpoint, trusted))
    return transform


def _without_pixels(result: Result) -> Result:
    """The same without its pixels, so that results of many images fit into the memory; given images are kept."""
    picture = result.picture
    if not picture.can_be_read_again:
        return result
    return replace(result, picture=picture if picture.frame is None else forgotten(picture), kept_pixels=None)


def _source_options(options: Mapping[str, Any]) -> SourceOptions:
    """Raises ``TypeError``: there is no such option; the message names what was probably meant."""
    known = [field.name for field in fields(SourceOptions)]
    taken = ["min_score", "batch_size", *known]
    for name in options:
        if name not in known:
            meant = nearest(name, taken)
            advice = f"did you mean {meant}?" if meant else f"it takes {', '.join(taken)}"
            raise TypeError(f"predict has no option {name}: {advice}")
    return SourceOptions(**options)
