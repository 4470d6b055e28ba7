import logging
import pickle
from pathlib import Path

import pytest
import torch
from torch import Generator

from deta.data import (
    CocoDataset,
    Compose,
    ImageError,
    RandomHorizontalFlip,
    RandomSizeCrop,
    Sample,
    SampleKey,
    read_coco,
)
from deta.data.sources import FolderImages
from tests.data.folders import annotation, document, image, write_dataset, write_image, write_json

KEEP = Compose(transforms=[])
AUGMENT = Compose(transforms=[RandomHorizontalFlip(), RandomSizeCrop(min_side=12, max_side=24)])


def dataset(tmp_path: Path, **options: object) -> CocoDataset:
    annotations = read_coco(write_dataset(tmp_path, num_images=8))
    images = FolderImages(annotations, tmp_path / "train")
    return CocoDataset(annotations=annotations, images=images, **{"transform": KEEP, **options})  # type: ignore[arg-type]


def same(first: Sample, second: Sample) -> bool:
    return torch.equal(first.image, second.image) and torch.equal(first.boxes, second.boxes)


def break_image(tmp_path: Path, image_id: int) -> None:
    (tmp_path / "train" / f"{image_id}.png").write_bytes(b"broken")


def test_sample_holds_image_objects_and_crowds(tmp_path: Path) -> None:
    rows = [annotation(1), annotation(2, bbox=[0, 0, 40, 9], iscrowd=1), annotation(3, category_id=7, area=5)]
    path = write_json(tmp_path / "train.json", document(annotations=rows))
    write_image(tmp_path / "1.png")
    annotations = read_coco(path)
    images = FolderImages(annotations, tmp_path)
    sample = CocoDataset(annotations=annotations, images=images, transform=KEEP)[0]
    assert sample.image.shape == (3, 30, 40)
    assert sample.boxes.tolist() == [[5, 6, 15, 14]] * 2
    assert sample.labels.tolist() == [0, 1]
    assert sample.areas.tolist() == [80, 5]
    assert sample.ignore_boxes.tolist() == [[0, 0, 40, 9]]
    assert (sample.image_id, sample.original_size) == (1, (30, 40))


def test_image_without_annotations_has_empty_tensors(tmp_path: Path) -> None:
    sample = dataset(tmp_path)[3]  # image 4 has 4 % 4 objects
    assert sample.boxes.shape == sample.ignore_boxes.shape == (0, 4)
    assert sample.labels.shape == sample.areas.shape == (0,)


def test_sample_depends_on_its_key_alone(tmp_path: Path) -> None:
    first, second = (dataset(tmp_path, transform=AUGMENT) for _ in range(2))
    _ = [second[SampleKey(0, index)] for index in range(4)]
    assert same(first[SampleKey(1, 5)], second[SampleKey(1, 5)])


def test_epochs_images_and_seeds_are_augmented_differently(tmp_path: Path) -> None:
    def record(_: Sample, generator: Generator) -> Sample:
        draws.add(int(torch.randint(2**62, (), generator=generator)))
        return _

    draws: set[int] = set()
    for seed in range(2):
        data = dataset(tmp_path, seed=seed, transform=record)
        for epoch in range(3):
            _ = [data[SampleKey(epoch, index)] for index in range(8)]
    assert len(draws) == 2 * 3 * 8


def test_bad_image_stops_with_its_name(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    break_image(tmp_path, 3)
    with pytest.raises(ImageError, match=r"3\.png cannot be decoded"):
        data[2]


def test_skipped_image_is_replaced_by_the_next_and_counted_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = dataset(tmp_path, on_bad_image="skip", max_bad_fraction=0.25, transform=AUGMENT)
    break_image(tmp_path, 3)
    break_image(tmp_path, 4)
    with caplog.at_level(logging.WARNING):
        replaced = [data[SampleKey(0, 2)] for _ in range(2)]
    assert [sample.image_id for sample in replaced] == [5, 5]
    assert same(replaced[0], data[SampleKey(0, 4)])
    assert data.bad_images() == ["3.png", "4.png"]
    assert len(caplog.records) == 2


def test_last_image_is_replaced_by_the_first(tmp_path: Path) -> None:
    data = dataset(tmp_path, on_bad_image="skip", max_bad_fraction=0.25)
    break_image(tmp_path, 8)
    assert data[7].image_id == 1


def test_more_bad_images_than_allowed_stop_with_their_names(tmp_path: Path) -> None:
    data = dataset(tmp_path, on_bad_image="skip", max_bad_fraction=0.15)
    break_image(tmp_path, 3)
    break_image(tmp_path, 6)
    assert data[2].image_id == 4
    with pytest.raises(ImageError, match=r"2 of 8 images cannot be used \(3\.png, 6\.png\).*max_bad_fraction=0\.15"):
        data[5]


def test_data_set_of_bad_images_alone_stops(tmp_path: Path) -> None:
    data = dataset(tmp_path, on_bad_image="skip", max_bad_fraction=1)
    for image_id in range(1, 9):
        break_image(tmp_path, image_id)
    with pytest.raises(ImageError, match="8 of 8"):
        data[0]


def test_wrong_size_in_the_annotations_is_found_on_reading(tmp_path: Path) -> None:
    path = write_json(tmp_path / "train.json", document([image(height=31)]))
    write_image(tmp_path / "1.png")
    annotations = read_coco(path)
    images = FolderImages(annotations, tmp_path)
    data = CocoDataset(annotations=annotations, images=images, transform=KEEP)
    with pytest.raises(ImageError, match="annotation file says 31 x 40"):
        data[0]


def test_data_set_can_be_sent_to_a_process(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    assert same(pickle.loads(pickle.dumps(data))[1], data[1])
