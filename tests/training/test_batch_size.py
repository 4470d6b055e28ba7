"""The search for the largest batch, and the steps that it tries."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from deta.training.batch_size import MemoryTrial, heaviest, largest_batch
from tests.training.tiny import detection_module, is_same, shapes, weights


@pytest.mark.parametrize(
    ("room", "most", "expected", "tried"),
    [(1, 64, 1, [1, 2]), (11, 64, 8, [1, 2, 4, 8, 16]), (99, 6, 4, [1, 2, 4]), (99, 1, 1, [1])],
)
def test_the_largest_power_of_two_that_fits_is_found(room: int, most: int, expected: int, tried: list[int]) -> None:
    asked: list[int] = []

    def fits(size: int) -> bool:
        asked.append(size)
        return size <= room

    assert largest_batch(fits, most=most) == expected
    assert asked == tried


def test_what_does_not_fit_at_all_is_told() -> None:
    with pytest.raises(ValueError, match=r"data\.batch_size=auto: a training step of a single image does not fit"):
        largest_batch(lambda _: False, most=8)


def test_the_tried_image_is_as_large_and_as_full_as_any_and_a_step_takes_as_many_as_asked(cache: Path) -> None:
    data = shapes(cache, batch_size=1)
    module = detection_module(data)
    batches = list(data.train_dataloader())
    image = heaviest(batches)
    assert image.images.shape[2:] == (
        max(batch.images.shape[2] for batch in batches),
        max(batch.images.shape[3] for batch in batches),
    )
    assert int(image.targets.is_object.sum()) == max(int(batch.targets.is_object.sum()) for batch in batches)
    seen: list[int] = []
    module.detector.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    before = weights(module.detector)
    precision: Any = nullcontext
    MemoryTrial(module, image, torch.device("cpu"), precision).take_step(3)
    assert seen == [3]
    assert not is_same(before, weights(module.detector))
