"""``deta predict``: detect objects in images."""

import glob
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Generator, nn
from tqdm import tqdm

from deta.commands.build import TRUSTED_PREFIXES, check_targets, make, restore_detector, restore_postprocess
from deta.commands.errors import reports_errors
from deta.data.collate import Collate
from deta.data.images import ImageError, read_image
from deta.data.sample import Sample, unlabelled_sample
from deta.engine.checkpoint import Checkpoint, read_checkpoint
from deta.engine.evaluation import to_coco_results
from deta.engine.module import Postprocess
from deta.engine.pictures import draw_boxes, save_picture
from deta.structures import Detections
from deta.utils.checks import require_choice

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""What is taken from a folder; a file that is named itself may end otherwise."""
_log = logging.getLogger(__name__)


@reports_errors
def run(cfg: DictConfig) -> None:
    """Write ``predictions.json`` (COCO results with the file name) and annotated pictures."""
    require_choice("on_bad_image", cfg.on_bad_image, ("error", "skip"))
    paths = find_images(cfg.source)
    checkpoint = read_checkpoint(cfg.ckpt)
    device = torch.device(cfg.device if cfg.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
    detector = restore_detector(checkpoint, cfg.trusted).to(device)
    postprocess: Postprocess = (
        restore_postprocess(checkpoint, cfg.trusted) if cfg.postprocess is None else make(cfg.postprocess)
    )
    folder = Path(cfg.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    skipped: list[str] = []
    for samples in _batches(_read(paths, cfg, skipped), cfg.batch_size):
        detections = _detect(detector, postprocess, samples, checkpoint, device)
        image_ids = torch.tensor([sample.image_id for sample in samples])
        records = to_coco_results(detections, image_ids, category_ids=checkpoint.category_ids)
        results += [{**record, "file_name": str(paths[record["image_id"] - 1])} for record in records]
        if cfg.draw:
            for index, sample in enumerate(samples):
                _draw(sample, detections, index, checkpoint, cfg.min_score, _picture_path(folder, paths, sample))
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
    found = [path] if path.is_file() else sorted(Path(name) for name in glob.glob(source, recursive=True))
    if not found:
        raise FileNotFoundError(f"source={source}: no such file or folder, and no file fits it as a glob")
    return found


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


@torch.inference_mode()
def _detect(
    detector: nn.Module, postprocess: Postprocess, samples: Sequence[Sample], checkpoint: Checkpoint, device: torch.device
) -> Detections:
    config = checkpoint.config["data"]["val_transform"]
    check_targets(config, TRUSTED_PREFIXES, checkpoint)
    transform, generator = make(config), Generator()
    batch = Collate()([transform(sample, generator) for sample in samples]).to(device)
    output = detector(batch.images, batch.is_padding)
    detections: Detections = postprocess(output.layers[-1], batch.original_sizes).to("cpu")
    return detections


def _draw(
    sample: Sample, detections: Detections, index: int, checkpoint: Checkpoint, min_score: float, path: Path
) -> None:
    is_drawn = detections.is_detection[index] & (detections.scores[index] >= min_score)
    picture = draw_boxes(
        sample.image,
        detections.boxes[index][is_drawn],
        detections.labels[index][is_drawn],
        names=checkpoint.category_names,
        scores=detections.scores[index][is_drawn],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_picture(picture, path)


def _picture_path(folder: Path, paths: Sequence[Path], sample: Sample) -> Path:
    """``pictures/<name>.jpg``; images of one name in several folders get their number in front."""
    path = paths[sample.image_id - 1]
    is_unique = sum(other.stem == path.stem for other in paths) == 1
    return folder / "pictures" / (f"{path.stem}.jpg" if is_unique else f"{sample.image_id}_{path.stem}.jpg")
