"""Raw predictions give what the selection gives beside the network."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from deta.evaluation import FlatDetections
from deta.evaluation.raw import RawPredictions
from deta.models.postprocess import NMS, OnePerQuery, PerLevelNMS, Postprocess, TopK
from deta.structures import Prediction, SigmoidScore, SoftmaxScore

IDS = torch.tensor([4, 9])
SIZES = torch.tensor([[480, 640], [300, 200]])
CATEGORIES = (3, None, 90)


def prediction(num_queries: int = 30, seed: int = 0) -> Prediction:
    """Two images of boxes that overlap in part, three classes."""
    generator = torch.Generator().manual_seed(seed)
    centres = 0.3 + 0.2 * torch.rand(2, num_queries, 2, generator=generator)
    sides = 0.2 + 0.2 * torch.rand(2, num_queries, 2, generator=generator)
    boxes = torch.cat((centres, sides), dim=-1)
    return Prediction(3 * torch.randn(2, num_queries, 3, generator=generator), boxes, boxes)


def raw(max_pairs: int | None, num_queries: int = 30) -> RawPredictions:
    return RawPredictions.from_prediction(
        prediction(num_queries), SIZES, IDS, category_ids=CATEGORIES, max_pairs=max_pairs
    )


def assert_equal(found: FlatDetections, expected: FlatDetections) -> None:
    for name in ("image_ids", "num_rows", "boxes_xyxy", "labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    # The sigmoid of a value depends in its last bit on where it lies in memory.
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-6)


@pytest.mark.parametrize("max_pairs", [None, 60])
@pytest.mark.parametrize(
    "selection",
    [NMS(iou_threshold=0.3, max_detections=4), NMS(iou_threshold=0.7, max_detections=8), TopK(max_detections=11)],
    ids=["nms 0.3", "nms 0.7", "top 11"],
)
def test_a_selection_gives_exactly_what_it_gives_beside_the_network(
    max_pairs: int | None, selection: Postprocess
) -> None:
    expected = FlatDetections.from_detections(selection(prediction(), SIZES), IDS)
    found, num_uncertain = raw(max_pairs).select(selection)
    assert num_uncertain == 0
    assert_equal(found, expected)


@pytest.mark.parametrize("selection", [OnePerQuery, TopK, NMS])
def test_softmax_scores_are_selected_as_beside_the_network(selection: type[TopK]) -> None:
    made = selection(max_detections=6, score=SoftmaxScore())
    expected = FlatDetections.from_detections(made(prediction(), SIZES), IDS)
    stored = RawPredictions.from_prediction(
        prediction(), SIZES, IDS, category_ids=CATEGORIES[:-1], max_pairs=None, score=SoftmaxScore()
    )
    for chosen in (made, selection(max_detections=6)):  # what was stored are scores already
        assert_equal(stored.select(chosen)[0], expected)


def dense_prediction(levels: tuple[tuple[int, int, int], ...] = ((4, 4, 1), (3, 2, 1), (2, 1, 2))) -> Prediction:
    """The same candidates on a grid."""
    sizes = [height * width * per_cell for height, width, per_cell in levels]
    of_levels = torch.repeat_interleave(torch.arange(len(levels)), torch.tensor(sizes))
    return replace(prediction(sum(sizes)), grid=levels, levels=of_levels)


@pytest.mark.parametrize("max_pairs", [None, 30])
@pytest.mark.parametrize("threshold", [0.0, 0.05])
def test_a_level_of_few_pairs_is_not_filled_from_others(max_pairs: int | None, threshold: float) -> None:
    whole = dense_prediction()
    selection = PerLevelNMS(threshold=threshold, pre_topk=14, max_detections=60, iou_threshold=1.0, best_class=True)
    expected = FlatDetections.from_detections(selection(whole, SIZES), IDS)
    stored = RawPredictions.from_prediction(whole, SIZES, IDS, category_ids=CATEGORIES, max_pairs=max_pairs)
    found, _ = stored.select(selection)
    if max_pairs is None:
        assert_equal(found, expected)
    assert (found.num_rows <= expected.num_rows).all()


@pytest.mark.parametrize("max_pairs", [None, 30])
@pytest.mark.parametrize("best_class", [False, True])
def test_pairs_are_selected_level_by_level_without_the_grid(max_pairs: int | None, best_class: bool) -> None:
    selection = PerLevelNMS(pre_topk=2, max_detections=5, iou_threshold=0.6, best_class=best_class)
    whole = dense_prediction()
    expected = FlatDetections.from_detections(selection(whole, SIZES), IDS)
    stored = RawPredictions.from_prediction(whole, SIZES, IDS, category_ids=CATEGORIES, max_pairs=max_pairs)
    found, num_uncertain = stored.select(selection)
    assert_equal(found, expected)
    assert num_uncertain == 0
    other = PerLevelNMS(pre_topk=30, max_detections=5, iou_threshold=0.6, best_class=best_class)
    assert not np.array_equal(found.boxes_xyxy, stored.select(other)[0].boxes_xyxy)  # the limit of a level acts


def test_a_selection_by_what_is_not_kept_is_refused() -> None:
    with pytest.raises(ValueError, match=r"postprocess=per_level .* use postprocess=nms"):
        raw(max_pairs=None).select(PerLevelNMS())
    stored = RawPredictions.from_prediction(
        dense_prediction(), SIZES, IDS, category_ids=CATEGORIES, max_pairs=None, score=SoftmaxScore()
    )
    with pytest.raises(ValueError, match=r"postprocess\.rank .* leave it out"):
        stored.select(PerLevelNMS(rank=SigmoidScore()))


def test_boxes_without_a_pair_are_not_kept() -> None:
    whole = prediction(num_queries=20_000)
    stored = RawPredictions.from_prediction(whole, SIZES, IDS, category_ids=CATEGORIES, max_pairs=100)
    assert stored.boxes.shape[0] == stored.num_queries.sum() <= 200
    selection = NMS(iou_threshold=0.3, max_detections=4)
    assert_equal(stored.select(selection)[0], FlatDetections.from_detections(selection(whole, SIZES), IDS))
    for beyond in (TopK(max_detections=101), OnePerQuery(max_detections=101)):
        assert stored.select(beyond)[1] == 2  # what was left out would have its place there


def test_images_whose_pairs_ran_out_are_counted() -> None:
    strict = NMS(iou_threshold=0.1, max_detections=20)
    found, num_uncertain = raw(max_pairs=10).select(strict)
    assert num_uncertain == 2
    assert found.num_rows.max() < 20
    assert raw(max_pairs=None).select(strict)[1] == 0  # few survive, but nothing was left out


def test_a_file_keeps_everything(tmp_path: Path) -> None:
    written = RawPredictions.concatenate([raw(50), raw(40, num_queries=20)])
    written.save(tmp_path / "raw.npz")
    read = RawPredictions.load(tmp_path / "raw.npz")
    assert read.classes() == list(CATEGORIES)
    for field in fields(read):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(written, field.name), err_msg=field.name)
    assert_equal(read.select(TopK(max_detections=30))[0], written.select(TopK(max_detections=30))[0])


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "raw.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"raw\.npz cannot be read as raw predictions"):
        RawPredictions.load(tmp_path / "raw.npz")


def test_arrays_of_another_kind_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "raw.npz", boxes=np.zeros(3))
    with pytest.raises(ValueError, match="write it with deta eval save_raw=true"):
        RawPredictions.load(tmp_path / "raw.npz")
    with pytest.raises(FileNotFoundError, match="do not exist"):
        RawPredictions.load(tmp_path / "absent.npz")


def columns() -> dict[str, NDArray[Any]]:
    """Those of a good file."""
    found = raw(50)
    return {"version": np.array(2), **{field.name: getattr(found, field.name) for field in fields(found)}}


@pytest.mark.parametrize("has_own_boxes", [False, True])
def test_files_of_the_first_version_are_read(tmp_path: Path, has_own_boxes: bool) -> None:
    whole = prediction()
    stage = replace(whole, boxes=whole.boxes[:, :, None].expand(-1, -1, 3, -1)) if has_own_boxes else whole
    stored = RawPredictions.from_prediction(stage, SIZES, IDS, category_ids=CATEGORIES, max_pairs=None)
    former = {field.name: getattr(stored, field.name) for field in fields(stored)}
    del former["levels"], former["has_own_boxes"]
    if has_own_boxes:  # their boxes were in the order of the pairs
        starts = np.repeat(np.cumsum(stored.num_queries) - stored.num_queries, stored.num_pairs)
        former["boxes"] = stored.boxes[starts + stored.queries]
        former["queries"] = np.tile(np.arange(90, dtype=np.int32), 2)
    np.savez(tmp_path / "raw.npz", version=np.array(1), **former)
    read = RawPredictions.load(tmp_path / "raw.npz")
    assert read.has_own_boxes.tolist() == [has_own_boxes] * 2
    selection = NMS(iou_threshold=0.3, max_detections=4)
    assert_equal(read.select(selection)[0], stored.select(selection)[0])


CONTRADICTIONS: dict[str, tuple[str, Callable[[NDArray[Any]], object]]] = {
    "too few sizes": ("sizes", lambda column: column[:1]),
    "sizes of three numbers": ("sizes", lambda column: column[:, [0, 1, 1]]),
    "boxes of three numbers": ("boxes", lambda column: column[:, :3]),
    "a single box": ("boxes", lambda column: column[0, 0]),
    "too few boxes": ("boxes", lambda column: column[:-1]),
    "too few levels": ("levels", lambda column: column[:-1]),
    "levels of the first version": ("version", lambda column: column - 1),
    "query beyond the boxes": ("queries", lambda column: column + 30),
    "negative query": ("queries", lambda column: column - 30),
    "label beyond the classes": ("labels", lambda column: column + 3),
    "negative label": ("labels", lambda column: column - 3),
    "too few labels": ("labels", lambda column: column[1:]),
    "too many pairs": ("num_pairs", lambda column: column + 1),
    "negative count": ("num_queries", lambda column: column * np.array([-1, 3])),
    "texts": ("image_ids", lambda column: column.astype(str)),
    "floats as labels": ("labels", lambda column: column.astype(np.float32)),
    "complex scores": ("logits", lambda column: column.astype(np.complex64)),
    "box of NaN": ("boxes", lambda column: column * np.float32("nan")),
    "size of zero": ("sizes", lambda column: column * 0),
    "list of versions": ("version", lambda column: np.stack((column, column))),
}


@pytest.mark.parametrize("contradiction", CONTRADICTIONS)
def test_arrays_that_contradict_each_other_are_refused(tmp_path: Path, contradiction: str) -> None:
    name, change = CONTRADICTIONS[contradiction]
    good = columns()
    arrays: dict[str, Any] = {**good, name: np.asarray(change(good[name]))}
    np.savez(tmp_path / "raw.npz", **arrays)
    with pytest.raises(ValueError, match=r"raw\.npz does not hold raw predictions.*: write it with"):
        RawPredictions.load(tmp_path / "raw.npz")


def test_a_damaged_archive_is_one_message(tmp_path: Path) -> None:
    raw(50).save(tmp_path / "whole.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    for seed in range(40):
        generator = np.random.default_rng(seed)
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), 4):
            damaged[place] = generator.integers(0, 256)
        (tmp_path / "raw.npz").write_bytes(damaged)
        try:
            assert_equal(
                RawPredictions.load(tmp_path / "raw.npz").select(TopK(max_detections=30))[0],
                raw(50).select(TopK(max_detections=30))[0],
            )
        except ValueError as error:
            assert "raw.npz" in str(error)  # noqa: PT017 - some places of an archive mean nothing


@pytest.mark.parametrize("num_boxes", [3, 4], ids=["", "and background"])
@pytest.mark.parametrize("selection", [NMS(iou_threshold=0.3, max_detections=4), TopK(max_detections=11)])
def test_boxes_of_every_class_are_selected_as_beside_the_network(selection: Postprocess, num_boxes: int) -> None:
    usual = prediction()
    boxes = usual.boxes[:, :, None] * torch.linspace(0.8, 1.2, num_boxes)[:, None]  # [B, Q, C, 4]
    stage = replace(usual, boxes=boxes, exists=torch.arange(30).expand(2, -1) < 25)
    expected = FlatDetections.from_detections(selection(stage, SIZES), IDS)
    stored = RawPredictions.from_prediction(stage, SIZES, IDS, category_ids=CATEGORIES, max_pairs=60)
    assert_equal(stored.select(selection)[0], expected)


def test_one_class_of_every_region_cannot_be_chosen_among_pairs() -> None:
    usual = prediction()
    stage = replace(usual, boxes=usual.boxes[:, :, None].expand(-1, -1, 3, -1))
    stored = RawPredictions.from_prediction(stage, SIZES, IDS, category_ids=CATEGORIES, max_pairs=None)
    with pytest.raises(ValueError, match=r"postprocess=one_per_query .* evaluate the checkpoint"):
        stored.select(OnePerQuery())
    of_levels = replace(stage, levels=torch.zeros(30, dtype=torch.int64))
    stored = RawPredictions.from_prediction(of_levels, SIZES, IDS, category_ids=CATEGORIES, max_pairs=None)
    with pytest.raises(ValueError, match=r"postprocess\.best_class=true .* evaluate the checkpoint"):
        stored.select(PerLevelNMS(best_class=True))
