"""A step on two ranks, one of which has no object, is the step of one process with the images of both."""

import os
import socket
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from deta.assign import Draw, HungarianAssigner, IoUAssigner, ReleaseAssigner
from deta.losses import Criterion
from deta.structures import Batch
from deta.training.step import step
from tests.losses.criteria import QueryCriterion
from tests.models.tiny import tiny_detector
from tests.training.test_step import NUM_CLASSES, batch

NUM_RANKS = 2
TOLERANCE = 1e-5
"""Of float32 sums in another order, relative to the whole gradient."""
Result = tuple[Tensor, dict[str, Tensor]]
"""The loss and the gradients."""

CRITERIA: dict[str, Callable[[], Criterion]] = {
    "iou": lambda: QueryCriterion(layer_assigner=IoUAssigner(gamma=None), proposal_assigner=IoUAssigner(gamma=None)),
    "release": lambda: QueryCriterion(
        layer_assigner=ReleaseAssigner(positive_fraction=None),
        proposal_assigner=ReleaseAssigner(positive_fraction=None),
    ),
    "hungarian": lambda: QueryCriterion(
        layer_assigner=HungarianAssigner(), proposal_assigner=HungarianAssigner(), rematch="per_layer"
    ),
    "divided by positives": lambda: QueryCriterion(
        layer_assigner=IoUAssigner(gamma=None),
        proposal_assigner=IoUAssigner(gamma=None),
        normalizer="num_positives",
    ),
}
"""Rules that decide nothing at random, since random numbers belong to a rank."""


def both_images() -> Batch:
    """An image with six objects, and one without any.

    Their coarsest map has several pixels: a group norm over one or two would magnify the rounding of what comes before.
    """
    return batch(6, 0, height=128, width=160)


def images_of(rank: int) -> Batch:
    """That of one rank."""
    return both_images().map(itemgetter(slice(rank, rank + 1)))


def trained(detector: nn.Module, criterion: Criterion, own: Batch, mean: Callable[[Tensor], Tensor]) -> Result:
    """Loss and gradients of the images of one process."""
    detector.zero_grad()
    losses = step(detector, criterion, own, Draw.of(0)).losses
    assert losses is not None
    total = losses.averaged(mean).total()
    total.backward()
    gradients = {
        name.removeprefix("module."): value.grad.clone()
        for name, value in detector.named_parameters()
        if value.grad is not None
    }
    return total.detach(), gradients


def alone(name: str) -> Result:
    """Of one process with all images."""
    return trained(tiny_detector(num_classes=NUM_CLASSES), CRITERIA[name](), both_images(), lambda counts: counts)


def require_alike(found: Result, expected: Result) -> None:
    torch.testing.assert_close(found[0], expected[0], rtol=TOLERANCE, atol=0)
    assert found[1].keys() == expected[1].keys()
    one, other = (torch.cat([part.flatten() for part in gradients.values()]) for _, gradients in (found, expected))
    assert (one - other).norm() < TOLERANCE * other.norm()


@pytest.mark.parametrize("name", CRITERIA)
def test_the_mean_of_the_losses_of_two_ranks_is_the_loss_of_one(name: str) -> None:
    detector, criterion = tiny_detector(num_classes=NUM_CLASSES), CRITERIA[name]()
    own = [step(detector, criterion, images_of(rank), Draw.of(0)).losses for rank in range(NUM_RANKS)]
    shared = torch.stack([losses.divisors for losses in own if losses is not None]).mean(0)
    results = [trained(detector, criterion, images_of(rank), lambda _: shared) for rank in range(NUM_RANKS)]
    gradients = {key: (results[0][1][key] + results[1][1][key]) / NUM_RANKS for key in results[0][1]}
    require_alike(((results[0][0] + results[1][0]) / NUM_RANKS, gradients), alone(name))


def worker(rank: int, folder: str, port: int) -> None:
    """One rank, as a launcher would start it."""
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"})
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=NUM_RANKS)

    def mean(values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total / NUM_RANKS

    results = {}
    for name, criterion in CRITERIA.items():
        # It waits for every parameter: one that a rank without objects leaves without gradient would hold both.
        detector = DistributedDataParallel(tiny_detector(num_classes=NUM_CLASSES))
        total, gradients = trained(detector, criterion(), images_of(rank), mean)
        results[name] = (mean(total), gradients)
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_of_which_one_has_no_object_take_the_step_of_one(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn(worker, args=(str(tmp_path), port), nprocs=NUM_RANKS)
    for rank in range(NUM_RANKS):
        results: dict[str, Result] = torch.load(tmp_path / f"{rank}.pt")
        for name, found in results.items():
            require_alike(found, alone(name))
