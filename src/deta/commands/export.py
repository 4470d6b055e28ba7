"""``deta export``: write a detector as a file that runs without deta."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, ListConfig
from torch import Generator, Tensor

from deta import __version__
from deta.building.build import make_postprocess, plain, restore_detector, trust_in
from deta.building.published import named_weights, open_checkpoint, places_of
from deta.building.stored import build, section
from deta.console.terminal import reports_errors
from deta.data.collate import Collate
from deta.data.image_search import find_images
from deta.data.images import ImageRules, decode_image
from deta.data.sample import Sample, unlabelled_sample
from deta.data.shapes_drawing import draw_image
from deta.data.transforms import Transform, resize
from deta.export.agreement import MOST_PIXELS, MOST_SCORE, Agreement, compare
from deta.export.files import SUFFIXES, Run, load, require_packages, write
from deta.export.graph import INPUTS, LEAST_SIDE, Candidates, DetectorGraph, Selected, least_side, trace
from deta.models.detector import Detector
from deta.training.checkpoint import Checkpoint
from deta.utils.checks import require_choice, require_int, require_number
from deta.utils.files import replacing
from deta.utils.wording import counted

_TRANSFORM = "data.val_transform"
_MADE_SIZES = ((256, 320), (320, 240), (224, 352))
"""Height and width of the pictures that are made."""


@reports_errors
def run(cfg: DictConfig) -> None:
    """Trace, write, and run what was written beside the model; a file that detects otherwise is not left behind."""
    kind = require_choice("format", cfg.format, SUFFIXES)
    require_choice("nms", cfg.nms, ("inside", "outside"))
    require_number("min_score", cfg.min_score, low=0, high=1)
    shape = Shape.of(cfg.batch, cfg.image_size)
    require_packages(kind)
    name = named_weights(cfg.ckpt)
    checkpoint = open_checkpoint(cfg.ckpt, places_of(cfg))
    usual = checkpoint.path.with_suffix(SUFFIXES[kind]) if name is None else Path(f"{name}{SUFFIXES[kind]}")
    target = usual if cfg.target is None else Path(cfg.target)
    _require_free(target, kind)
    samples = _samples(cfg, checkpoint)
    detector = restore_detector(checkpoint, cfg.trusted)
    if not isinstance(detector, Detector):
        raise ValueError(
            f"{checkpoint.path}: only a deta.models.Detector can be exported, not {type(detector).__name__}"
        )
    postprocess = make_postprocess(cfg, checkpoint)
    select = Selected(postprocess) if cfg.nms == "inside" else Candidates.scored_as(postprocess)
    graph = DetectorGraph(detector, select).eval()
    start = perf_counter()
    program = trace(graph, batch=shape.batch, size=shape.size)
    least = least_side(program)
    with replacing(target) as unfinished:
        write(
            program,
            kind,
            unfinished,
            outputs=select.names,
            description=_description(cfg, checkpoint, graph, shape, least, select.names),
        )
        seconds = perf_counter() - start
        inputs = _inputs(samples, shape, least)
        lines = _check(graph, load(unfinished, kind), inputs, cfg.min_score, target)
    print(f"Wrote {target} ({target.stat().st_size / 1e6:.1f} MB, in {seconds:.0f} s): {shape.told(least)}")
    print("\n".join(lines))


@dataclass(frozen=True)
class Shape:
    """What a file leaves open of its input.

    Attributes:
        batch: Images at once; None is any number.
        size: ``(height, width)`` in pixels; None is any.
    """

    batch: int | None
    size: tuple[int, int] | None

    @classmethod
    def of(cls, batch: object, size: object) -> "Shape":
        """Of the keys of the command.

        Raises:
            ValueError: One of them is neither ``dynamic`` nor a number.
        """
        if isinstance(batch, str) and batch != "dynamic":
            raise ValueError(f"batch must be dynamic or a number of images from 1, got {batch!r}")
        count = None if batch == "dynamic" else require_int("batch", batch, low=1)
        if size == "dynamic":
            return cls(count, None)
        if not isinstance(size, ListConfig | list | tuple) or len(size) != 2:
            raise ValueError(f"image_size must be dynamic or [height,width] in pixels, got {size!r}")
        height, width = (require_int("image_size", side, low=LEAST_SIDE) for side in size)
        return cls(count, (height, width))

    def told(self, least: int) -> str:
        """In words; ``least`` is the least side of a file for any size, in pixels."""
        images = "any number of images" if self.batch is None else counted(self.batch, "image")
        size = f"any size from {least} pixels on" if self.size is None else "{} x {} pixels".format(*self.size)
        return f"{images}, {size}"


def _require_free(target: Path, kind: str) -> None:
    if target.suffix != SUFFIXES[kind]:
        raise ValueError(f"target={target}: a file of format={kind} is called *{SUFFIXES[kind]}")
    if target.exists():
        raise FileExistsError(f"target={target} exists; remove it or choose another name")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"target={target}: the folder {target.parent} does not exist")


def _description(
    cfg: DictConfig, checkpoint: Checkpoint, graph: DetectorGraph, shape: Shape, least: int, outputs: Sequence[str]
) -> dict[str, Any]:
    """What the file says of itself, see docs/export.md."""
    convention = graph.detector.input
    transform = section(checkpoint, _TRANSFORM)
    return {
        "deta": __version__,
        "classes": list(checkpoint.category_names),
        "category_ids": list(checkpoint.category_ids),
        "inputs": list(INPUTS),
        "outputs": list(outputs),
        "batch": shape.batch or "dynamic",
        "image_size": list(shape.size) if shape.size else "dynamic",
        "least_side": least,
        "preparation": transform,
        "resize": _resize_of(transform),
        "normalization": {
            "inside": True,
            "order": convention.order,
            "scale": convention.scale,
            "mean": convention.mean.flatten().tolist(),
            "std": convention.std.flatten().tolist(),
            "pad_value": convention.pad_value,
            "multiple": graph.multiple,
        },
        "nms": cfg.nms,
        "postprocess": section(checkpoint, "postprocess")
        if cfg.get("postprocess") is None
        else plain(cfg)["postprocess"],
    }


def _resize_of(transform: Any) -> dict[str, Any] | None:  # noqa: ANN401 - plain containers
    """The sides to which a preparation scales, where that is all that it does."""
    kind = str(transform.get("_target_", "")).rpartition(".")[2]
    if kind == "Compose" and len(transform.get("transforms", ())) == 1:
        return _resize_of(transform["transforms"][0])
    if kind != "ResizeShortSide":
        return None
    return {"short_side": transform["short_sides"][0], "max_long_side": transform.get("max_long_side")}


def _samples(cfg: DictConfig, checkpoint: Checkpoint) -> Iterator[Sample]:
    """Prepared pictures: those given, or made ones."""
    transform: Transform = build(section(checkpoint, _TRANSFORM), _TRANSFORM, trust_in(checkpoint, cfg.trusted))
    if cfg.images is None:
        generator = np.random.default_rng(0)
        pictures = (torch.from_numpy(draw_image(size, generator).pixels).permute(2, 0, 1) for size in _MADE_SIZES)
    else:
        rules = ImageRules(exif=checkpoint.exif or "apply")
        paths = find_images(cfg.images).paths
        pictures = (decode_image(path, name=str(path), rules=rules).pixels for path in paths)
    return (
        transform(unlabelled_sample(picture.contiguous(), image_id=number), Generator())
        for number, picture in enumerate(pictures)
    )


def _inputs(samples: Iterator[Sample], shape: Shape, least: int) -> Iterator[tuple[Tensor, ...]]:
    """Batches as the file takes them: of an open number the first picture alone, then two together."""
    waiting: list[Sample] = []
    wanted = shape.batch or 1
    for sample in samples:
        waiting.append(sample if shape.size is None else _inside(sample, shape.size))
        if len(waiting) == wanted:
            yield _batch(waiting, shape, least)
            waiting, wanted = [], shape.batch or 2
    if waiting:
        filled = waiting + waiting[-1:] * ((shape.batch or 0) - len(waiting))
        yield _batch(filled, shape, least)


def _inside(sample: Sample, size: tuple[int, int]) -> Sample:
    """The sample, scaled where it does not fit into the size of a file."""
    factor = min(limit / side for limit, side in zip(size, sample.size, strict=True))
    height, width = (max(1, int(side * factor)) for side in sample.size)
    return sample if factor >= 1 else resize(sample, (height, width))


def _batch(samples: Sequence[Sample], shape: Shape, least: int) -> tuple[Tensor, ...]:
    largest = [max(least, *(sample.size[axis] for sample in samples)) for axis in range(2)]
    batch = Collate(pad_to=shape.size or largest)(samples)
    sizes = torch.tensor([sample.size for sample in samples])
    return batch.images, sizes, batch.original_sizes


@torch.inference_mode()
def _check(
    graph: DetectorGraph, run_file: Run, inputs: Iterable[tuple[Tensor, ...]], min_score: float, target: Path
) -> list[str]:
    """What the comparison says.

    Raises:
        ValueError: The file detects otherwise than the model.
    """
    times, num_images = np.zeros(2), 0
    total, total_of_all = Agreement(), Agreement()
    for values in inputs:
        start = perf_counter()
        expected = [output.clone() for output in graph(*values)]
        middle = perf_counter()
        found = run_file(values)
        times += np.array((middle - start, perf_counter() - middle))
        num_images += len(values[0])
        total += compare(expected, found, min_score)
        total_of_all += compare(expected, found, 0.0)
    limit = f"from a score of {min_score:g} on"
    if not total.num_detections:
        limit, total = f"none of which reaches {min_score:g}", total_of_all
    told = f"{counted(total.num_detections, 'detection')} in {counted(num_images, 'image')}, {limit}"
    if total.num_different:
        raise ValueError(
            f"{target} was not written: its file finds other boxes than the model. Of {told}, {total.num_different} "
            f"have no like within {MOST_PIXELS} px and {MOST_SCORE} of the score"
        )
    model, file = times / num_images * 1000
    return [
        f"Checked {told}: corners differ by at most {total.pixels:.4f} px, scores by {total.score:.6f}",
        f"An image takes {file:.0f} ms in the file and {model:.0f} ms in the model, on this CPU, first runs included",
    ]
