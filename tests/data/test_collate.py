import pytest
import torch

from deta.data import Collate
from tests.data.folders import sample


def test_images_are_padded_at_bottom_and_right() -> None:
    first, second = sample(4, 6), sample(5, 3)
    batch = Collate()([first, second])
    assert batch.images.shape == (2, 3, 5, 6)
    assert torch.equal(batch.images[0, :, :4, :6], first.image)
    assert batch.images[0, :, 4:].sum() == 0
    assert batch.is_padding[0].sum(dim=1).tolist() == [0, 0, 0, 0, 6]
    assert batch.is_padding[1].sum(dim=0).tolist() == [0, 0, 0, 5, 5, 5]


def test_boxes_are_relative_to_the_unpadded_image() -> None:
    batch = Collate()([sample(10, 20, [[5, 2, 15, 6]]), sample(40, 40)])
    assert batch.targets.boxes[0, 0].tolist() == pytest.approx([0.5, 0.4, 0.5, 0.4])


def test_ground_truth_is_padded_to_a_common_width() -> None:
    crowd = torch.tensor([[0.0, 0, 10, 10]])
    full, other = sample(10, 10, [[0, 0, 5, 5], [1, 1, 2, 3]]), sample(10, 10, [[2, 2, 4, 4]], ignore_boxes=crowd)
    targets = Collate()([full, other]).targets
    assert targets.most_objects == 2
    assert targets.is_object.tolist() == [[True, True, *[False] * 6], [True, *[False] * 7]]
    assert targets.labels[:, :3].tolist() == [[0, 1, 0], [0, 0, 0]]
    assert targets.areas[:, :3].tolist() == [[100, 101, 0], [100, 0, 0]]
    assert targets.boxes[1, 1].tolist() == [0, 0, 0, 0]
    assert targets.is_ignore[:, :2].tolist() == [[False, False], [True, False]]
    assert targets.ignore_boxes[1, 0].tolist() == [0.5, 0.5, 1, 1]


@pytest.mark.parametrize(("count", "width"), [(0, 8), (1, 8), (8, 8), (9, 16), (93, 96)])
def test_widths_come_in_few_classes(count: int, width: int) -> None:
    boxes = [[0.0, 0, 5, 5]] * count
    targets = Collate()([sample(10, 10, boxes), sample(10, 10)]).targets
    assert targets.boxes.shape == (2, width, 4)
    assert (int(targets.is_object.sum()), targets.most_objects) == (count, count)


def test_batch_without_any_crowd_has_no_place_for_one() -> None:
    assert Collate()([sample(), sample()]).targets.ignore_boxes.shape == (2, 0, 4)


def test_targets_say_the_size_of_the_unpadded_images() -> None:
    targets = Collate()([sample(10, 20), sample(40, 30)]).targets
    assert targets.sizes.tolist() == [[10, 20], [40, 30]]
    assert targets.frame()[0].tolist() == [20, 10, 20, 10]


def test_ids_and_original_sizes_follow_the_samples() -> None:
    batch = Collate()([sample(image_id=2**40), sample(image_id=-3, original_size=(7, 9))])
    assert batch.image_ids.tolist() == [2**40, -3]
    assert batch.original_sizes.tolist() == [[20, 30], [7, 9]]


def test_single_sample_makes_a_batch_of_one() -> None:
    assert len(Collate()([sample()])) == 1


def test_fixed_size_pads_every_batch_to_it() -> None:
    batch = Collate(pad_to=[32, 64])([sample(20, 30)])
    assert batch.images.shape == (1, 3, 32, 64)
    assert (~batch.is_padding).sum() == 600


def test_sides_of_a_batch_become_multiples() -> None:
    collate = Collate(pad_to_multiple=32)
    shapes = [collate([sample(20, 30), sample(*size)]).images.shape[2:] for size in ((20, 30), (32, 33), (65, 64))]
    assert shapes == [(32, 32), (32, 64), (96, 64)]
    assert (~collate([sample(20, 30)]).is_padding).sum() == 600
    assert Collate(pad_to=[20, 40], pad_to_multiple=16)([sample(20, 30)]).images.shape[2:] == (32, 48)
    with pytest.raises(ValueError, match="pad_to_multiple must be at least 1, got 0"):
        Collate(pad_to_multiple=0)


def test_image_larger_than_the_fixed_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pad_to \(16, 64\) is smaller than an image"):
        Collate(pad_to=[16, 64])([sample(20, 30)])


@pytest.mark.parametrize("pad_to", [[5], [0, 5]])
def test_fixed_size_must_be_two_positive_lengths(pad_to: list[int]) -> None:
    with pytest.raises(ValueError, match="pad_to"):
        Collate(pad_to=pad_to)
