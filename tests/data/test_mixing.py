"""Pictures of several samples: where their pixels and boxes go, and that a key alone decides."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator

from deta.data import Compose, Mosaic, RandomHorizontalFlip, Sample, SampleKey
from deta.data.mixing import FILL, fitted, mixup, mosaic, warp
from deta.structures import FederatedLabels
from tests.data.folders import sample
from tests.data.test_dataset import dataset, same

SIZE = 64
KEEP = Compose(transforms=[])
STILL: dict[str, Any] = {"scale": (1.0, 1.0), "degrees": 0.0, "translate": 0.0, "shear": 0.0, "mixup": None}


def coloured(height: int, width: int, value: int) -> Sample:
    """A picture of one brightness, all of which is an object of that class."""
    whole = sample(height, width, [[0, 0, width, height]])
    return replace(whole, image=torch.full_like(whole.image, value), labels=torch.tensor([value]))


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def require_colours(picture: Sample) -> None:
    """The middle of every box has the brightness that its class says."""
    for box, label in zip(picture.boxes, picture.labels, strict=True):
        column, row = ((box[:2] + box[2:]) / 2).long().tolist()
        assert picture.image[:, row, column].tolist() == [int(label)] * 3


def test_four_pictures_meet_in_a_point_and_are_cut_at_the_edge() -> None:
    pieces = [coloured(32, 64, 1), coloured(64, 32, 2), coloured(128, 128, 3), coloured(16, 16, 4)]
    picture = mosaic(pieces, SIZE, (40, 70))
    assert picture.size == (128, 128)
    assert picture.boxes.tolist() == [[0, 38, 40, 70], [40, 6, 72, 70], [0, 70, 40, 128], [40, 70, 104, 128]]
    assert picture.labels.tolist() == [1, 2, 3, 4]
    require_colours(picture)
    assert (picture.image == FILL).sum() == 3 * (128 * 128 - 40 * 32 - 32 * 64 - 40 * 58 - 64 * 58)


def test_a_sample_is_fitted_into_a_square() -> None:
    assert [fitted(coloured(*sides, 1), SIZE).size for sides in [(32, 128), (10, 10), (200, 100)]] == [
        (16, 64),
        (64, 64),
        (64, 32),
    ]


def test_a_map_moves_pixels_and_boxes_alike() -> None:
    before = replace(
        sample(64, 64, [[8, 16, 24, 20], [60, 60, 63, 63]]), image=torch.zeros(3, 64, 64, dtype=torch.uint8)
    )
    before.image[:, 16:20, 8:24] = 200
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]])  # to the right becomes down
    after = warp(before, 2 * quarter, torch.tensor([50.0, 0.0]), SIZE)
    assert after.boxes.tolist() == [[10, 16, 18, 48]]  # the other one has left
    assert (after.image[0, 17:47, 11:17] == 200).all()
    assert (after.image[0, :14] != 200).all()
    assert after.image[0, 0, 60] == FILL


def test_half_of_another_picture_is_mixed_in_with_the_objects_that_are_well_inside() -> None:
    picture = coloured(SIZE, SIZE, 100)
    other = replace(
        sample(80, 80, [[0, 0, 20, 20], [20, 20, 50, 50], [76, 70, 80, 80]]),
        image=torch.full((3, 80, 80), 200, dtype=torch.uint8),
        labels=torch.tensor([5, 6, 7]),
    )
    mixed = mixup(picture, other, left=10, top=16)
    assert mixed.boxes.tolist() == [[0, 0, 64, 64], [10, 4, 40, 34]]
    assert mixed.labels.tolist() == [100, 6]
    assert (mixed.image == 150).all()
    small = mixup(picture, replace(sample(40, 40, [[2, 2, 22, 22]]), image=other.image[:, :40, :40]), left=0, top=0)
    assert (small.image[:, :40, :40] == 150).all()
    assert (small.image[:, 40:] == 50).all()
    assert mixup(picture, replace(other, boxes=other.boxes * 0), left=0, top=0) is picture


@pytest.mark.parametrize("seed", range(8))
def test_objects_stay_on_their_pixels_however_they_are_moved(seed: int) -> None:
    pieces = iter([coloured(50, 70, value) for value in (10, 60, 250)])
    move = Mosaic(size=SIZE, then=KEEP, mixup=None, scale=(0.5, 1.5))
    picture = move.mixed(coloured(64, 64, 200), generator(seed), lambda _: next(pieces), epoch=0)
    assert picture.size == (SIZE, SIZE)
    large = ((picture.boxes[:, 2:] - picture.boxes[:, :2]) > 16).all(1) & _is_whole(picture)
    require_colours(replace(picture, boxes=picture.boxes[large], labels=picture.labels[large]))


def _is_whole(picture: Sample) -> torch.Tensor:
    """Boxes that do not touch the edge: of others the middle may be no part of the turned object."""
    return ((picture.boxes[:, :2] > 0) & (picture.boxes[:, 2:] < SIZE)).all(1)


def test_a_key_alone_decides_about_all_samples_of_a_picture(tmp_path: Path) -> None:
    transform = Mosaic(size=SIZE, then=RandomHorizontalFlip(), until=2)
    first, second = (dataset(tmp_path, transform=transform) for _ in range(2))
    _ = [second[SampleKey(0, index)] for index in range(4)]
    assert same(first[SampleKey(1, 5)], second[SampleKey(1, 5)])
    assert not same(first[SampleKey(0, 5)], second[SampleKey(1, 5)])
    assert first[SampleKey(1, 5)].size == (SIZE, SIZE)


def test_from_an_epoch_on_a_sample_is_alone(tmp_path: Path) -> None:
    mixed, plain = (
        dataset(tmp_path, transform=transform)
        for transform in (Mosaic(size=SIZE, then=RandomHorizontalFlip(), until=2), RandomHorizontalFlip())
    )
    for image in range(4):
        assert same(mixed[SampleKey(2, image)], plain[SampleKey(2, image)])
        assert not same(mixed[SampleKey(1, image)], plain[SampleKey(1, image)])


def test_pictures_without_any_object_are_mixed_too() -> None:
    empty = replace(sample(40, 40, []), image=torch.zeros(3, 40, 40, dtype=torch.uint8))
    picture = Mosaic(size=SIZE, then=KEEP).mixed(empty, generator(), lambda _: empty, epoch=0)
    assert picture.boxes.shape == (0, 4)
    some = Mosaic(size=SIZE, then=KEEP, **{**STILL, "mixup": (1.0, 1.0)})
    mixed = some.mixed(coloured(40, 40, 9), generator(), lambda _: empty, epoch=0)
    assert len(mixed.boxes) == 1  # and nothing to mix in was found


def test_what_cannot_be_mixed_and_wrong_values_are_named() -> None:
    none = torch.zeros(2, dtype=torch.bool)
    federated = replace(coloured(40, 40, 1), federated=FederatedLabels(none, none, none))
    with pytest.raises(ValueError, match="other classes were looked for: choose another augment="):
        Mosaic(size=SIZE, then=KEEP).mixed(federated, generator(), lambda _: federated, epoch=0)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"size": 8}, "size must be at least 32, got 8"),
        ({"scale": (2.0,)}, r"scale must be two factors, the smallest and the largest, got \(2.0,\)"),
        ({"mixup": (2.0, 1.0)}, r"mixup\[1\] must be at least 2.0, got 1.0"),
        ({"degrees": 270}, r"degrees must be in \[0, 180\], got 270"),
        ({"until": -1}, "until must be at least 0, got -1"),
    ]
    for options, message in wrong:
        with pytest.raises(ValueError, match=message):
            Mosaic(**{"size": SIZE, "then": KEEP, **options})


def test_inside_of_another_transform_there_is_nothing_to_mix() -> None:
    inside = Compose(transforms=[Mosaic(size=SIZE, then=KEEP)])
    with pytest.raises(ValueError, match=r"deta\.data\.Mosaic .* data\.train_transform itself"):
        inside(coloured(32, 32, 1), generator())
