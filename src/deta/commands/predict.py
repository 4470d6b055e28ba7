"""``deta predict``: detect objects in images."""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Generator, nn
from tqdm import tqdm

from deta.commands.build import make_postprocess, restore_detector, trust_in
from deta.commands.console import reports_errors
from deta.commands.published import open_checkpoint, places_of
from deta.commands.stored import build, section
from deta.data.collate import Collate
from deta.data.decoding import ImageError
from deta.data.image_search import find_images
from deta.data.images import EXIF_CHOICES, ImageRules, decode_image
from deta.data.sample import Sample, unlabelled_sample
from deta.data.transforms import Transform
from deta.drawing.boxes import draw_boxes, save_picture
from deta.evaluation import to_coco_results
from deta.models.postprocess import Postprocess
from deta.structures import Batch, DetectionOutput, Detections
from deta.training.checkpoint import Checkpoint
from deta.utils.checks import require_bool, require_choice, require_int, require_number
from deta.utils.files import without_non_finite, write_text
from deta.utils.wording import counted

_log = logging.getLogger(__name__)


@reports_errors
def run(cfg: DictConfig) -> None:
    """Write ``predictions.json`` (COCO results with the file name) and annotated pictures."""
    require_choice("on_bad_image", cfg.on_bad_image, ("error", "skip"))
    require_int("batch_size", cfg.batch_size, low=1)
    require_number("min_score", cfg.min_score, low=0, high=1)
    require_bool("draw", cfg.draw)
    found = find_images(cfg.source)
    paths = found.paths
    checkpoint = open_checkpoint(cfg.ckpt, places_of(cfg))
    rules = _rules(cfg, checkpoint)
    device = _device(cfg.device)
    detector = restore_detector(checkpoint, cfg.trusted).to(device)
    postprocess, transform = make_postprocess(cfg, checkpoint), _make_transform(cfg, checkpoint)
    folder = Path(cfg.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    num_of_name = Counter(path.stem for path in paths)
    results: list[dict[str, Any]] = []
    report = _Reading()
    for samples in _batches(_read(paths, rules, cfg.on_bad_image == "skip", report), cfg.batch_size):
        batch = Collate()([transform(sample, Generator()) for sample in samples]).to(device)
        detections = _detect(detector, postprocess, batch)
        records = to_coco_results(detections, batch.image_ids, category_ids=checkpoint.category_ids)
        results += [{**record, "file_name": str(paths[record["image_id"] - 1])} for record in records]
        if cfg.draw:
            for index, sample in enumerate(samples):
                stem = paths[sample.image_id - 1].stem
                name = stem if num_of_name[stem] == 1 else f"{sample.image_id}_{stem}"
                path = folder / "pictures" / f"{name}.jpg"
                _draw(sample, detections, index, checkpoint.category_names, cfg.min_score, path)
    write_text(folder / "predictions.json", json.dumps(without_non_finite(results), allow_nan=False))
    what = f"{counted(len(results), 'detection')} in {counted(len(paths) - len(report.skipped), 'image')}"
    print(f"{what}: {folder / 'predictions.json'}")
    if cfg.draw:
        print(f"Annotated pictures: {folder / 'pictures'}")
    print("".join(f"{line}\n" for line in (*report.lines(rules), found.left_out_report()) if line), end="")


@dataclass
class _Reading:
    """What reading the images came to."""

    skipped: list[str] = field(default_factory=list)
    num_oriented: int = 0

    def lines(self, rules: ImageRules) -> list[str]:
        lines = []
        if self.skipped:
            images = counted(len(self.skipped), "image was", "images were")
            lines.append(f"{images} skipped as unusable: {', '.join(self.skipped)}")
        if self.num_oriented:
            frame = "turned upright: boxes and pictures are" if rules.exif == "apply" else "taken as stored: boxes are"
            images = counted(self.num_oriented, "image has", "images have")
            lines.append(f"{images} an EXIF orientation, {frame} so (exif={rules.exif})")
        return lines


def _rules(cfg: DictConfig, checkpoint: Checkpoint) -> ImageRules:
    """How images are read; what EXIF orientations do is taken from the training unless it is chosen."""
    if require_choice("exif", cfg.exif, EXIF_CHOICES) == "auto":
        exif = require_choice(f"exif of {checkpoint.path}", checkpoint.exif or "apply", EXIF_CHOICES)
    else:
        exif = cfg.exif
    return ImageRules(max_pixels=cfg.max_image_pixels, scale_16bit=cfg.scale_16bit, exif=exif)


def _device(name: str) -> torch.device:
    has_cuda = torch.cuda.is_available()
    require_choice("device", name, ("auto", "cpu", "cuda"))
    if name == "cuda" and not has_cuda:
        raise ValueError("device=cuda: this machine has no usable CUDA device; use device=cpu")
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


def _read(paths: Sequence[Path], rules: ImageRules, skips: bool, report: _Reading) -> Iterator[Sample]:
    """Decode; ids count from 1. Unusable images are noted in ``report`` or raise."""
    for number, path in enumerate(tqdm(paths, unit="image", disable=len(paths) == 1), start=1):
        try:
            image = decode_image(path, name=str(path), rules=rules)
        except ImageError as error:
            if not skips:
                raise
            _log.warning("skipped: %s", error)
            report.skipped.append(str(path))
            continue
        report.num_oriented += image.orientation != "none"
        yield unlabelled_sample(image.pixels, image_id=number)


def _batches(samples: Iterator[Sample], size: int) -> Iterator[list[Sample]]:
    batch: list[Sample] = []
    for sample in samples:
        batch.append(sample)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _make_transform(cfg: DictConfig, checkpoint: Checkpoint) -> Transform:
    """The preparation of validation images in the training of the checkpoint."""
    place = "data.val_transform"
    transform: Transform = build(section(checkpoint, place), place, trust_in(checkpoint, cfg.trusted))
    return transform


@torch.inference_mode()
def _detect(detector: nn.Module, postprocess: Postprocess, batch: Batch) -> Detections:
    output: DetectionOutput = detector(batch.images, batch.is_padding)
    return postprocess(output.final, batch.original_sizes).to("cpu")


def _draw(
    sample: Sample, detections: Detections, index: int, names: Sequence[str], min_score: float, path: Path
) -> None:
    is_drawn = detections.is_detection[index] & (detections.scores[index] >= min_score)
    picture = draw_boxes(
        sample.image,
        detections.boxes[index][is_drawn],
        detections.labels[index][is_drawn],
        names=names,
        scores=detections.scores[index][is_drawn],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_picture(picture, path)
