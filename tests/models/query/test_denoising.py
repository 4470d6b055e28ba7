"""Queries that are noised objects, beyond the reference outputs."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from deta.assign import GivenAssigner
from deta.models import (
    ContrastiveDenoisingQueries,
    DenoisingQueries,
    EncoderProposals,
    LabelEmbedding,
    LearnedBoxes,
    LearnedQueries,
    Queries,
)
from deta.models.query.denoising import Slots, moved_boxes, moved_sides, relabelled
from deta.models.query.selection import TopKPositions
from deta.ops.random import Draw
from deta.structures import BACKGROUND, IGNORED, Prediction, Targets
from deta.testing import check_group
from tests.assign.scenes import assigned, objects, statistics
from tests.models.tiny import tokens

WIDTH, NUM_CLASSES = 16, 6
BOXES = [(0.5, 0.5, 0.2, 0.4), (0.3, 0.6, 0.1, 0.1), (0.7, 0.7, 0.5, 0.2)]


def source(*, has_indicator: bool = False, num_classes: int = NUM_CLASSES) -> LearnedBoxes:
    labels = LabelEmbedding(num_classes=num_classes, hidden_dim=WIDTH, has_indicator=has_indicator)
    return LearnedBoxes(hidden_dim=WIDTH, num_queries=5, labels=labels)


def proposals() -> EncoderProposals:
    labels = LabelEmbedding(num_classes=NUM_CLASSES, hidden_dim=WIDTH)
    return EncoderProposals(hidden_dim=WIDTH, num_queries=5, selection=TopKPositions(), labels=labels)


def queries(group: DenoisingQueries, targets: Targets, made_by: LearnedBoxes | None = None, seed: int = 0) -> Queries:
    made_by = made_by or source()
    memory = tokens([torch.zeros(len(targets.boxes), 2, 2, dtype=torch.bool)], hidden_dim=WIDTH)
    main, first = made_by(memory)
    found: Queries = group(made_by, memory, main, first, targets, Draw.of(seed))
    return found


KINDS = [
    partial(DenoisingQueries, groups=3),
    partial(DenoisingQueries, groups=1, label_noise=1.0, max_slots=2),
    partial(ContrastiveDenoisingQueries, number=60),
    partial(ContrastiveDenoisingQueries, number=3, max_slots=5),
]


@pytest.mark.parametrize("kind", KINDS, ids=range(len(KINDS)))
@pytest.mark.parametrize("make", [source, partial(source, has_indicator=True), proposals])
def test_the_group_does_what_every_group_must(kind: Any, make: Any) -> None:  # noqa: ANN401 - partial functions
    check_group(partial(kind, source=make()), make)


@pytest.mark.parametrize("kind", [DenoisingQueries, ContrastiveDenoisingQueries])
@pytest.mark.parametrize("made_by", [LearnedQueries(hidden_dim=WIDTH), LearnedBoxes(hidden_dim=WIDTH)])
def test_queries_without_boxes_or_labels_are_refused_before_any_step(kind: Any, made_by: Any) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=r"denoising needs a source with boxes as references and with labels"):
        kind(source=made_by)


@pytest.mark.parametrize("kind", [DenoisingQueries, ContrastiveDenoisingQueries])
def test_a_batch_without_objects_has_no_queries_and_still_trains_the_labels(kind: Any) -> None:  # noqa: ANN401
    made_by = source()
    found = queries(kind(source=made_by), objects([], []), made_by)
    assert found.content.shape == (2, 0, WIDTH)
    assert made_by.labels is not None
    (gradient,) = torch.autograd.grad(found.content.sum(), made_by.labels.weight)
    assert gradient.shape == made_by.labels.weight.shape
    assert not gradient.any()


@pytest.mark.parametrize(
    ("kind", "most", "groups", "kept"),
    [
        (DenoisingQueries, None, 5, 3),
        (DenoisingQueries, 14, 4, 3),
        (DenoisingQueries, 3, 1, 3),
        (DenoisingQueries, 2, 1, 2),
        (ContrastiveDenoisingQueries, None, 33, 3),
        (ContrastiveDenoisingQueries, 13, 2, 3),
        (ContrastiveDenoisingQueries, 5, 1, 2),
    ],
)
def test_too_many_slots_become_fewer_groups_and_then_the_first_objects(
    kind: Any,  # noqa: ANN401
    most: int | None,
    groups: int,
    kept: int,
) -> None:
    group, targets = kind(source=source(), max_slots=most), objects(BOXES, BOXES[:1])
    found = queries(group, targets)
    assert found.given is not None
    assert found.count == groups * group.kinds * kept <= (most or found.count)
    assert [(found.given[0] == place).sum() for place in range(3)] == [groups] * kept + [0] * (3 - kept)
    assert (found.given[1] == 0).sum() == groups
    assert found.references is not None
    logits, boxes = torch.zeros(2, found.count, NUM_CLASSES), found.references
    prediction = Prediction(logits, boxes, boxes, exists=found.exists, given=found.given)
    matches = assigned(GivenAssigner(), prediction, targets)
    assert statistics(matches, prediction, targets).num_unmatched.sum() == 3 - kept


def test_slots_of_five_hundred_objects_are_bounded() -> None:
    assert Slots(5, 1, 500).limited(600) == Slots(1, 1, 500)
    assert Slots(1, 2, 500).limited(600) == Slots(1, 2, 300)
    assert Slots(5, 1, 0).limited(600) == Slots(5, 1, 0)


def test_places_without_object_exist_in_contrastive_denoising_alone() -> None:
    targets = objects(BOXES, [])
    plain = queries(DenoisingQueries(source=source(), groups=2), targets)
    contrastive = queries(ContrastiveDenoisingQueries(source=source()), targets)
    assert plain.given is not None
    assert contrastive.given is not None
    assert (plain.given[1] == IGNORED).all()
    assert plain.exists is not None
    assert plain.exists.tolist() == [[True] * 6, [False] * 6]
    assert contrastive.exists is None
    assert (contrastive.given[1] == BACKGROUND).all()
    for found in (plain, contrastive):
        assert found.references is not None
        assert not found.content[1].any()
        assert (found.references[1] == 0.5).all()


def test_labels_are_drawn_anew_of_all_classes_as_often_as_is_said() -> None:
    labels = torch.full((1, 4000), 2)
    chance, drawn = torch.rand(2, 1, 4000, generator=torch.Generator().manual_seed(0))
    found = relabelled(labels, chance < 0.5, drawn, 4)
    share = [(found == label).float().mean().item() for label in range(4)]
    assert share == pytest.approx([0.125, 0.125, 0.625, 0.125], abs=0.03)
    all_drawn = torch.ones_like(labels, dtype=torch.bool)
    assert relabelled(labels, all_drawn, torch.full((1, 4000), 1 - 2**-24), 91).max() == 90


def boxes_of(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows)


def test_a_moved_box_is_the_one_worked_out_by_hand() -> None:
    box = boxes_of((0.5, 0.5, 0.2, 0.4))
    drawn = torch.tensor([[1.0, 0.0, 0.75, 0.5]])
    torch.testing.assert_close(moved_boxes(box, drawn, 0.4), boxes_of((0.54, 0.42, 0.24, 0.4)))
    assert moved_boxes(boxes_of((0.95, 0.5, 0.9, 0.4)), drawn, 1.0)[0, 0] == 1


def test_moved_sides_are_those_worked_out_by_hand_and_may_cross() -> None:
    box = boxes_of((0.5, 0.5, 0.2, 0.4))
    sign = torch.tensor([[1.0, -1.0, -1.0, 1.0]])
    near = moved_sides(box, sign, torch.tensor([[0.5, 0.5, 0.5, 0.5]]), 1.0)  # sides 0.45, 0.2, 0.55, 0.8
    torch.testing.assert_close(near, boxes_of((0.5, 0.5, 0.1, 0.6)))
    far = moved_sides(box, sign, torch.tensor([[1.5, 1.5, 1.5, 1.5]]), 1.0)  # 0.55, 0, 0.45, 1
    torch.testing.assert_close(far, boxes_of((0.5, 0.5, -0.1, 1.0)))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (DenoisingQueries, {"groups": 0}),
        (DenoisingQueries, {"label_noise": 2}),
        (DenoisingQueries, {"box_noise": -1}),
        (DenoisingQueries, {"max_slots": 0}),
        (ContrastiveDenoisingQueries, {"max_slots": 1}),
        (ContrastiveDenoisingQueries, {"number": 0}),
    ],
)
def test_an_argument_out_of_range_is_named(kind: Any, options: dict[str, Any]) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=next(iter(options))):
        kind(source=source(), **options)
