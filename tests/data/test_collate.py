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


def test_ground_truth_is_padded_to_the_fullest_image() -> None:
    crowd = torch.tensor([[0.0, 0, 10, 10]])
    full, other = sample(10, 10, [[0, 0, 5, 5], [1, 1, 2, 3]]), sample(10, 10, [[2, 2, 4, 4]], ignore_boxes=crowd)
    targets = Collate()([full, other]).targets
    assert targets.is_object.tolist() == [[True, True], [True, False]]
    assert targets.labels.tolist() == [[0, 1], [0, 0]]
    assert targets.areas.tolist() == [[100, 101], [100, 0]]
    assert targets.boxes[1, 1].tolist() == [0, 0, 0, 0]
    assert targets.is_ignore.tolist() == [[False], [True]]
    assert targets.ignore_boxes[1, 0].tolist() == [0.5, 0.5, 1, 1]


def test_batch_without_any_object_keeps_one_empty_place() -> None:
    targets = Collate()([sample(), sample()]).targets
    assert targets.boxes.shape == (2, 1, 4)
    assert not targets.is_object.any()
    assert targets.ignore_boxes.shape == (2, 0, 4)


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


def test_image_larger_than_the_fixed_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pad_to \(16, 64\) is smaller than an image"):
        Collate(pad_to=[16, 64])([sample(20, 30)])


@pytest.mark.parametrize("pad_to", [[5], [0, 5]])
def test_fixed_size_must_be_two_positive_lengths(pad_to: list[int]) -> None:
    with pytest.raises(ValueError, match="pad_to"):
        Collate(pad_to=pad_to)
