"""Rows of classes of every kind of head, and what a detector predicts with rows that it has taken over."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from deta.building.build import make_detector
from deta.models.class_rows import ClassRows, class_rows, number_of_classes, same_classes, taken_by_class
from deta.models.dense.base import HeadShape
from deta.models.dense.head import DenseHead
from deta.models.query.heads import PredictionHead
from deta.models.query.labels import LabelEmbedding
from deta.models.roi.head import RegionHead
from tests.models.tiny import images, tiny_detector
from tests.systems.composed import DENSE, REGIONS, SYSTEMS, composed, words_of

OTHER, OWN = ("a", "b", "c", "d"), ("c", "new", "a")
MINE, THEIRS = [0, 2], [2, 0]
"""The classes that both have."""
Make = Callable[[int], nn.Module]


def taken_over(make: Make, *, noise: float = 1.0) -> tuple[nn.Module, nn.Module]:
    """Something for four classes, and the same for three, which has taken over two of them."""
    torch.manual_seed(0)
    other, own = make(len(OTHER)).eval(), make(len(OWN)).eval()
    for value in other.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.randn_like(value) * noise)  # so that no class is like another
    fresh = {name: value.clone() for name, value in own.state_dict().items()}
    rows = class_rows(make(1), make(2))
    own.load_state_dict(taken_by_class(fresh, other.state_dict(), rows, same_classes(OWN, OTHER)))
    return other, own


def test_a_head_of_queries_predicts_common_classes_and_no_object_as_before() -> None:
    other, own = taken_over(lambda number: PredictionHead(hidden_dim=8, num_classes=number, scores="softmax"))
    assert isinstance(other, PredictionHead)
    assert isinstance(own, PredictionHead)
    tokens = torch.randn(1, 5, 8)
    before, now = other.logits(tokens), own.logits(tokens)
    assert torch.equal(now[..., [*MINE, 3]], before[..., [*THEIRS, 4]])
    assert torch.equal(own.boxes(tokens, None), other.boxes(tokens, None))


def test_a_head_of_levels_has_the_classes_of_every_candidate() -> None:
    def make(number: int) -> DenseHead:
        shape = HeadShape(channels=(8, 8), num_classes=number, per_cell=3, code_size=4, hidden_dim=8)
        return DenseHead(shape, num_convs=1)

    other, own = taken_over(make)
    maps = [torch.randn(1, 8, 4, 4), torch.randn(1, 8, 2, 2)]
    (before, codes, _), (now, own_codes, _) = other(maps), own(maps)
    assert torch.equal(now[..., MINE], before[..., THEIRS])
    assert not torch.allclose(now[..., 1], before[..., 1])
    assert torch.equal(own_codes, codes)


def test_a_head_of_regions_has_a_box_of_every_class_and_of_no_object() -> None:
    other, own = taken_over(lambda number: RegionHead(num_classes=number, channels=8, resolution=2, width=8))
    theirs, mine = (part.state_dict()["box_code.weight"].unflatten(0, (-1, 4)) for part in (other, own))
    assert torch.equal(mine[[*MINE, 3]], theirs[[*THEIRS, 4]])
    assert not torch.equal(mine[1], theirs[1])


def test_labels_of_denoising_queries_are_taken_over_with_that_of_no_label() -> None:
    other, own = taken_over(lambda number: LabelEmbedding(num_classes=number, hidden_dim=8))
    theirs, mine = other.state_dict()["weight"], own.state_dict()["weight"]
    assert torch.equal(mine[[*MINE, 3]], theirs[[*THEIRS, 4]])
    assert not torch.equal(mine[1], theirs[1])


def test_a_first_stage_that_ranks_by_its_first_channel_keeps_it() -> None:
    rows = class_rows(tiny_detector(num_classes=1), tiny_detector(num_classes=2))
    name = "body.source.head.class_logits.weight"
    assert rows[name].is_foreground
    own, published = torch.zeros(1, 8), torch.randn(91, 8)
    assert torch.equal(taken_by_class({name: own}, {name: published}, rows, [])[name], published[:1])
    many = torch.zeros(3, 8)
    assert torch.equal(rows[name].taken(many, published, [(0, 5)]), torch.cat((published[:1], many[1:])))


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS + DENSE + REGIONS)
def test_every_system_predicts_common_classes_as_before(system: str) -> None:
    model = composed(*words_of(system))["model"]
    other, own = taken_over(lambda number: make_detector(model, number), noise=0.02)
    assert number_of_classes(other.state_dict(), class_rows(*(make_detector(model, n) for n in (1, 2)))) == len(OTHER)
    with torch.no_grad():
        before, now = (detector(*images(64, 64)).final for detector in (other, own))
    if system in ("dino", "efficient_detr"):  # whose classes choose the queries
        names = [name for name in own.state_dict() if name.endswith("class_logits.bias")]
        states = own.state_dict(), other.state_dict()
        assert all(torch.equal(states[0][name][MINE], states[1][name][THEIRS]) for name in names)
        return
    assert torch.allclose(now.logits[..., MINE], before.logits[..., THEIRS], atol=1e-5)
    assert not torch.allclose(now.logits[..., 1], before.logits[..., 1], atol=1e-3)
    if now.logits.shape[-1] > len(OWN):  # "no object"
        assert torch.allclose(now.logits[..., -1], before.logits[..., -1], atol=1e-5)


def test_the_number_of_classes_is_told_by_the_rows() -> None:
    rows = class_rows(tiny_detector(num_classes=1), tiny_detector(num_classes=2))
    state = tiny_detector(num_classes=7).state_dict()
    assert number_of_classes(state, rows) == 7
    name = next(name for name in rows if not rows[name].is_foreground)
    with pytest.raises(ValueError, match="for how many classes they are is not clear"):
        number_of_classes({**state, name: torch.zeros(5)}, rows)


def test_names_are_compared_without_case_and_spaces_around_them() -> None:
    assert same_classes(["Cat", "dog", "red cell"], ["red cell ", None, "cat", "CAT"]) == [(0, 2), (2, 0)]


def test_no_common_class_leaves_all_fresh_and_all_common_leave_none() -> None:
    rows, own, other = ClassRows(groups=2), torch.zeros(6), torch.arange(1.0, 9.0)
    assert torch.equal(rows.taken(own, other, []), own)
    taken = rows.taken(own, other, [(0, 3), (1, 2), (2, 1)])
    assert torch.equal(taken, torch.tensor([4.0, 3.0, 2.0, 8.0, 7.0, 6.0]))


def test_rows_that_are_not_shared_by_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="6 rows are not 1 x 4 of every class and 1 more"):
        ClassRows(per_class=4, others=1).classes(6)
    wide: dict[str, Tensor] = {"head.weight": torch.zeros(3, 8)}
    with pytest.raises(ValueError, match=r"head\.weight is that of another model \(\(2, 4\) instead of \(3, 8\)\)"):
        taken_by_class(wide, {"head.weight": torch.zeros(2, 4)}, {"head.weight": ClassRows()}, [])
