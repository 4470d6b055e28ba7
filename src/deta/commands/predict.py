"""``deta predict``: detect objects in images."""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Generator, nn
from tqdm import tqdm

from deta.commands.build import make_postprocess, restore_detector, trust_in
from deta.commands.console import reports_errors
from deta.commands.stored import build, section
from deta.data.collate import Collate
from deta.data.images import ImageError, read_image
from deta.data.sample import Sample, unlabelled_sample
from deta.data.transforms import Transform
from deta.engine.checkpoint import Checkpoint, read_checkpoint
from deta.engine.evaluation import to_coco_results
from deta.engine.module import Postprocess
from deta.engine.pictures import draw_boxes, save_picture
from deta.structures import Batch, DetectionOutput, Detections
from deta.utils.checks import require_bool, require_choice, require_int, require_number

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""What is taken from a folder; a file that is named itself may end otherwise."""
_log = logging.getLogger(__name__)


@reports_errors
def run(cfg: DictConfig) -> None:
    """Write ``predictions.json`` (COCO results with the file name) and annotated pictures."""
    require_choice("on_bad_image", cfg.on_bad_image, ("error", "skip"))
    require_int("batch_size", cfg.batch_size, low=1)
    require_number("min_score", cfg.min_score, low=0, high=1)
    require_bool("draw", cfg.draw)
    paths = find_images(cfg.source)
    checkpoint = read_checkpoint(cfg.ckpt)
    device = _device(cfg.device)
    detector = restore_detector(checkpoint, cfg.trusted).to(device)
    postprocess, transform = make_postprocess(cfg, checkpoint), _make_transform(cfg, checkpoint)
    folder = Path(cfg.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    num_of_name = Counter(path.stem for path in paths)
    results: list[dict[str, Any]] = []
    skipped: list[str] = []
    for samples in _batches(_read(paths, cfg, skipped), cfg.batch_size):
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
    (folder / "predictions.json").write_text(json.dumps(results))
    print(f"{len(results)} detections in {len(paths) - len(skipped)} images: {folder / 'predictions.json'}")
    if cfg.draw:
        print(f"Annotated pictures: {folder / 'pictures'}")
    if skipped:
        print(f"{len(skipped)} images were skipped as unusable: {', '.join(skipped)}")


def find_images(source: str) -> list[Path]:
    """The image files that a file name, folder or glob means, sorted.

    Raises:
        FileNotFoundError: There is none.
    """
    path = Path(source)
    if path.is_dir():
        found = sorted(entry for entry in path.rglob("*") if entry.suffix.lower() in SUFFIXES)
        if not found:
            raise FileNotFoundError(f"source={source}: the folder holds no image ({', '.join(SUFFIXES)})")
        return found
    if path.is_file():
        return [path]
    anchor = Path(path.anchor)
    found = sorted(entry for entry in anchor.glob(str(path.relative_to(anchor))) if entry.is_file())
    if not found:
        raise FileNotFoundError(f"source={source}: no such file or folder, and no file fits it as a glob")
    return found


def _device(name: str) -> torch.device:
    has_cuda = torch.cuda.is_available()
    require_choice("device", name, ("auto", "cpu", "cuda"))
    if name == "cuda" and not has_cuda:
        raise ValueError("device=cuda: this machine has no usable CUDA device; use device=cpu")
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


def _read(paths: Sequence[Path], cfg: DictConfig, skipped: list[str]) -> Iterator[Sample]:
    """Decode; ids count from 1. Unusable images are noted in ``skipped`` or raise."""
    for number, path in enumerate(tqdm(paths, unit="image", disable=len(paths) == 1), start=1):
        try:
            image = read_image(path, scale_16bit=cfg.scale_16bit)
        except ImageError as error:
            if cfg.on_bad_image == "error":
                raise
            _log.warning("skipped: %s", error)
            skipped.append(str(path))
            continue
        yield unlabelled_sample(image, image_id=number)


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
    return postprocess(output.layers[-1], batch.original_sizes).to("cpu")


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
