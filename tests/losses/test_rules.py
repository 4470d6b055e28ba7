"""What a rule can ask for beyond one assignment of its own candidates."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from deta.assign import Draw, GivenAssigner, HungarianAssigner, IoUAssigner, Matches, Prediction, Problem, background
from deta.losses import Criterion, FocalLoss, L1Loss, Rule, Sum
from deta.structures import BACKGROUND, IGNORED, DetectionOutput, Losses, StageKey, Targets
from tests.assign.scenes import frame, objects

CENTRE, BESIDE, FAR = (0.5, 0.5, 0.2, 0.2), (0.52, 0.5, 0.2, 0.2), (0.1, 0.1, 0.05, 0.05)


def rule(assigner: Any = None, **options: Any) -> Rule:  # noqa: ANN401
    terms = {"class_terms": {"class": FocalLoss()}, "box_terms": {"l1": L1Loss()}}
    return Rule(**{**terms, "assigner": assigner or IoUAssigner(gamma=None), **options})


def prediction(*boxes: tuple[float, ...], **options: Any) -> Prediction:  # noqa: ANN401
    table = torch.tensor([boxes])
    logits = torch.zeros(1, len(boxes), 2, requires_grad=True)
    return Prediction(logits, table + 0.01, table, **{"frame": frame(1), **options})


def measure(rules: dict[str, Rule], stages: dict[StageKey, Prediction], targets: Targets) -> Losses:
    return Criterion(rules)(DetectionOutput(stages, list(stages)[-1]), targets, Draw.of(0))


def value(losses: Losses, key: StageKey, term: str) -> float:
    return float(losses.terms().detach()[losses.names.index((key, term))])


ONE = StageKey("layers", 0)


def test_what_may_not_match_is_background_or_ignored_as_the_rule_says() -> None:
    part = prediction(CENTRE, FAR, may_match=torch.tensor([[False, True]]))
    for unmatched, expected in (("background", BACKGROUND), ("ignored", IGNORED)):
        losses = measure({"layers": rule(unmatched=unmatched)}, {ONE: part}, objects([CENTRE]))
        assert losses.matches[ONE].classes.target.tolist() == [[expected, BACKGROUND]]


def test_objects_that_are_offered_twice_get_two_queries_and_count_twice() -> None:
    stages = {ONE: prediction(CENTRE, BESIDE, FAR)}
    once, twice = (
        measure({"layers": rule(HungarianAssigner(), repeat=count)}, stages, objects([CENTRE])) for count in (1, 2)
    )
    assert once.matches_of(ONE).classes.target.tolist() == [[0, -1, -1]]
    assert twice.matches_of(ONE).classes.target.tolist() == [[0, 0, -1]]
    assert (float(once.divisors[1]), float(twice.divisors[1])) == (1, 2)


def test_sums_without_a_normalizer_stay_as_they_are() -> None:
    part = prediction(CENTRE, BESIDE, FAR)
    divided, plain = (
        measure({"layers": rule(normalizer=name)}, {ONE: part}, objects([CENTRE, FAR]))
        for name in ("num_targets", "none")
    )
    assert torch.equal(plain.terms(), plain.sums)
    assert torch.equal(divided.terms(), plain.sums / 2)
    assert plain.has_own_divisors
    assert not divided.has_own_divisors


@pytest.mark.parametrize(
    ("normalizer", "with_quality", "without"),
    [("num_positives", [2, 0], [2, 0]), ("num_positives_each", [2, 1], [2, 1]), ("quality", [0.75, 0], [2, 0])],
)
def test_what_divides_an_image(normalizer: str, with_quality: list[float], without: list[float]) -> None:
    targets = objects([CENTRE, FAR], [])
    matches = Matches(torch.tensor([[0, 1, -1], [-1, -1, -2]]))
    graded = replace(matches, quality=torch.tensor([[0.5, 0.25, 0.125]] * 2))
    own = rule(normalizer=normalizer)
    assert own.divisor(graded, targets).tolist() == with_quality
    assert own.divisor(matches, targets).tolist() == without


def test_boxes_may_have_an_assignment_of_their_own() -> None:
    losses = measure(
        {"layers": rule(HungarianAssigner(), box_assigner=IoUAssigner(tau=0.5, gamma=None))},
        {ONE: prediction(CENTRE, BESIDE, FAR)},
        objects([CENTRE]),
    )
    made = losses.matches_of(ONE)
    assert made.classes.target.tolist() == [[0, -1, -1]]
    assert made.boxes.target.tolist() == [[0, 0, -1]]
    assert value(losses, ONE, "l1") == pytest.approx(2 * 4 * 0.01 + 0.02, rel=1e-4)


def test_queries_follow_the_positions_that_they_were_made_of() -> None:
    first = prediction(CENTRE, BESIDE, FAR)
    layer = prediction(FAR, FAR, FAR, source=torch.tensor([[2, 0, -1]]))
    stages = {StageKey("first"): first, ONE: layer, StageKey("layers", 1): layer}
    losses = measure({"first": rule(sees="objects"), "layers": rule(on="first")}, stages, objects([CENTRE]))
    for layer_index in (0, 1):
        found = losses.matches_of(StageKey("layers", layer_index)).classes
        assert found.target.tolist() == [[-1, 0, -1]]
        assert found.notes["rescued"].shape == (1, 3)


def test_learned_queries_cannot_follow_a_first_stage() -> None:
    stages = {StageKey("first"): prediction(CENTRE), ONE: prediction(CENTRE)}
    with pytest.raises(ValueError, match="the rule of 'layers' is on 'first', of which these queries are not made"):
        measure({"first": rule(), "layers": rule(on="first")}, stages, objects([CENTRE]))


def test_copies_that_are_pooled_add_sums_and_divisors_before_the_division() -> None:
    stages = {ONE: prediction(CENTRE, FAR)}
    stages |= {StageKey("copies", 0, copy): prediction(BESIDE, FAR) for copy in range(2)}
    rules = {"layers": rule(normalizer="num_positives"), "copies": rule(normalizer="num_positives", pool="layers")}
    losses = measure(rules, stages, objects([CENTRE]))
    assert losses.names == ((ONE, "class"), (ONE, "l1"))
    assert losses.divisors.tolist() == [3, 3]
    single = measure({"layers": rules["layers"]}, {ONE: stages[ONE]}, objects([CENTRE]))
    assert float(losses.sums[1].detach()) > float(single.sums[1].detach())
    assert set(losses.matches) == {ONE, StageKey("copies", 0, 0), StageKey("copies", 0, 1)}


@pytest.mark.parametrize("change", [{"weight": 7.0}, {"box_terms": {"l1": L1Loss(weight=500)}}])
def test_losses_that_are_pooled_must_weigh_the_same(change: dict[str, Any]) -> None:
    stages = {ONE: prediction(CENTRE, FAR), StageKey("copies", 0, 0): prediction(BESIDE, FAR)}
    for roles in (("layers", "copies"), ("copies", "layers")):
        rules = {"layers": rule(), "copies": rule(pool="layers", **change)}
        with pytest.raises(ValueError, match="that are pooled must have one weight"):
            measure({role: rules[role] for role in roles}, stages, objects([CENTRE]))


def test_losses_are_pooled_with_stages_that_are_there() -> None:
    stages = {StageKey("first"): prediction(CENTRE), ONE: prediction(CENTRE)}
    with pytest.raises(ValueError, match="pooled with a stage that the detector does not have"):
        measure({"first": rule(), "layers": rule(pool="first")}, stages, objects([CENTRE]))


def test_terms_that_are_divided_otherwise_are_known() -> None:
    half = rule(class_terms={"half": HalfOfAnImage()})
    for own, expected in ((rule(), False), (rule(HungarianAssigner(), repeat=2), True), (half, True)):
        losses = measure({"layers": own}, {ONE: prediction(CENTRE)}, objects([CENTRE]))
        assert losses.has_own_divisors == expected


def test_a_query_that_may_not_match_follows_no_position() -> None:
    layer = prediction(FAR, FAR, source=torch.tensor([[0, 0]]), may_match=torch.tensor([[True, False]]))
    stages = {StageKey("first"): prediction(CENTRE, FAR), ONE: layer}
    losses = measure({"first": rule(sees="objects"), "layers": rule(on="first")}, stages, objects([CENTRE]))
    assert losses.matches_of(ONE).classes.target.tolist() == [[0, -1]]


def test_every_copy_keeps_the_assignment_of_its_own_first_layer() -> None:
    stages = {
        StageKey("copies", layer, copy): prediction(*((CENTRE, FAR) if copy == 0 else (FAR, CENTRE)))
        for layer in range(2)
        for copy in range(2)
    }
    losses = measure({"copies": rule()}, stages, objects([CENTRE]))
    assert losses.matches[StageKey("copies", None, 0)].classes.target.tolist() == [[0, -1]]
    assert losses.matches[StageKey("copies", None, 1)].classes.target.tolist() == [[-1, 0]]
    assert value(losses, StageKey("copies", 1, 1), "l1") == value(losses, StageKey("copies", 0, 0), "l1")


class HalfOfAnImage:
    """A term with a divisor, a floor and no sharing of its own."""

    weight = 2.0

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        images = len(prediction.logits)
        return Sum(prediction.logits.new_full((images,), 3.0), torch.full((images,), 0.25), floor=0.5, is_global=False)


def test_a_term_may_have_a_divisor_and_a_floor_that_ranks_do_not_share() -> None:
    own = rule(class_terms={"half": HalfOfAnImage()}, weight=0.5)
    losses = measure({"layers": own}, {ONE: prediction(CENTRE)}, objects([CENTRE]))
    assert losses.has_own_divisors
    averaged = losses.averaged(lambda counts: 100 * counts)
    assert averaged.divisors.tolist() == [0.25, 100]
    assert value(averaged, ONE, "half") == 3 / 0.5
    l1 = value(averaged, ONE, "l1")
    assert float(averaged.total().detach()) == pytest.approx(0.5 * (2 * 6 + 5 * l1))


def test_a_rule_may_keep_its_divisor_from_other_ranks() -> None:
    losses = measure({"layers": rule(is_global=False)}, {ONE: prediction(CENTRE, FAR)}, objects([CENTRE]))
    assert losses.has_own_divisors
    assert losses.averaged(lambda counts: 100 * counts).divisors.tolist() == [1, 1]


def test_a_mean_over_the_candidates_of_an_object_is_taken_before_the_division() -> None:
    given = torch.tensor([[0, 0, 1, 1, -1], [-2] * 5])
    part = prediction(CENTRE, BESIDE, FAR, FAR, FAR)
    part = Prediction(part.logits.expand(2, -1, -1), part.boxes.expand(2, -1, -1), part.priors.expand(2, -1, -1))
    part = replace(part, given=given)
    targets = objects([CENTRE, FAR], [])
    total, mean = (
        measure({"layers": rule(GivenAssigner(), per_object=how)}, {ONE: part}, targets) for how in ("sum", "mean")
    )
    assert mean.divisors.tolist() == total.divisors.tolist() == [2, 2]
    torch.testing.assert_close(mean.sums, total.sums / 2)


@pytest.mark.parametrize("sizes", [[], [CENTRE, FAR, BESIDE]])
def test_objects_without_a_candidate_change_no_mean_over_candidates(sizes: list[tuple[float, ...]]) -> None:
    part = replace(prediction(CENTRE), given=torch.tensor([[0 if sizes else -1]]))
    total, mean = (
        measure({"layers": rule(GivenAssigner(), per_object=how)}, {ONE: part}, objects(sizes))  # type: ignore[arg-type]
        for how in ("sum", "mean")
    )
    torch.testing.assert_close(mean.sums, total.sums)


def test_a_box_for_every_class_is_read_at_the_class_of_the_object() -> None:
    boxes = torch.zeros(1, 1, 3, 4)
    boxes[0, 0, 1] = torch.tensor(CENTRE)
    part = Prediction(torch.zeros(1, 1, 3), boxes, torch.tensor([[CENTRE]]), frame(1))
    targets = replace(objects([CENTRE]), labels=torch.tensor([[1]]))
    assert value(measure({"layers": rule()}, {ONE: part}, targets), ONE, "l1") == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: rule(box_terms={"class": L1Loss()}), "both have a term named class"),
        (lambda: rule(repeat=0), "repeat"),
        (lambda: rule(repeat=2, box_assigner=IoUAssigner()), "repeat=2 .* beside which box_assigner"),
        (lambda: rule("none"), "assigner must be something to call"),
        (lambda: rule(box_assigner=1), "box_assigner must be something to call"),
        (lambda: rule(per_object="most"), "per_object must be one of mean, sum"),
        (lambda: rule(is_global=1), "is_global"),
        (lambda: rule(unmatched="nothing"), "unmatched"),
        (lambda: rule(ignore_coverage=2), "ignore_coverage"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_by_name(change: Callable[[], Rule], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        change()


class Answering:
    """A rule whose answer is made by a function."""

    def __init__(self, answer: Callable[[Prediction, Targets], Any]) -> None:
        self.answer = answer

    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Any:  # noqa: ANN401 - also wrong ones
        return self.answer(prediction, targets)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda *_: None, "Answering must answer with Matches or a Problem, got NoneType"),
        (lambda part, _: Matches(background(part)[0]), r"Matches.target must have shape \(1, 2\) .*got \(2,\) of"),
        (lambda part, _: Matches(background(part).int()), "Matches.target must have .*type.* of torch.int32"),
        (
            lambda part, _: Matches(background(part), quality=torch.ones(1, 1)),
            r"Matches.quality must have shape \(1, 2\)",
        ),
        (lambda part, _: Matches(background(part), notes={"x": torch.rand(1, 2)}), "the note 'x' must .*torch.float32"),
        (lambda part, _: Matches(background(part), notes={"x": torch.ones(1, 3).bool()}), r"note 'x' must .*\(1, 3\)"),
        (
            lambda _, objects: Problem(torch.zeros(1, 1, 2), objects.is_object),
            r"Problem.cost must have shape \(1, 2, 1",
        ),
        (
            lambda _, objects: Problem(torch.zeros(1, 2, 1), objects.is_object).then(
                lambda made: Matches(made.target[0])
            ),
            r"Matches.target must have shape \(1, 2\)",
        ),
    ],
)
def test_an_answer_that_cannot_be_used_is_refused_with_the_name_of_the_rule(
    answer: Callable[[Prediction, Targets], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measure({"layers": rule(Answering(answer))}, {ONE: prediction(CENTRE, FAR)}, objects([CENTRE]))


@pytest.mark.parametrize("shape", [(), (1, 2)])
def test_a_term_that_does_not_sum_over_images_is_refused(shape: tuple[int, ...]) -> None:
    class Wrong:
        weight = 1.0

        def __call__(self, *_: object) -> Sum:
            return Sum(torch.ones(shape))

    with pytest.raises(ValueError, match=r"the term 'wrong' must give Sum.value for each of 1 images, got \("):
        measure({"layers": rule(box_terms={"wrong": Wrong()})}, {ONE: prediction(CENTRE)}, objects([CENTRE]))


def test_a_rule_decides_in_full_precision_under_autocast() -> None:
    seen = []

    def answer(part: Prediction, _: Targets) -> Matches:
        seen.append((part.boxes.float() @ part.boxes.float().mT).dtype)
        return Matches(background(part))

    with torch.autocast("cpu", torch.bfloat16):
        measure({"layers": rule(Answering(answer))}, {ONE: prediction(CENTRE, FAR)}, objects([CENTRE]))
    assert seen == [torch.float32]


@pytest.mark.parametrize("change", [{"repeat": 2}, {"per_object": "mean"}, {"sees": "objects"}])
def test_rules_that_are_pooled_say_alike_what_is_added(change: dict[str, Any]) -> None:
    (name,) = change
    with pytest.raises(ValueError, match=rf"criterion.rules.copies.{name}=.* which has {name}=.*: set both alike"):
        Criterion({"layers": rule(**change), "copies": rule(pool="layers")})


def test_stages_of_one_role_with_different_numbers_of_candidates_are_refused() -> None:
    stages = {ONE: prediction(CENTRE, FAR), StageKey("layers", 1): prediction(CENTRE)}
    with pytest.raises(ValueError, match=r"equally many candidates, got \[2, 1\]"):
        measure({"layers": rule()}, stages, objects([CENTRE]))


def test_a_criterion_without_rules_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one rule"):
        Criterion({})


@pytest.mark.parametrize("name", ["on", "pool"])
def test_a_rule_that_leans_on_a_role_without_a_rule_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"the rule of 'layers' has {name}='first', but there are rules for layers"):
        Criterion({"layers": rule(**{name: "first"})})


def test_a_role_without_a_rule_is_refused() -> None:
    stages = {StageKey("copies", 0): prediction(CENTRE)}
    with pytest.raises(ValueError, match="the detector has the stage 'copies', for which the criterion has no rule"):
        measure({"layers": rule()}, {ONE: prediction(CENTRE), **stages}, objects([CENTRE]))


def test_pixels_and_relative_boxes_are_one_prediction() -> None:
    frame = torch.tensor([[200.0, 100, 200, 100]])
    part = replace(prediction(CENTRE), frame=frame).in_pixels()
    assert part.frame is None
    torch.testing.assert_close(part.priors, torch.tensor([[[100.0, 50, 40, 20]]]))
    assert part.in_pixels() is part
