"""The assignment laboratory on scenes small enough to count by hand."""

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib.patches import Rectangle

from deta.analysis import laboratory as module
from deta.analysis.candidates import AnchorGrid, Candidates, PriorGrid, Size
from deta.analysis.laboratory import Contender, Laboratory
from deta.analysis.laboratory_charts import laboratory_figure, rules_figure
from deta.assign import (
    Assigner,
    ATSSAssigner,
    FCOSAssigner,
    GaussianAssigner,
    HungarianAssigner,
    IoUAssigner,
    MaxIoUAssigner,
    ReleaseAssigner,
    TopKIoUAssigner,
)
from deta.data import CocoAnnotations, read_coco
from deta.models import GridPriors
from deta.structures import Prediction
from tests.data.folders import annotation, document, image, write_json

GRID = AnchorGrid(strides=[50], scale=0.4)
"""On an image of 100 x 100 pixels four anchors of 40 x 40, in the corners."""
FIRST, SECOND = [5, 5, 40, 40], [55, 5, 40, 40]
"""Boxes xywh that two of them cover exactly."""
BOXES = PriorGrid(priors=GridPriors(sizes=[[40.0]], offset=0.5), strides=[50], multiple=1)
"""The same four, as priors in pixels."""
CELLS = PriorGrid(priors=GridPriors(scales=[1.0], offset=0.5), strides=[10, 20], multiple=1)
"""Squares that fill the image on two levels, with centres 5, 15, ... and 10, 30, ..."""


def annotations(folder: Path, *images: Sequence[Sequence[float]], **changes: object) -> CocoAnnotations:
    """Images of 100 x 100 pixels with these boxes xywh, their area medium."""
    entries = [
        annotation(10 * k + j, image_id=k, bbox=list(box), area=2000, **changes)
        for k, boxes in enumerate(images, start=1)
        for j, box in enumerate(boxes)
    ]
    listed = [image(k, height=100, width=100) for k in range(1, len(images) + 1)]
    return read_coco(write_json(folder / "a.json", document(listed, entries)))


def rule(**options: Any) -> IoUAssigner:  # noqa: ANN401
    """Without a limit on the share of positives: of four boxes one quarter is one."""
    return IoUAssigner(gamma=None, **options)


def rows(
    data: CocoAnnotations,
    assigner: Assigner,
    candidates: Candidates = GRID,
    **options: Any,  # noqa: ANN401
) -> dict[str, dict[str, Any]]:
    """Rows of the outcome by object size."""
    laboratory = Laboratory(data, {(100, 100): (100, 100)}, [Contender(assigner, candidates)], **options)
    return {str(row["size"]): row for row in laboratory.run()[0].rows()}


def test_every_object_on_an_anchor_has_that_positive(tmp_path: Path) -> None:
    found = rows(annotations(tmp_path, [FIRST, SECOND], [FIRST]), rule(tau=0.7, closest_box=False))
    assert (found["all"]["objects"], found["all"]["positives"], found["all"]["unmatched"]) == (3, 3, 0)
    assert found["medium"]["positives_per_object"] == 1
    assert found["medium"]["mean_iou"] == pytest.approx(1)
    assert (found["small"]["objects"], found["small"]["mean_iou"]) == (0, None)


def test_an_object_between_anchors_is_counted_without_a_positive_or_rescued(tmp_path: Path) -> None:
    data = annotations(tmp_path, [[5, 5, 40, 20], [46, 46, 8, 8]])  # IoU 0.5 with the first, none with any
    strict = rows(data, rule(tau=0.7, closest_box=False))["all"]
    assert (strict["positives"], strict["unmatched"], strict["unmatched_share"]) == (0, 2, 1)
    kind = rows(data, rule(tau=0.7))["all"]
    assert (kind["positives"], kind["unmatched"], kind["rescued_share"]) == (1, 1, 1)
    assert kind["mean_iou"] == pytest.approx(0.5)


def test_a_positive_that_overlaps_a_second_object_enough_is_shared(tmp_path: Path) -> None:
    data = annotations(tmp_path, [FIRST, [5, 5, 40, 32], SECOND])  # IoU 0.8 of the first two
    found = rows(data, rule(tau=0.7))["all"]
    assert (found["positives"], found["shared"], found["unmatched"]) == (2, 1, 1)
    assert (found["shared_iou_own"], found["shared_iou_other"]) == pytest.approx((1, 0.8))
    assert rows(data, rule(tau=0.7), shared_iou=0.85)["all"]["shared"] == 0


def test_the_release_gives_a_box_to_two_objects_and_both_pairs_count(tmp_path: Path) -> None:
    data = annotations(tmp_path, [FIRST, [5, 5, 40, 32], [5, 5, 32, 40]])
    found = rows(data, ReleaseAssigner(tau=0.6, positive_fraction=None))["all"]
    one = rows(data, rule(tau=0.6))["all"]
    assert one["positives"] == 1
    assert found["positives"] >= one["positives"]
    assert found["shared"] == found["positives"]


def test_a_rule_that_asks_for_predictions_gives_every_object_one(tmp_path: Path) -> None:
    found = rows(annotations(tmp_path, [FIRST, SECOND], [FIRST]), HungarianAssigner())["all"]
    assert (found["positives"], found["mean_iou"]) == (3, pytest.approx(1))


def test_a_rule_of_levels_and_strides_counts_in_pixels_of_the_network(tmp_path: Path) -> None:
    # The centre of the object is 3 pixels from that of an anchor, of which the network makes 6.
    data = annotations(tmp_path, [[8, 5, 40, 40]])
    for radius, positives in ((0.05, 0), (0.07, 1)):
        contender = Contender(FCOSAssigner(radius=radius), AnchorGrid(strides=[100], scale=0.4))
        laboratory = Laboratory(data, {(100, 100): (200, 200)}, [contender])
        assert laboratory.run()[0].rows()[-1]["positives"] == positives


@pytest.mark.parametrize(
    ("assigner", "candidates", "boxes", "positives", "unmatched", "contested"),
    [
        # Of the two with IoU 1 and 0.8 the first has the box.
        pytest.param(rule(tau=0.7), GRID, [FIRST, [5, 5, 40, 32], SECOND], 2, 1, 1 / 2, id="iou"),
        # IoU 1 and 0.5 with the same box, which stays with the first or, by the other rule, goes to the last.
        pytest.param(MaxIoUAssigner(), BOXES, [FIRST, [5, 5, 40, 20]], 1, 1, 1, id="max_iou"),
        pytest.param(
            MaxIoUAssigner(low_quality="last_object"), BOXES, [FIRST, [5, 5, 40, 20]], 1, 1, 1, id="max_iou_mmdet"
        ),
        # The wide object overlaps two boxes, of which the other has one as its best.
        pytest.param(TopKIoUAssigner(k=5), BOXES, [FIRST, [5, 5, 90, 40]], 2, 0, 1 / 2, id="topk_iou"),
        # Of the 18 nearest cells one has IoU 1, four have 1/4: mean 0.111, deviation 0.246.
        pytest.param(ATSSAssigner(), CELLS, [[0, 0, 20, 20]], 1, 0, 0, id="atss"),
        # Along each axis 15 and 25 are nearer to the centre, 20, than 1.5 * 10; the smaller object has all.
        pytest.param(FCOSAssigner(), CELLS, [[0, 0, 40, 40], [10, 10, 20, 20]], 4, 1, 1, id="fcos"),
        # Both centres, 20 and 21, lie in the third cell.
        pytest.param(
            GaussianAssigner(),
            PriorGrid(priors=GridPriors(scales=[1.0]), strides=[10], multiple=1),
            [[0, 0, 40, 40], [1, 1, 40, 40], [60, 60, 10, 10]],
            2,
            1,
            1 / 2,
            id="gaussian",
        ),
    ],
)
def test_every_rule_counts_what_a_hand_counts(
    assigner: Assigner,
    candidates: Candidates,
    boxes: list[list[float]],
    positives: int,
    unmatched: int,
    contested: float,
    tmp_path: Path,
) -> None:
    found = rows(annotations(tmp_path, boxes, []), assigner, candidates)["medium"]
    assert (found["objects"], found["positives"], found["unmatched"]) == (len(boxes), positives, unmatched)
    assert found["contested_share"] == pytest.approx(contested)


def test_a_rule_that_does_not_say_what_is_contested_has_no_share(tmp_path: Path) -> None:
    assert rows(annotations(tmp_path, [FIRST]), HungarianAssigner())["all"]["contested_share"] is None


def test_candidates_of_one_size_exist_at_a_time(tmp_path: Path) -> None:
    entries = [annotation(k, image_id=k, bbox=FIRST, area=2000) for k in range(1, 7)]
    listed = [image(k, height=100, width=100 + 10 * (k % 3)) for k in range(1, 7)]
    data, alive = read_coco(write_json(tmp_path / "a.json", document(listed, entries))), []

    class Watched:
        is_point = False

        def __call__(self, size: Size) -> Prediction:
            made = GRID(size)
            alive.append(weakref.ref(made))
            assert sum(each() is not None for each in alive) <= 2  # this one, and the one that it replaces
            return made

    laboratory = Laboratory(data, {(100, w): (100, w) for w in (100, 110, 120)}, [Contender(rule(), Watched())])
    assert laboratory.run()[0].rows()[-1]["objects"] == 6
    assert len(alive) == 3


def test_shared_boxes_are_found_a_part_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = annotations(tmp_path, [FIRST, [5, 5, 40, 32], SECOND, [55, 5, 40, 30]])
    whole = rows(data, rule(tau=0.5))
    monkeypatch.setattr(module, "LARGEST_TABLE", 1)
    assert rows(data, rule(tau=0.5)) == whole
    assert whole["all"]["shared"] == 2


def test_crowds_and_empty_images_hold_no_objects(tmp_path: Path) -> None:
    found = rows(annotations(tmp_path, [FIRST], [], iscrowd=1), IoUAssigner())["all"]
    assert (found["objects"], found["positives"], found["unmatched_share"]) == (0, 0, None)


def test_an_image_draws_the_same_whatever_came_before(tmp_path: Path) -> None:
    data = annotations(tmp_path, *[[FIRST, SECOND, [5, 55, 40, 40], [55, 55, 40, 40]]] * 6)
    laboratory = Laboratory(data, {(100, 100): (100, 100)}, [Contender(IoUAssigner(gamma=0.5), GRID)])
    alone = [laboratory.assign([index])[0].rows()[-1] for index in (3, 5)]
    together = laboratory.assign([5, 3])[0].rows()[-1]
    assert together["positives"] == sum(int(str(row["positives"])) for row in alone) == 4  # two of four in each


@pytest.mark.slow
def test_the_number_of_processes_changes_no_number(tmp_path: Path) -> None:
    data = annotations(tmp_path, [FIRST], [SECOND, [5, 5, 40, 20]], [], [FIRST, SECOND])
    contenders = [Contender(assigner, GRID) for assigner in (IoUAssigner(), HungarianAssigner())]
    laboratory = Laboratory(data, {(100, 100): (100, 100)}, contenders)
    alone, shared = laboratory.run(), laboratory.run(num_workers=2)
    assert [outcome.rows() for outcome in alone] == [outcome.rows() for outcome in shared]


def test_the_chart_has_a_line_for_every_value_of_the_second_setting(tmp_path: Path) -> None:
    data = annotations(tmp_path, [FIRST, SECOND])
    grid: dict[str, Sequence[object]] = {"tau": [0.5, 0.7], "max_per_target": [1, 4, None]}
    table: list[dict[str, object]] = []
    for tau in (0.5, 0.7):
        for limit in (1, 4, None):
            found = rows(data, rule(tau=tau, max_per_target=limit)).values()
            table += [{"tau": tau, "max_per_target": limit, **row} for row in found]
    axes = laboratory_figure(table, grid).axes
    assert len(axes) == 12
    assert [str(line.get_label()) for line in axes[1].get_lines()] == ["1", "4", "no limit"]
    assert axes[1].get_lines()[0].get_ydata() == pytest.approx([1, 1])
    assert [label.get_text() for label in axes[0].get_xticklabels()] == ["0.5", "0.7"]
    assert laboratory_figure([row for row in table if row["tau"] == 0.5], {}).axes


def test_the_chart_of_rules_has_a_bar_for_every_rule_and_size(tmp_path: Path) -> None:
    data = annotations(tmp_path, [FIRST, SECOND, [5, 5, 40, 32]])
    table = [
        {"rule": name, **row}
        for name, assigner in (("iou", rule(tau=0.7)), ("hungarian", HungarianAssigner()))
        for row in rows(data, assigner).values()
    ]
    first, _, contested = rules_figure(table).axes
    assert [label.get_text() for label in first.get_xticklabels()] == ["iou", "hungarian"]
    heights = [[bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)] for axes in (first, contested)]
    assert heights[0][2:4] == pytest.approx([2 / 3, 1])  # of medium objects
    assert heights[1][2] == pytest.approx(0.5)
