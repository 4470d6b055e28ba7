"""Two ranks, one of them without objects, train every system as one process with the images of both does."""

from operator import itemgetter

import pytest
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from deta.ops.random import Draw
from deta.structures import Batch, Losses
from deta.training.step import step
from tests.systems.composed import DENSE, NO_DROPOUT, REGIONS, SYSTEMS, Built, build, words_of
from tests.training.test_step import batch

NUM_CLASSES = 6
NOT_DRAWN = ("criterion.rules.first.assigner.number=5000", "model.body.sampler.num_regions=5000")
"""Words after which Faster R-CNN draws nothing, since random numbers belong to a rank."""
OF_A_RANK = {
    "dino": "an image has as many noised objects as the fullest image of its rank",
    "dn_detr": "the same",
    "dn_deformable_detr": "the same",
    "dn_deformable_detr_encoder_only": "the same",
    "tsp_rcnn": "no class counts where no candidate of the rank has an object",
}
"""Systems whose images depend on the others of their rank, as they were published."""


def trained(built: Built, own: Batch) -> tuple[Losses, Tensor]:
    """Losses and the gradients of their sums."""
    detector, criterion, _ = built
    detector.zero_grad()
    losses = step(detector, criterion, own, Draw.of(0)).losses
    assert losses is not None
    (losses.sums * losses.weights).sum().backward()
    gradients = [each.grad.flatten() for each in detector.parameters() if each.grad is not None]
    return losses, torch.cat(gradients)


@pytest.mark.gate
@pytest.mark.parametrize("system", [system for system in SYSTEMS + DENSE + REGIONS if system not in OF_A_RANK])
def test_sums_divisors_and_gradients_of_two_ranks_are_those_of_one_process(system: str) -> None:
    torch.manual_seed(0)
    built = build(
        NUM_CLASSES, *words_of(system), *NO_DROPOUT.get(system, ()), *(NOT_DRAWN if system in REGIONS else ())
    )
    for module in built[0].modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    whole = batch(6, 0, height=128, width=160)
    (first, of_first), (second, of_second) = (
        trained(built, whole.map(itemgetter(slice(rank, rank + 1)))) for rank in range(2)
    )
    expected, of_whole = trained(built, whole)
    torch.testing.assert_close(first.sums + second.sums, expected.sums, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(first.divisors + second.divisors, expected.divisors, rtol=1e-5, atol=0)
    assert (of_first + of_second - of_whole).norm() < 1e-5 * of_whole.norm()
