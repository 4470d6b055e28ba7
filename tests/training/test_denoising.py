"""A training step with denoising queries, on one rank and on two of which one has no objects."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from deta.assign import GivenAssigner, IoUAssigner
from deta.losses import Criterion, FocalLoss, GIoULoss, L1Loss, Rule
from deta.models import ContrastiveDenoisingQueries, DenoisingQueries, LabelEmbedding
from deta.ops.random import Draw
from deta.structures import Losses, StageKey, Targets
from tests.assign.scenes import objects
from tests.models.tiny import HIDDEN_DIM, images, query_body, tiny_detector
from tests.training.ranks import on_ranks

KINDS = (DenoisingQueries, ContrastiveDenoisingQueries)
OBJECTS = [(0.4, 0.4, 0.2, 0.3), (0.6, 0.5, 0.3, 0.2)]


def denoising_detector(kind: Callable[..., DenoisingQueries]) -> nn.Module:
    """A two-stage detector whose boxes are joined by noised objects."""
    detector = tiny_detector(num_classes=3)
    body = query_body(detector)
    body.source.labels = LabelEmbedding(num_classes=3, hidden_dim=HIDDEN_DIM)
    body.groups["denoise"] = kind(source=body.source)
    return detector


def criterion(kind: Callable[..., DenoisingQueries]) -> Criterion:
    def rule(**options: object) -> Rule:
        terms = {"class_terms": {"class": FocalLoss()}, "box_terms": {"l1": L1Loss(), "giou": GIoULoss(eps=1e-6)}}
        return Rule(**terms, **options)  # type: ignore[arg-type]

    given = {"per_object": "mean"} if kind is ContrastiveDenoisingQueries else {"normalizer": "num_positives"}
    return Criterion(
        {
            "first": rule(assigner=IoUAssigner(gamma=None), sees="objects"),
            "layers": rule(assigner=IoUAssigner()),
            "denoise": rule(assigner=GivenAssigner(), is_global=kind is ContrastiveDenoisingQueries, **given),
        }
    )


def measured(detector: nn.Module, kind: Callable[..., DenoisingQueries], targets: Targets) -> Losses:
    output = detector(*images(num_images=len(targets.boxes)), targets, Draw.of(0))
    return criterion(kind)(output, targets, Draw.of(1))


@pytest.mark.parametrize("kind", KINDS)
def test_noised_objects_train_their_labels_and_are_all_found_again_by_themselves(
    kind: Callable[..., DenoisingQueries],
) -> None:
    detector, targets = denoising_detector(kind), objects(OBJECTS, OBJECTS[:1])
    losses = measured(detector, kind, targets)
    losses.total().backward()
    labels = query_body(detector).source.labels
    assert labels is not None
    assert labels.weight.grad is not None
    assert labels.weight.grad.any()
    figures = losses.matches_of(StageKey("denoise", 0)).statistics
    assert figures.num_unmatched.sum() == 0
    assert losses.terms()[losses.names.index((StageKey("denoise", 1), "l1"))] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_noised_objects_change_nothing_for_the_queries_that_detect(kind: Callable[..., DenoisingQueries]) -> None:
    detector, targets = denoising_detector(kind).eval(), objects(OBJECTS, OBJECTS[:1])
    alone, beside = detector(*images()), detector(*images(), targets, Draw.of(0))
    torch.testing.assert_close(beside.final.logits, alone.final.logits, rtol=1e-4, atol=1e-5)
    assert StageKey("denoise", 0) not in alone.stages


@pytest.mark.parametrize("kind", KINDS)
def test_queries_that_are_only_for_training_are_in_no_loss_of_validation(
    kind: Callable[..., DenoisingQueries],
) -> None:
    detector, targets = denoising_detector(kind), objects(OBJECTS, OBJECTS[:1])
    body = query_body(detector)
    body.groups["denoise"] = kind(source=body.source, only_in_training=True)
    in_training = measured(detector, kind, targets)
    in_validation = measured(detector.eval(), kind, targets)
    roles = [{key.role for key, _ in losses.names} for losses in (in_training, in_validation)]
    assert roles == [{"first", "layers", "denoise"}, {"first", "layers"}]
    assert {key.role for key in in_validation.matches} == {"first", "layers"}


def take_a_step(rank: int, folder: str, number: int) -> None:
    """A step on the objects of this rank, of which the second has none; keeps gradients and weights."""
    kind = KINDS[number]
    dist.init_process_group("gloo")
    targets = objects(OBJECTS, OBJECTS[:1]) if rank == 0 else objects([], [])
    torch.manual_seed(0)
    detector = denoising_detector(kind)
    own = _gradients(detector, _shared(measured(detector, kind, targets)).total())
    parallel = DistributedDataParallel(detector)
    _shared(measured(parallel, kind, targets)).total().backward()
    gradients = {name: part.grad for name, part in detector.named_parameters()}
    torch.optim.SGD(detector.parameters(), lr=0.1).step()
    weights = {name: part.detach() for name, part in detector.named_parameters()}
    torch.save((own, gradients, weights), Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()


def _shared(losses: Losses) -> Losses:
    def mean(divisors: Tensor) -> Tensor:
        divisors = divisors.clone()
        dist.all_reduce(divisors)
        return divisors / dist.get_world_size()

    return losses.averaged(mean)


def _gradients(detector: nn.Module, total: Tensor) -> dict[str, Tensor]:
    """None where the loss does not reach."""
    weights = dict(detector.named_parameters())
    return dict(zip(weights, torch.autograd.grad(total, list(weights.values()), allow_unused=True), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(KINDS)))
def test_a_rank_without_objects_leaves_weights_equal_and_label_gradients_the_mean_of_both(
    number: int, tmp_path: Path
) -> None:
    on_ranks(2, take_a_step, str(tmp_path), number)
    (own, gradients, weights), (others, same, alike) = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    name = "body.source.labels.weight"
    assert own[name].any()
    assert not others[name].any()  # zero, but there: the other rank waits for it
    torch.testing.assert_close(gradients[name], own[name] / 2)
    assert all(torch.equal(gradients[key], same[key]) for key in gradients)
    assert all(torch.equal(weights[key], alike[key]) for key in weights)
