"""Query groups, from what they see to a whole training step."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from deta.assign import GivenAssigner, IoUAssigner
from deta.losses import Criterion, FocalLoss, GIoULoss, L1Loss, Rule
from deta.models import LearnedQueries
from deta.models.query.groups import QueryGroup, Sees, attention_mask, join
from deta.models.query.sources import QuerySource
from deta.models.query.tokens import FeatureTokens, Queries
from deta.ops.random import Draw
from deta.structures import BACKGROUND, Prediction, StageKey, Targets
from deta.testing import check_group
from tests.assign.scenes import objects
from tests.models.tiny import HIDDEN_DIM, images, query_body, tiny_detector
from tests.training.tiny import detection_module, logged, make_trainer, shapes


def queries(count: int, *, block: list[int] | None = None, size: int = 4) -> Queries:
    tensors = (torch.zeros(2, count, 8), torch.zeros(2, count, 8), torch.zeros(2, count, size))
    return Queries(*tensors, block=None if block is None else torch.tensor(block))


def visible(sees: Sees) -> list[str]:
    """Rows of what three main queries and a group of two and two in blocks see, ``x`` for seen."""
    mask = attention_mask({"layers": queries(3), "further": queries(4, block=[0, 0, 1, 1])}, {"further": sees})
    assert mask is not None
    return ["".join("." if is_blocked else "x" for is_blocked in row) for row in mask.tolist()]


def test_main_queries_never_see_another_group() -> None:
    for sees in ("own", "main", "all"):
        assert visible(sees)[:3] == ["xxx...."] * 3


def test_a_group_sees_what_it_says_and_only_its_own_block() -> None:
    assert visible("own")[3:] == ["...xx.."] * 2 + ["...." + ".xx"] * 2
    assert visible("main")[3:] == ["xxxxx.."] * 2 + ["xxx" + "..xx"] * 2


def test_a_group_that_sees_all_sees_every_other_group_and_no_other_block_of_its_own() -> None:
    parts = {"layers": queries(2), "further": queries(4, block=[0, 0, 1, 1]), "other": queries(1)}
    mask = attention_mask(parts, {"further": "all", "other": "own"})
    assert mask is not None
    rows = ["".join("." if is_blocked else "x" for is_blocked in row) for row in mask.tolist()]
    assert rows == ["xx....."] * 2 + ["xxxx..x"] * 2 + ["xx..xxx"] * 2 + ["......x"]


def test_one_group_of_one_block_needs_no_mask() -> None:
    assert attention_mask({"layers": queries(4)}, {}) is None
    assert attention_mask({"layers": queries(4), "further": queries(0)}, {"further": "own"}) is not None


def test_points_and_boxes_do_not_join() -> None:
    with pytest.raises(ValueError, match="references of all query groups"):
        join([queries(2), queries(2, size=2)])


class Shifted(QueryGroup):
    """Two queries for each object slot, on the object but for a random shift; some slots do not exist."""

    sees: Sees = "main"

    def __init__(self, *, num_slots: int | None = None) -> None:
        super().__init__()
        self.content = nn.Embedding(1, HIDDEN_DIM)
        self.num_slots = num_slots
        self.counts: list[int] = []

    def forward(
        self,
        source: QuerySource,
        memory: FeatureTokens,
        main: Queries,
        first: Prediction | None,
        targets: Targets,
        draw: Draw,
    ) -> Queries:
        slots = targets.most_objects if self.num_slots is None else self.num_slots
        self.counts.append(2 * slots)
        boxes = targets.boxes[:, :slots].repeat(1, 2, 1)
        shift = draw.uniform("shift", boxes.shape, boxes.device) - 0.5
        references = (boxes + 0.2 * shift * boxes[..., 2:].repeat(1, 1, 2)).clamp(0.01, 0.99)
        content = self.content.weight[0].expand(*boxes.shape[:2], -1)
        place = torch.arange(slots).repeat(2).expand(len(boxes), -1)
        exists = targets.is_object[:, :slots].repeat(1, 2)
        return Queries(
            content,
            content,
            references,
            given=torch.where(exists, place, BACKGROUND),
            exists=exists,
            block=torch.arange(2).repeat_interleave(slots),
        )


@pytest.mark.parametrize("num_slots", [None, 0])
def test_the_group_does_what_every_group_must(num_slots: int | None) -> None:
    source = partial(LearnedQueries, hidden_dim=HIDDEN_DIM, num_queries=5, reference_size=4)
    check_group(partial(Shifted, num_slots=num_slots), source)


def add_group(detector: nn.Module, group: QueryGroup) -> None:
    query_body(detector).groups["shifted"] = group


def rule(**options: object) -> Rule:
    terms = {"class_terms": {"class": FocalLoss()}, "box_terms": {"l1": L1Loss(), "giou": GIoULoss()}}
    return Rule(**{**terms, **options})  # type: ignore[arg-type]


def criterion() -> Criterion:
    return Criterion(
        {
            "first": rule(assigner=IoUAssigner(gamma=None), sees="objects"),
            "layers": rule(assigner=IoUAssigner()),
            "shifted": rule(assigner=GivenAssigner(), weight=0.5),
        }
    )


@pytest.mark.parametrize("num_slots", [None, 0])
def test_a_group_of_ones_own_trains_through_the_whole_step(cache: Path, tmp_path: Path, num_slots: int | None) -> None:
    data, group = shapes(cache), Shifted(num_slots=num_slots)
    module = detection_module(data, criterion=criterion())
    add_group(module.detector, group)
    make_trainer(tmp_path).fit(module, datamodule=data)
    assert len(group.counts) == 3  # two steps and a validation batch
    values = logged(tmp_path, "train/shifted/layer1/l1")
    assert len(values) == 2
    assert all((value > 0) == (num_slots is None) for value in values)


def test_what_does_not_exist_is_in_no_loss_and_no_figure_and_what_has_no_object_is_background() -> None:
    detector = tiny_detector(num_classes=3)
    add_group(detector, Shifted())
    targets = objects([(0.5, 0.5, 0.2, 0.2)] * 3, [])
    output = detector(*images(), targets, Draw.of(0))
    losses = criterion()(output, targets, Draw.of(0))
    matches = losses.matches_of(StageKey("shifted", 1))
    assert matches.classes.target.tolist() == [[0, 1, 2, 0, 1, 2], [-2] * 6]
    assert matches.statistics.num_ignored == 0
    assert matches.statistics.num_positives.sum() == 6
    of_class = losses.terms()[losses.names.index((StageKey("shifted", 1), "class"))]
    (gradient,) = torch.autograd.grad(of_class, output.stages[StageKey("shifted", 1)].logits)
    assert (gradient[0] != 0).all()
    assert (gradient[1] == 0).all()


def test_a_further_group_changes_nothing_for_the_main_queries() -> None:
    detector = tiny_detector(num_classes=3).eval()
    targets, draw = objects([(0.5, 0.5, 0.2, 0.2)], [(0.3, 0.3, 0.2, 0.2)]), Draw.of(0)
    before: Tensor = detector(*images()).final.logits
    add_group(detector, Shifted())
    torch.testing.assert_close(detector(*images(), targets, draw).final.logits, before)
    assert [key.role for key in detector(*images()).stages] == ["first", "layers", "layers"]
