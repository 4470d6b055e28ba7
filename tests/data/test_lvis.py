"""Data sets in the layout of LVIS."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deta.data import CocoAnnotations, CocoDataset, Collate, Compose, SampleKey, check_dataset, read_coco
from deta.data.frequency import images_per_class
from deta.data.sources import FolderImages
from tests.data.folders import annotation, data_module, document, sample, write_image, write_json

KEEP = Compose(transforms=[])


def image(image_id: int, negative: list[int], not_exhaustive: list[int], **changes: object) -> dict[str, Any]:
    """An entry of ``images``; odd ids lie in one folder of COCO, even ones in the other."""
    folder = "train2017" if image_id % 2 else "val2017"
    return {
        "id": image_id,
        "height": 30,
        "width": 40,
        "coco_url": f"http://example.org/{folder}/{image_id}.png",
        "neg_category_ids": negative,
        "not_exhaustive_category_ids": not_exhaustive,
        **changes,
    }


def lvis_document(images: list[Any], annotations: list[Any]) -> dict[str, Any]:
    """In the order of the real files: annotations before images and categories; no ``iscrowd``."""
    rows = [{key: value for key, value in row.items() if key != "iscrowd"} for row in annotations]
    categories = [{"id": key, "name": f"thing {key}", "frequency": "f"} for key in (3, 7, 8, 20)]
    return {"annotations": rows, "images": images, "categories": categories}


def read(folder: Path, content: object) -> CocoAnnotations:
    return read_coco(write_json(folder / "lvis.json", content), layout="lvis")


SMALL = lvis_document(
    [image(4, [7, 20], []), image(1, [], [3]), image(2, [8], [])],
    [annotation(1, image_id=1), annotation(2, image_id=4), annotation(3, image_id=1, category_id=8)],
)


def lists(annotations: CocoAnnotations) -> list[tuple[list[int], list[int]]]:
    """Negative and not exhaustive classes of every image."""
    assert annotations.negative is not None
    assert annotations.not_exhaustive is not None
    rows = range(len(annotations))
    return [(annotations.negative.row(k).tolist(), annotations.not_exhaustive.row(k).tolist()) for k in rows]


def test_images_are_found_by_folder_and_name_in_their_url(tmp_path: Path) -> None:
    annotations = read(tmp_path, SMALL)
    assert [annotations.file_name(k) for k in range(3)] == ["train2017/1.png", "val2017/2.png", "val2017/4.png"]


def test_lists_of_classes_follow_their_images(tmp_path: Path) -> None:
    annotations = read(tmp_path, SMALL)
    assert lists(annotations) == [([], [0]), ([2], []), ([1, 3], [])]
    assert lists(annotations.select([2, 0])) == [([1, 3], []), ([], [0])]


def test_missing_iscrowd_is_no_repair(tmp_path: Path) -> None:
    assert read(tmp_path, SMALL).report.num_missing_iscrowd == 0


def test_every_image_of_the_sample_exists(shared: Path) -> None:
    for split, num_images, num_annotations in (("train", 50, 450), ("val", 41, 320)):
        path = shared / f"data/lvis_sample/annotations/lvis_v1_{split}.json"
        annotations = read_coco(path, layout="lvis")
        assert (len(annotations), len(annotations.boxes), len(annotations.categories)) == (
            num_images,
            num_annotations,
            1230,
        )
        assert all((shared / "data/coco_sample" / annotations.file_name(k)).is_file() for k in range(num_images))
        ids = annotations.categories.ids
        rows = {row["id"]: row for row in json.loads(path.read_text())["images"]}
        for k, (negative, not_exhaustive) in enumerate(lists(annotations)):
            row = rows[int(annotations.image_ids[k])]
            assert [ids[label] for label in negative] == row["neg_category_ids"]
            assert [ids[label] for label in not_exhaustive] == row["not_exhaustive_category_ids"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coco_url": None}, "coco_url does not end in folder and file name: image 1: null"),
        ({"coco_url": "1.png"}, "coco_url does not end in folder and file name: image 1"),
        ({"coco_url": "http://x/../1.png"}, "coco_url leaves the image folder.*'http://x/../1.png'"),
        ({"coco_url": "/etc/passwd"}, "coco_url leaves the image folder.*'/etc/passwd'"),
        ({"coco_url": "../../etc/passwd"}, "coco_url leaves the image folder.*'../../etc/passwd'"),
        ({"neg_category_ids": None}, "neg_category_ids is not a list of integers: image 1: null"),
        ({"not_exhaustive_category_ids": ["3"]}, r"not_exhaustive_category_ids is not a list .* image 1: \[\"3\"\]"),
        ({"neg_category_ids": [7, 5, 99]}, "2 x neg_category_ids that is not among .* image 1: 5, image 1: 99"),
        ({"width": 0}, "width is not an integer from 1 .*: image 1: 0"),
    ],
)  # fmt: skip
def test_fault_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, lvis_document([image(1, [], [], **changes)], []))


def test_a_file_of_coco_is_pointed_to_its_own_loader(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"layout of COCO .* use data=coco instead of data=lvis"):
        read(tmp_path, document())


def dataset(folder: Path, **options: Any) -> CocoDataset:  # noqa: ANN401
    """Of the small document, with its images."""
    for name in ("train2017/1.png", "val2017/2.png", "val2017/4.png"):
        write_image(folder / name)
    annotations = read(folder, SMALL)
    options = {"transform": KEEP, "num_sampled_classes": 1, **options}
    return CocoDataset(annotations=annotations, images=FolderImages(annotations, folder), **options)


def test_samples_carry_what_is_known_of_their_classes(tmp_path: Path) -> None:
    data = dataset(tmp_path, num_sampled_classes=0)
    first, last = data[0].federated, data[2].federated
    assert first is not None
    assert last is not None
    assert (first.negative.tolist(), first.not_exhaustive.tolist(), first.sampled.tolist()) == ([], [0], [])
    assert (last.negative.tolist(), last.not_exhaustive.tolist()) == ([1, 3], [])


def test_classes_are_drawn_among_those_that_occur_and_of_which_nothing_is_known(tmp_path: Path) -> None:
    data = dataset(tmp_path, num_sampled_classes=9)
    drawn = [data[k].federated for k in range(3)]
    # Classes 0 and 2 occur. Image 0 shows both, image 1 knows that 2 is absent, image 2 shows 0.
    assert [labels.sampled.tolist() for labels in drawn if labels is not None] == [[], [0], [2]]


def test_classes_are_drawn_by_the_root_of_the_number_of_their_images(shared: Path) -> None:
    path = shared / "data/lvis_sample/annotations/lvis_v1_train.json"
    annotations = read_coco(path, layout="lvis")
    data = CocoDataset(
        annotations=annotations,
        images=FolderImages(annotations, shared / "data/coco_sample"),
        transform=KEEP,
        num_sampled_classes=1,
    )
    assert data._federated is not None
    counts = np.zeros(1230)
    for epoch in range(4000):
        counts[data._federated(SampleKey(epoch, 7)).sampled.numpy()] += 1
    known = {*annotations.labels[annotations.rows(7)], *lists(annotations)[7][0], *lists(annotations)[7][1]}
    weights = np.sqrt(images_per_class(annotations))
    weights[list(known)] = 0
    expected = 4000 * weights / weights.sum()
    assert counts[weights == 0].sum() == 0
    # Four standard deviations of a binomial count, of which none of 48 should be beyond.
    assert (np.abs(counts - expected) <= 4 * np.sqrt(expected) + 1e-9).all()


def test_a_draw_depends_on_seed_epoch_image_and_repeat_alone(shared: Path) -> None:
    path = shared / "data/lvis_sample/annotations/lvis_v1_train.json"
    annotations = read_coco(path, layout="lvis")
    drawn = set()
    for seed in (0, 1):
        for _ in range(2):
            data = CocoDataset(
                annotations=annotations,
                images=FolderImages(annotations, shared / "data/coco_sample"),
                transform=KEEP,
                seed=seed,
                num_sampled_classes=20,
            )
            assert data._federated is not None
            for key in (SampleKey(0, 3), SampleKey(1, 3), SampleKey(0, 4), SampleKey(0, 3, 1)):
                drawn.add((seed, key, tuple(data._federated(key).sampled.tolist())))
    assert len(drawn) == 8
    assert len({classes for _, _, classes in drawn}) == 8


def test_batches_pad_the_lists_with_minus_one(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    federated = Collate()([data[k] for k in range(3)]).targets.federated
    assert federated is not None
    assert federated.negative.tolist() == [[-1, -1], [2, -1], [1, 3]]
    assert federated.not_exhaustive.tolist() == [[0], [-1], [-1]]
    assert federated.sampled.tolist() == [[-1], [0], [2]]
    assert torch.equal(federated.to("cpu").negative, federated.negative)


def test_batches_of_other_data_have_no_lists() -> None:
    assert Collate()([sample(), sample()]).targets.federated is None


def test_data_module_reads_both_splits(shared: Path) -> None:
    names = {split: f"annotations/lvis_v1_{split}.json" for split in ("train", "val")}
    module = data_module(
        shared / "data/lvis_sample",
        layout="lvis",
        train_annotations=names["train"],
        val_annotations=names["val"],
        train_images="../coco_sample",
        val_images="../coco_sample",
        num_sampled_classes=5,
        repeat_threshold=0.5,
        batch_size=1,
    )
    module.setup("fit")
    assert module.num_classes == 1230
    loader = module.train_dataloader()
    assert len(loader) > 50
    federated = next(iter(loader)).targets.federated
    assert federated is not None
    assert (federated.negative.shape, federated.sampled.shape) == ((1, 8), (1, 5))


def test_classes_are_drawn_in_the_layout_of_lvis_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.num_sampled_classes must be 0 unless data\.layout is lvis, got 5"):
        data_module(tmp_path, num_sampled_classes=5)


def test_the_data_check_knows_the_layout(tmp_path: Path) -> None:
    dataset(tmp_path)
    report = check_dataset(tmp_path / "lvis.json", tmp_path, layout="lvis")
    assert report.is_usable
    assert report.num_decoded == 3
    assert not check_dataset(tmp_path / "lvis.json", tmp_path).is_usable
