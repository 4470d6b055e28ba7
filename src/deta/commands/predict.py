"""``deta predict``: detect objects in images, videos and whatever else has pictures."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf
from tqdm import tqdm

from deta.building.build import make
from deta.building.model import load
from deta.building.published import places_of
from deta.console.terminal import reports_errors, termination_as_exception
from deta.data.decoding import ImageError
from deta.inference import Picture, Result, Source, SourceOptions, open_source
from deta.inference.outputs import KINDS, DrawnPictures, DrawnVideo, Output
from deta.inference.results import told_of
from deta.utils.checks import require_bool, require_choice, require_int, require_list, require_number
from deta.utils.files import expanded
from deta.utils.names import shown
from deta.utils.wording import counted

_log = logging.getLogger(__name__)
MAX_NAMED = 10
"""Skipped images that are told by name at the end; the log has all."""


@reports_errors
def run(cfg: DictConfig) -> None:
    """Write what is found in the files of ``outputs``, and annotated copies."""
    require_choice("on_bad_image", cfg.on_bad_image, ("error", "skip"))
    if cfg.batch_size is not None:
        require_int("batch_size", cfg.batch_size, low=1)
    require_number("min_score", cfg.min_score, low=0, high=1)
    require_bool("draw", cfg.draw)
    kinds, folder = _kinds(cfg.outputs), Path(cfg.run_dir)
    names = ("watch", "watch_seconds", "every", "max_frames")
    source = open_source(cfg.source, SourceOptions(**{name: cfg[name] for name in names}))
    if cfg.watch and folder.resolve().is_relative_to(expanded(cfg.source).resolve()):
        raise ValueError(
            f"{folder} lies in the folder that is watched, so that pictures written there would be looked at again: "
            "name one outside by hydra.run.dir"
        )
    _require_free(folder, [KINDS[kind] for kind in kinds], draws=cfg.draw and source.rate is None)
    model = load(
        cfg.ckpt,
        device=cfg.device,
        precision=cfg.precision,
        postprocess=None if cfg.get("postprocess") is None else make(cfg.postprocess),
        trusted=cfg.trusted,
        exif=cfg.exif,
        max_image_pixels=cfg.max_image_pixels,
        scale_16bit=cfg.scale_16bit,
        places=places_of(cfg),
    )
    print(f"Model: {model.path}")
    tally = _Tally(cfg.min_score, model.predictor.rules.exif)
    folder.mkdir(parents=True, exist_ok=True)
    results = model.predictor.stream(
        source.pictures,
        min_score=cfg.min_score,
        batch_size=cfg.batch_size,
        is_single=source.is_single,
        skip=tally.skip if cfg.on_bad_image == "skip" else None,
    )
    made = [KINDS[kind](folder) for kind in kinds]
    drawn = [] if not cfg.draw else [_drawn(source, folder)]
    outputs = [*made, *drawn]
    with termination_as_exception(), _stoppable(source, tally), _finished(outputs), closing(results):
        bar = tqdm(results, total=source.total, unit="image", disable=True if source.is_single else None)
        for number, result in enumerate(bar, start=1):
            tally.add(result)
            for output in outputs:
                output.add(result, number)
    lines = [*tally.lines(), *source.notes()]
    print("".join(f"{shown(line)}\n" for line in lines), end="")


def _require_free(folder: Path, kinds: Sequence[type[Output]], *, draws: bool) -> None:
    written: list[type[Output]] = [*kinds, *([DrawnPictures] if draws else [])]
    for kind in written:
        kind.require_free(folder)


def _kinds(outputs: object) -> Sequence[str]:
    listed = OmegaConf.to_container(outputs) if isinstance(outputs, ListConfig) else outputs
    return [require_choice("outputs: each", kind, KINDS) for kind in dict.fromkeys(require_list("outputs", listed))]


def _drawn(source: Source, folder: Path) -> Output:
    return DrawnPictures(folder) if source.rate is None else DrawnVideo(folder, rate=source.rate)


@contextmanager
def _finished(outputs: Sequence[Output]) -> Iterator[None]:
    """Finish the files also where the command is stopped, and where one fails the others; tell where they lie."""
    with ExitStack() as stack:
        for output in reversed(outputs):
            stack.callback(_finish, output)
        yield


def _finish(output: Output) -> None:
    if told := output.close():
        print(told)


@contextmanager
def _stoppable(source: Source, tally: "_Tally") -> Iterator[None]:
    """Ctrl-C is the ordinary end of what has none of its own."""
    try:
        yield
    except KeyboardInterrupt:
        if source.total is not None or not tally.num_images:
            raise
        print()


@dataclass
class _Tally:
    """What looking at the images came to."""

    min_score: float
    exif: str
    num_images: int = 0
    num_boxes: int = 0
    num_detections: int = 0
    num_unmapped: int = 0
    num_oriented: int = 0
    best_score: float | None = None
    skipped: list[str] = field(default_factory=list)

    def skip(self, picture: Picture, error: ImageError) -> None:
        _log.warning("skipped: %s", error)
        self.skipped.append(picture.name)

    def add(self, result: Result) -> None:
        self.num_images += 1
        self.num_boxes += len(result)
        self.num_detections += result.num_detections
        self.num_unmapped += result.num_unmapped
        self.num_oriented += result.orientation != "none"
        if result.best_score is not None:
            self.best_score = max(result.best_score, self.best_score or 0.0)

    def lines(self) -> list[str]:
        told = told_of(self.num_boxes, self.num_detections, self.min_score, self.best_score)
        lines = [f"{told} in {counted(self.num_images, 'image')}"]
        if not self.num_boxes and self.num_detections:
            lines[0] += ": there is nothing to draw; min_score=<number> tells those from another score on"
        if self.skipped:
            images = counted(len(self.skipped), "image was", "images were")
            more = " ..." if len(self.skipped) > MAX_NAMED else ""
            lines.append(f"{images} skipped as unusable: {', '.join(self.skipped[:MAX_NAMED])}{more}")
        if self.num_unmapped:
            boxes = counted(self.num_unmapped, "box", "boxes")
            lines.append(f"{boxes} left out, since their class stands for no category")
        if self.num_oriented:
            frame = "turned upright: boxes and pictures are" if self.exif == "apply" else "taken as stored: boxes are"
            images = counted(self.num_oriented, "image has", "images have")
            lines.append(f"{images} an EXIF orientation, {frame} so (exif={self.exif})")
        return lines
