"""The assignment laboratory on scenes small enough to count by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from deta.analysis.laboratory import AnchorGrid, Laboratory
from deta.analysis.laboratory_charts import laboratory_figure
from deta.assign import Assigner, FCOSAssigner, HungarianAssigner, IoUAssigner, ReleaseAssigner
from deta.data import CocoAnnotations, read_coco
from tests.data.folders import annotation, document, image, write_json

GRID = AnchorGrid(strides=[50], scale=0.4)
"""On an image of 100 x 100 pixels four anchors of 40 x 40, in the corners."""
FIRST, SECOND = [5, 5, 40, 40], [55, 5, 40, 40]
"""Boxes xywh that two of them cover exactly."""


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


def rows(data: CocoAnnotations, assigner: Assigner, **options: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401
    """Rows of the outcome by object size."""
    laboratory = Laboratory(data, {(100, 100): (100, 100)}, GRID, [assigner], **options)
    return {str(row["size"]): row for row in laboratory.run()[0].rows()}


def test_anchors_lie_in_the_cells_of_every_level() -> None:
    prediction = AnchorGrid(strides=[32, 64], scale=0.1)((128, 70))
    anchors = prediction.priors
    assert anchors.shape == (1, 4 * 3 + 2 * 2, 4)
    assert prediction.can_match().all()
    assert prediction.strides is not None
    assert prediction.strides.tolist() == [32.0] * 12 + [64.0] * 4
    torch.testing.assert_close(anchors[0, 0], torch.tensor([1 / 6, 1 / 8, 0.1, 0.1]))
    torch.testing.assert_close(anchors[0, 12], torch.tensor([1 / 4, 1 / 4, 0.2, 0.2]))


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
        laboratory = Laboratory(
            data, {(100, 100): (200, 200)}, AnchorGrid(strides=[100], scale=0.4), [FCOSAssigner(radius=radius)]
        )
        assert laboratory.run()[0].rows()[-1]["positives"] == positives


def test_crowds_and_empty_images_hold_no_objects(tmp_path: Path) -> None:
    found = rows(annotations(tmp_path, [FIRST], [], iscrowd=1), IoUAssigner())["all"]
    assert (found["objects"], found["positives"], found["unmatched_share"]) == (0, 0, None)


def test_an_image_draws_the_same_whatever_came_before(tmp_path: Path) -> None:
    data = annotations(tmp_path, *[[FIRST, SECOND, [5, 55, 40, 40], [55, 55, 40, 40]]] * 6)
    laboratory = Laboratory(data, {(100, 100): (100, 100)}, GRID, [IoUAssigner(gamma=0.5)])
    alone = [laboratory.assign([index])[0].rows()[-1] for index in (3, 5)]
    together = laboratory.assign([5, 3])[0].rows()[-1]
    assert together["positives"] == sum(int(str(row["positives"])) for row in alone) == 4  # two of four in each


@pytest.mark.slow
def test_the_number_of_processes_changes_no_number(tmp_path: Path) -> None:
    data = annotations(tmp_path, [FIRST], [SECOND, [5, 5, 40, 20]], [], [FIRST, SECOND])
    laboratory = Laboratory(data, {(100, 100): (100, 100)}, GRID, [IoUAssigner(), HungarianAssigner()])
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
