"""Random samples of an assignment."""

from dataclasses import replace

import pytest
import torch

from deta.assign import (
    IGNORED,
    Assigner,
    Draw,
    GivenAssigner,
    HungarianAssigner,
    MaxIoUAssigner,
    Prediction,
    ReleaseAssigner,
    SampledAssigner,
    assign,
)
from deta.assign.sampling import keep_random_share
from deta.testing import check_assigner
from tests.assign.scenes import objects

OBJECT = (0.5, 0.5, 0.2, 0.2)


@pytest.mark.parametrize("rule", [MaxIoUAssigner(low_quality_from=0.01), HungarianAssigner(), ReleaseAssigner()])
def test_a_sampled_rule_does_what_every_rule_must(rule: Assigner) -> None:
    check_assigner(
        SampledAssigner(assigner=rule, number=1000, positive_fraction=1),
        without=["no_candidate_answers_for_two_objects"] if isinstance(rule, ReleaseAssigner) else [],
    )


def given(*target: int) -> Prediction:
    boxes = torch.tensor(OBJECT).expand(1, len(target), 4)
    return Prediction(torch.zeros(1, len(target), 2), boxes, boxes, given=torch.tensor([target]))


def sampled(number: int, fraction: float, *target: int, seed: int = 0) -> list[int]:
    rule = SampledAssigner(assigner=GivenAssigner(), number=number, positive_fraction=fraction)
    found: list[int] = assign(rule, given(*target), objects([OBJECT]), Draw.of(seed)).target[0].tolist()
    return found


def test_positives_take_at_most_their_share_and_background_fills_the_rest() -> None:
    found = sampled(6, 0.5, *[0] * 10, *[-1] * 10, -2)
    assert (found[:10].count(0), found[10:20].count(-1), found[20]) == (3, 3, IGNORED)
    assert set(found) == {0, -1, IGNORED}
    few = sampled(6, 0.5, 0, *[-1] * 10)
    assert (few.count(0), few.count(-1)) == (1, 5)
    scarce = sampled(6, 0.5, *[0] * 10, -1)
    assert (scarce.count(0), scarce.count(-1)) == (3, 1)  # positives do not fill up


def test_the_draw_decides_and_the_same_one_decides_alike() -> None:
    candidates = [*[0] * 10, *[-1] * 10]
    samples = {tuple(sampled(6, 0.5, *candidates, seed=seed)) for seed in range(5)}
    assert len(samples) == 5
    assert sampled(6, 0.5, *candidates, seed=3) == sampled(6, 0.5, *candidates, seed=3)


def test_images_in_which_positives_were_cut_are_noted() -> None:
    rule = SampledAssigner(assigner=GivenAssigner(), number=4, positive_fraction=0.5)
    for target, is_cut in (((0, 0, 0, -1), True), ((0, 0, -1, -1, -1, -1), False)):
        assert assign(rule, given(*target), objects([OBJECT]), Draw.of(0)).notes["cut"].tolist() == [is_cut]


def test_what_lies_in_a_crowd_or_does_not_exist_takes_no_place_in_the_sample() -> None:
    targets = objects([OBJECT])
    targets = replace(targets, ignore_boxes=torch.tensor([[[0.1, 0.1, 0.2, 0.2]]]), is_ignore=torch.ones(1, 1).bool())
    crowd, apart = (0.1, 0.1, 0.1, 0.1), (0.8, 0.8, 0.1, 0.1)
    boxes = torch.tensor([[crowd] * 5 + [apart] * 3])
    exists = torch.tensor([[True] * 7 + [False]])
    prediction = Prediction(torch.zeros(1, 8, 2), boxes, boxes, exists=exists, given=torch.full((1, 8), -1))
    rule = SampledAssigner(assigner=GivenAssigner(), number=4, ignore_coverage=0.5)
    assert assign(rule, prediction, targets, Draw.of(0)).target.tolist() == [[IGNORED] * 5 + [-1, -1, -1]]


def test_a_random_share_is_kept_between_the_least_and_all() -> None:
    flags = torch.tensor([[True] * 100 + [False] * 20] * 50)
    kept = keep_random_share(flags, 0.7, Draw.of(1))
    counts = kept.sum(1)
    assert not (kept & ~flags).any()
    assert 70 <= counts.min() < 80
    assert 90 < counts.max() <= 100


@pytest.mark.parametrize("options", [{"number": 0}, {"positive_fraction": 2}, {"ignore_coverage": -1}])
def test_an_argument_out_of_range_is_named(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        SampledAssigner(assigner=GivenAssigner(), **options)  # type: ignore[arg-type]
