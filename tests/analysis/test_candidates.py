"""The candidates that the laboratory makes without a detector are those that the detector has."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from deta.analysis.candidates import AnchorGrid, PriorGrid
from deta.building.build import make
from deta.cli import config_dir
from deta.models import AnchorQueries, GridPriors
from deta.models.query.selection import TopKPositions
from deta.structures import Features


@pytest.fixture(autouse=True)
def config_folder() -> Iterator[None]:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield


def compared(rule: str) -> Any:  # noqa: ANN401 - a node of Hydra
    return compose("data_assign", [f"compare={rule}"]).compare[rule]


def test_anchors_lie_in_the_cells_of_every_level() -> None:
    prediction = AnchorGrid(strides=[32, 64], scale=0.1)((128, 70))
    anchors = prediction.priors
    assert anchors.shape == (1, 4 * 3 + 2 * 2, 4)
    assert prediction.can_match().all()
    assert prediction.strides is not None
    assert prediction.strides.tolist() == [32.0] * 12 + [64.0] * 4
    torch.testing.assert_close(anchors[0, 0], torch.tensor([1 / 6, 1 / 8, 0.1, 0.1]))
    torch.testing.assert_close(anchors[0, 12], torch.tensor([1 / 4, 1 / 4, 0.2, 0.2]))


def test_priors_are_in_pixels_and_lie_on_padding_too() -> None:
    prediction = PriorGrid(priors=GridPriors(scales=[1.0], ratios=[1.0], offset=0.5), strides=[32, 64])((70, 100))
    assert prediction.frame is None
    assert prediction.grid == ((3, 4, 1), (2, 2, 1))  # of 96 x 128 pixels
    assert prediction.levels is not None
    assert prediction.strides is not None
    assert prediction.levels.tolist() == [0] * 12 + [1] * 4
    assert prediction.strides.tolist() == [32.0] * 12 + [64.0] * 4
    assert prediction.priors[0, [1, 11, 15]].tolist() == [[48, 16, 32, 32], [112, 80, 32, 32], [96, 96, 64, 64]]
    assert prediction.can_match().all()


@pytest.mark.parametrize(
    ("rule", "system"), [("max_iou", "retinanet"), ("atss", "atss"), ("fcos", "fcos"), ("gaussian", "centernet")]
)
def test_priors_and_rule_are_those_of_the_dense_system(rule: str, system: str) -> None:
    trained = compose("train", [f"system={system}", "name=test", "run_dir=none"])
    found = compared(rule)
    assert found.candidates.priors == trained.model.body.priors
    assert found.assigner == trained.criterion.rules.dense.assigner


def test_priors_of_mmdetection_are_those_of_its_model() -> None:
    words = ["system=retinanet", "model=retinanet_mmdet_r50", "name=test", "run_dir=none"]
    assert compared("max_iou_mmdet").candidates.priors == compose("train", words).model.body.priors


@pytest.mark.parametrize(("rule", "own"), [("iou", "iou_proposals"), ("release", "release_proposals")])
def test_anchors_are_those_of_the_first_stage(rule: str, own: str) -> None:
    words = ["system=deta", f"assigner@criterion.rules.first.assigner={own}", "name=test", "run_dir=none"]
    trained = compose("train", words)
    source, cfg = trained.model.body.source, compose("data_assign", [f"compare={rule}"])
    found = cfg.compare[rule].candidates
    assert (found.scale, found.growth) == (source.anchor_scale, source.anchor_growth)
    assert len(found.strides) == trained.model.neck.num_levels
    assert cfg.compare[rule].assigner == trained.criterion.rules.first.assigner


def test_anchors_of_fqdet_are_those_of_its_first_stage() -> None:
    maps = [torch.zeros(1, 8, 4 // 2**k, 8 // 2**k) for k in range(3)]
    features = Features(
        tuple(maps), tuple(map_[:, 0] > 0 for map_ in maps), (8, 16, 32), torch.tensor([[32.0, 64.0]]), (32, 64)
    )
    source = AnchorQueries(hidden_dim=8, bottleneck_dim=8, selection=TopKPositions())
    anchors, levels, strides = source.anchors(features)
    found = PriorGrid(priors=make(compared("topk_iou").candidates.priors), strides=[8, 16, 32])((32, 64))
    assert found.levels is not None
    assert found.strides is not None
    torch.testing.assert_close(found.levels, levels)
    torch.testing.assert_close(found.strides, strides)
    # Those of a cell come by ratio here, by size there.
    order = torch.arange(len(anchors)).view(-1, 3, 3).transpose(1, 2).flatten()
    torch.testing.assert_close(found.priors[0], anchors[order], rtol=1e-6, atol=1e-4)


def test_the_anchors_of_mmdetection_have_three_sizes_in_strides() -> None:
    found = make(compared("max_iou_mmdet").candidates)((64, 64))
    sides = 4 * 2 ** (torch.arange(3) / 3) * 8
    torch.testing.assert_close(found.priors[0, 3:6, 2], sides)  # of ratio 1, in the first cell
    assert found.priors[0, 3:6, :2].count_nonzero() == 0  # whose corner is their centre
