"""Raw predictions give what the selection gives beside the network."""

from pathlib import Path

import numpy as np
import pytest
import torch

from deta.engine.evaluation import FlatDetections
from deta.engine.evaluation.raw import RawPredictions, Selection
from deta.models.postprocess import NMS, TopK
from deta.structures import LayerPrediction

IDS = torch.tensor([4, 9])
SIZES = torch.tensor([[480, 640], [300, 200]])
CATEGORIES = (3, None, 90)


def prediction(num_queries: int = 30, seed: int = 0) -> LayerPrediction:
    """Two images of boxes that overlap in part, three classes."""
    generator = torch.Generator().manual_seed(seed)
    centres = 0.3 + 0.2 * torch.rand(2, num_queries, 2, generator=generator)
    sides = 0.2 + 0.2 * torch.rand(2, num_queries, 2, generator=generator)
    boxes = torch.cat((centres, sides), dim=-1)
    return LayerPrediction(3 * torch.randn(2, num_queries, 3, generator=generator), boxes, boxes)


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
    max_pairs: int | None, selection: Selection
) -> None:
    expected = FlatDetections.from_detections(selection(prediction(), SIZES), IDS)
    found, num_uncertain = raw(max_pairs).select(selection)
    assert num_uncertain == 0
    assert_equal(found, expected)


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
    assert read.num_queries.tolist() == [30, 30, 20, 20]
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
