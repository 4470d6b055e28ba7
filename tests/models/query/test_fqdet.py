"""FQDet beyond its reference outputs."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deta.assign import TopKIoUAssigner
from deta.losses import Criterion, DeltaL1Loss, FocalLoss, Rule
from deta.models import FPN, AnchorDecoder, AnchorQueries, ConvBackbone, Detector, Encoder, FQDetBody, Neck
from deta.models.postprocess import NMS
from deta.models.query.fqdet_source import in_padded
from deta.models.query.selection import TopKPositions
from deta.structures import Features, SigmoidScore
from deta.testing import check_system
from deta.testing.systems import Build
from tests.models.tiny import images, levels

SMALL: dict[str, Any] = {"hidden_dim": 32, "num_levels": 4, "num_layers": 2, "num_heads": 4, "ffn_dim": 48}
COMPILED = "a_compiled_step_is_one_graph_and_gives_the_same"


def source(**options: Any) -> AnchorQueries:  # noqa: ANN401
    return AnchorQueries(
        **{"hidden_dim": 32, "selection": TopKPositions(), "num_queries": 20, "bottleneck_dim": 8, **options}
    )


def fqdet(num_classes: int, *, encoder: bool = False) -> tuple[Detector, Criterion, NMS]:
    torch.manual_seed(0)
    neck = partial(Neck, bias=False) if encoder else partial(FPN, extra="lateral")
    # A fourth level has two cells, over which the group norm of a projection divides by almost nothing.
    small = {**SMALL, "num_levels": 3 if encoder else 4}
    detector = Detector(
        num_classes=num_classes,
        backbone=ConvBackbone(channels=(8, 16, 16), num_blocks=1, stem_channels=8),
        neck=partial(neck, hidden_dim=32, num_levels=small["num_levels"]),
        body=partial(
            FQDetBody,
            hidden_dim=32,
            encoder=Encoder(**small) if encoder else nn.Identity(),
            source=source(),
            decoder=AnchorDecoder(**small),
        ),
    )
    first = Rule(TopKIoUAssigner(k=5), {"class": FocalLoss()}, sees="objects", normalizer="none")
    terms = {"class": FocalLoss(background=True)}, {"deltas": DeltaL1Loss()}
    layers = Rule(TopKIoUAssigner(k=15), *terms, on="first", normalizer="none")
    return detector, Criterion({"first": first, "layers": layers}), NMS(score=SigmoidScore(has_background=True))


def with_encoder(num_classes: int) -> tuple[Detector, Criterion, NMS]:
    return fqdet(num_classes, encoder=True)


@pytest.mark.parametrize("build", [fqdet, with_encoder])
def test_the_detector_does_what_every_system_must(build: Build) -> None:
    check_system(build, without=[COMPILED])


@pytest.mark.slow
def test_a_step_is_one_graph() -> None:
    check_system(fqdet)


def maps(*shapes: tuple[int, int]) -> Features:
    return levels([torch.zeros(1, *shape, dtype=torch.bool) for shape in shapes])


def test_anchors_lie_by_level_row_column_size_and_ratio() -> None:
    anchors, level, stride = source(num_sizes=2, ratios=(1.0, 4.0)).anchors(maps((1, 2), (1, 1)))
    assert level.tolist() == [0] * 8 + [1] * 4
    assert stride.tolist() == [8.0] * 8 + [16.0] * 4
    big = 32 * 2**0.5
    expected = [(4, 4, 32, 32), (4, 4, 16, 64), (4, 4, big, big), (4, 4, big / 2, 2 * big)]
    torch.testing.assert_close(anchors[:4], torch.tensor(expected))
    torch.testing.assert_close(anchors[4:8], anchors[:4] + torch.tensor([8.0, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(anchors[8:], 2 * anchors[:4])


def test_a_query_has_the_features_of_its_cell_through_the_projection_of_its_kind() -> None:
    part, features = source(num_queries=30), maps((3, 4), (2, 2))
    tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in features.maps], dim=1)
    queries, first = part(features, tokens)
    assert first.grid == ((3, 4, 9), (2, 2, 9))
    assert queries.source is not None
    assert torch.equal(queries.source[0], first.logits[0, :, 0].argsort(descending=True, stable=True)[:30])
    for number, chosen in enumerate(queries.source[0].tolist()):
        expected = part.projections[chosen % 9](tokens[:, chosen // 9])
        torch.testing.assert_close(queries.content[:, number], expected)
        assert torch.equal(queries.references[0, number], first.priors[0, chosen])


def test_the_size_of_the_padded_batch_is_that_of_its_pixels() -> None:
    features = replace(maps((3, 4)), image_sizes=torch.tensor([[10.0, 15.0]]), padded_size=(20, 30))
    half = in_padded(torch.tensor([[[1.0, 1.0, 0.5, 0.5]]]), features)
    assert half.tolist() == [[[0.5, 0.5, 0.25, 0.25]]]


@pytest.mark.parametrize("size", [(64, 64), (61, 90)])
def test_boxes_start_from_anchors_in_the_unpadded_image(size: tuple[int, int]) -> None:
    detector, _, _ = fqdet(3)
    nn.init.zeros_(detector.get_parameter("body.heads.0.box_deltas.2.weight"))
    nn.init.zeros_(detector.get_parameter("body.heads.0.box_deltas.2.bias"))
    output = detector(*images(*size))
    final: Tensor = output.final.boxes
    torch.testing.assert_close(final, output.final.priors)
    assert len(output.stages) == 2


def test_parts_that_do_not_fit_each_other_are_refused() -> None:
    parts: dict[str, Any] = {"num_classes": 3, "channels": (32,) * 4, "hidden_dim": 32, "encoder": nn.Identity()}
    with pytest.raises(ValueError, match=r"decoder\.num_levels must equal neck\.num_levels 4, got 3"):
        FQDetBody(**parts, source=source(), decoder=AnchorDecoder(**{**SMALL, "num_levels": 3}))
    with pytest.raises(ValueError, match=r"source\.hidden_dim must equal model\.body\.hidden_dim 32, got 64"):
        FQDetBody(**parts, source=source(hidden_dim=64), decoder=AnchorDecoder(**SMALL))
    with pytest.raises(ValueError, match="hidden_dim must be a multiple of 8"):
        source(hidden_dim=36)
    with pytest.raises(ValueError, match="ratios must name at least one"):
        source(ratios=())
