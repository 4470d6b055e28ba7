"""Images per second and core of the training pipeline: decode, augment, collate.

    python scripts/benchmarks/data_pipeline.py [root=../shared/data/coco_sample rounds=5 batch=2]

Compares, batch by batch in turn, in one process and one thread, on the same images with the same random draws:

    detr          DETR's own pipeline: Pillow for decoding, flip, resize and crop, then ToTensor, Normalize and
                  padding to a float batch
    folder        ours, from image files to a padded uint8 batch, which the model normalises on its device
    normalised    the same, normalised on this core as well
    shards        ours, out of shards of the same images

Prints CPU seconds as images per second, the median over the rounds of the ratio to ``detr``, and how far our pixels
are from DETR's, from 0 to 255; appends the table to ``data_pipeline.csv``.
"""

import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image
from torch import Generator, Tensor
from torchvision.transforms import functional as F  # noqa: N812 - the transforms that DETR uses

from deta.cli import config_dir
from deta.data import CocoDataset, Collate, SampleKey, read_coco
from deta.data.dataset import sample_generator
from deta.data.sources import FolderSplit, Split
from deta.data.streaming.split import ShardedSplit
from deta.data.streaming.store import open_store
from deta.data.streaming.writer import ShardWriter
from deta.data.transforms import Transform, scaled_size
from deta.tracking.environment import package_versions

DEFAULTS = {"root": "../shared/data/coco_sample", "rounds": "5", "batch": "2"}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet."""


class DetrPipeline:
    """What DETR does to an image, with the draws of our transforms.

    Source: arXiv:2005.12872, sec. 4, and the usage of torchvision's functions on Pillow images there.

    Args:
        split: Annotation file and folder.
        augment: The numbers of ``conf/augment/detr.yaml``.
    """

    def __init__(self, split: FolderSplit, augment: DictConfig) -> None:
        self._annotations = read_coco(split.annotation_file)
        self._folder = split.folder
        self._augment = augment

    def __call__(self, keys: Sequence[SampleKey]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """``[B, 3, H, W]`` normalised images, ``[B, H, W]`` padding and boxes of a batch."""
        pairs = [self._sample(key) for key in keys]
        height, width = (max(image.shape[side] for image, _ in pairs) for side in (1, 2))
        images = torch.zeros(len(pairs), 3, height, width)
        is_padding = torch.ones(len(pairs), height, width, dtype=torch.bool)
        for row, (image, _) in enumerate(pairs):
            images[row, :, : image.shape[1], : image.shape[2]].copy_(image)
            is_padding[row, : image.shape[1], : image.shape[2]] = False
        return images, is_padding, [boxes for _, boxes in pairs]

    def _sample(self, key: SampleKey) -> tuple[Tensor, Tensor]:
        generator = sample_generator(0, key)
        rows = self._annotations.rows(key.image)
        boxes = torch.from_numpy(self._annotations.boxes[rows][~self._annotations.is_crowd[rows]])
        image = Image.open(self._folder / self._annotations.file_name(key.image)).convert("RGB")
        if torch.rand((), generator=generator).item() < 0.5:
            image = F.hflip(image)
            boxes = boxes[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([image.width, 0] * 2)
        if _draw(0, 1, generator):
            image, boxes = self._resized(image, boxes, self._augment.crop_short_sides, None, generator)
            image, boxes = self._cropped(image, boxes, generator)
        longest = self._augment.max_long_side
        image, boxes = self._resized(image, boxes, self._augment.short_sides, longest, generator)
        tensor = F.normalize(F.to_tensor(image), MEAN, STD)
        size = torch.tensor([image.width, image.height] * 2)
        boxes = torch.cat(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]), dim=1) / size
        return tensor, boxes

    def _resized(
        self, image: Image.Image, boxes: Tensor, sides: Sequence[int], longest: int | None, generator: Generator
    ) -> tuple[Image.Image, Tensor]:
        side = sides[_draw(0, len(sides) - 1, generator)]
        height, width = scaled_size((image.height, image.width), side, longest)
        scale = torch.tensor([width / image.width, height / image.height] * 2)
        return F.resize(image, [height, width]), boxes * scale

    def _cropped(self, image: Image.Image, boxes: Tensor, generator: Generator) -> tuple[Image.Image, Tensor]:
        low, high = self._augment.crop_sides
        height, width = (_draw(min(low, side), min(high, side), generator) for side in (image.height, image.width))
        top, left = _draw(0, image.height - height, generator), _draw(0, image.width - width, generator)
        moved = (boxes - torch.tensor([left, top] * 2)).clamp(min=0)
        moved = torch.minimum(moved, torch.tensor([width, height] * 2))
        return F.crop(image, top, left, height, width), moved[(moved[:, 2:] > moved[:, :2]).all(dim=1)]


def ours(split: Split, transform: Transform) -> CocoDataset:
    """Our training data set on the same images."""
    annotations = read_coco(split.annotation_file)
    return CocoDataset(annotations=annotations, images=split.images(annotations), transform=transform)


def normalised(images: Tensor) -> Tensor:
    """What the model does on its device."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return images.float().div_(255).sub_(mean).div_(std)


def make_shards(split: FolderSplit, folder: Path) -> ShardedSplit:
    """Shards of a folder."""
    writer = ShardWriter(
        annotations=read_coco(split.annotation_file),
        files=split,
        store=open_store(folder),
        is_shuffled=True,
        say=lambda _: None,
    )
    writer.write()
    shards = ShardedSplit(address=folder, cache=folder)
    shards.prepare()
    return shards


def main() -> None:
    """Measure as the command line asks."""
    options = DEFAULTS | dict(word.split("=", 1) for word in sys.argv[1:])
    torch.set_num_threads(1)
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        augment = compose("train", ["data=coco"]).augment
    root = Path(options["root"])
    split = FolderSplit(root / "annotations/instances_train2017.json", root / "train2017")
    transform, collate = instantiate(augment.train, _convert_="all"), Collate()
    with tempfile.TemporaryDirectory() as folder:
        files, shards = ours(split, transform), ours(make_shards(split, Path(folder)), transform)
        pipelines: dict[str, Callable[[Sequence[SampleKey]], Any]] = {
            "detr": DetrPipeline(split, augment),
            "folder": lambda keys: collate([files[key] for key in keys]).images,
            "normalised": lambda keys: normalised(collate([files[key] for key in keys]).images),
            "shards": lambda keys: collate([shards[key] for key in keys]).images,
        }
        seconds = measure(pipelines, len(files), int(options["rounds"]), int(options["batch"]))
        means, largest = compare(pipelines["detr"], files, collate)
    report(options, seconds, len(files), means, largest)


def measure(
    pipelines: dict[str, Callable[[Sequence[SampleKey]], Any]], num_images: int, rounds: int, batch: int
) -> dict[str, list[float]]:
    """CPU seconds of every pipeline in every round; each round has its own draws, the first is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in pipelines}
    for epoch in range(rounds + 1):
        spent = dict.fromkeys(pipelines, 0.0)
        for start in range(0, num_images, batch):
            keys = [SampleKey(epoch, index) for index in range(start, min(start + batch, num_images))]
            for name, pipeline in pipelines.items():
                begin = time.process_time()
                pipeline(keys)
                spent[name] += time.process_time() - begin
        for name in pipelines:
            seconds[name].append(spent[name])
    return {name: values[1:] for name, values in seconds.items()}


def compare(detr: Callable[[Sequence[SampleKey]], Any], files: CocoDataset, collate: Collate) -> tuple[float, float]:
    """Mean and largest difference of our pixels to DETR's, 0..255; sizes, padding and boxes must agree."""
    mean, std = (np.asarray(values, dtype=np.float64)[:, None, None] for values in (MEAN, STD))
    means, largest = [], 0.0
    for index in range(len(files)):
        key = SampleKey(0, index)
        images, is_padding, boxes = detr([key])
        batch = collate([files[key]])
        assert torch.equal(is_padding, batch.is_padding)
        torch.testing.assert_close(batch.targets.boxes[0][batch.targets.is_object[0]], boxes[0], atol=1e-5, rtol=0)
        reference = np.rint((images[0].double().numpy() * std + mean) * 255)
        difference = np.abs(reference - batch.images[0].numpy())
        means.append(difference.mean())
        largest = max(largest, difference.max())
    return float(np.mean(means)), float(largest)


def report(
    options: dict[str, str], seconds: dict[str, list[float]], num_images: int, mean: float, largest: float
) -> None:
    """Print the table and append it to the CSV."""
    versions = package_versions()
    path = Path("data_pipeline.csv")
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(["pipeline", "images_per_second", "ratio", *options, "torch", "torchvision"])
        for name, values in seconds.items():
            speed = num_images / statistics.median(values)
            ratio = statistics.median(a / b for a, b in zip(seconds["detr"], values, strict=True))
            print(f"{name:<12} {speed:7.1f} images/s per core   {ratio:5.2f} x detr")
            row = [name, round(speed, 1), round(ratio, 3), *options.values()]
            writer.writerow([*row, versions["torch"], versions.get("torchvision", "")])
    print(f"pixels: mean difference to detr {mean:.4f}, largest {largest:.0f} of 255")
    print(f"appended to {path.resolve()}")


def _draw(low: int, high: int, generator: Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator).item())


if __name__ == "__main__":
    main()
