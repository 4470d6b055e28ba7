"""The whole detector."""

from functools import partial
from typing import Any

import pytest
import torch
from torch.nn import functional

from deta.assign import HungarianAssigner, IoUAssigner
from deta.losses import Criterion
from deta.models import ConvBackbone, Decoder, Detector, Encoder, LearnedQueries, Neck, QueryBody, TorchvisionBackbone
from deta.models.postprocess import NMS, TopK
from deta.models.query.selection import TopKPositions
from deta.structures import StageKey
from deta.testing import check_system
from deta.testing.systems import Build
from tests.losses.criteria import QueryCriterion
from tests.models.tiny import HIDDEN_DIM, SMALL, images, query_body, tiny_detector


def two_stages(num_classes: int) -> tuple[Detector, Criterion, NMS]:
    criterion = QueryCriterion(layer_assigner=IoUAssigner(), proposal_assigner=IoUAssigner(tau=0.7, gamma=None))
    return tiny_detector(num_classes=num_classes), criterion, NMS()


def learned_queries(num_classes: int) -> tuple[Detector, Criterion, TopK]:
    criterion = QueryCriterion(layer_assigner=HungarianAssigner(), rematch="per_layer")
    return tiny_detector(num_classes=num_classes, learned=True), criterion, TopK()


@pytest.mark.parametrize("build", [two_stages, learned_queries])
def test_a_detector_does_what_every_system_must(build: Build) -> None:
    check_system(build, without=["a_compiled_step_is_one_graph_and_gives_the_same"])


@pytest.mark.slow
def test_a_step_of_learned_queries_is_one_graph_too() -> None:
    check_system(learned_queries)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("learned", [True, False])
def test_tiny_images_work(train: bool, learned: bool) -> None:
    detector = tiny_detector(learned=learned, num_queries=300).train(train)
    output = detector(*images(64, 64))
    num_queries = 300 if learned else 64 + 16 + 4 + 1
    assert output.final.boxes.shape == (2, num_queries, 4)


def test_an_image_too_narrow_for_the_backbone_is_padded() -> None:
    detector = tiny_detector()
    detector.backbone = TorchvisionBackbone(name="squeezenet1_0", return_nodes=["features.10", "features.12"])
    detector.neck = Neck(in_channels=detector.backbone.channels, hidden_dim=HIDDEN_DIM, num_levels=4)
    narrow, is_padding = images(20, 96)
    with pytest.raises(RuntimeError):
        detector.backbone(detector.input.normalise(narrow))
    padded = functional.pad(narrow, (0, 0, 0, 12)), functional.pad(is_padding, (0, 0, 0, 12), value=True)
    found, expected = (detector.eval()(*batch).final for batch in ((narrow, is_padding), padded))
    assert torch.equal(found.boxes, expected.boxes)
    assert torch.equal(found.logits, expected.logits)


def test_bytes_and_fractions_are_the_same_image() -> None:
    detector = tiny_detector().eval()
    pixels, is_padding = images()
    fractions = detector(pixels.float() / 255, is_padding).final
    assert torch.equal(detector(pixels, is_padding).final.boxes, fractions.boxes)


def test_queries_have_level_and_stride_of_the_positions_that_they_are_made_of() -> None:
    output = tiny_detector(num_queries=20)(*images())
    first, final = output.stages[StageKey("first")], output.final
    assert first.levels is not None
    assert first.strides is not None
    assert first.grid == ((8, 12, 1), (4, 6, 1), (2, 3, 1), (1, 2, 1))
    assert first.strides.unique().tolist() == [8.0, 16.0, 32.0, 64.0]
    assert final.source is not None
    assert final.levels is not None
    assert final.strides is not None
    assert torch.equal(final.levels, first.levels[final.source])
    assert torch.equal(final.strides, 8.0 * 2**final.levels)


def test_learned_queries_have_no_level_and_no_stride() -> None:
    final = tiny_detector(learned=True)(*images()).final
    assert final.levels is None
    assert final.strides is None


def test_selection_can_be_swapped_without_changing_a_weight() -> None:
    first, second = tiny_detector(), tiny_detector(selection=TopKPositions())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_without_refinement_there_is_one_head() -> None:
    detector = tiny_detector(learned=True, refine="none")
    assert len(query_body(detector).heads) == 1
    assert len(detector(*images()).of_role("layers")) == 2


def test_points_without_size_start_as_small_boxes() -> None:
    output = tiny_detector(learned=True)(*images())
    torch.testing.assert_close(output.stages[StageKey("layers", 0)].boxes[..., 2:], torch.full((2, 20, 2), 0.1192029))


def test_parameters_with_their_own_learning_rate_are_known_by_name() -> None:
    names = [name for name, _ in tiny_detector(learned=True).named_parameters()]
    assert sum("sampling_offsets" in name for name in names) == 2 * (2 + 2)
    assert sum("reference_points" in name for name in names) == 2
    assert sum(name.startswith("backbone.") for name in names) == len(list(tiny_detector().backbone.parameters()))


def test_parts_of_different_width_or_depth_are_refused() -> None:
    with pytest.raises(ValueError, match=r"source\.hidden_dim must equal model\.body\.hidden_dim 32, got 64"):
        _detector(source_width=64)
    with pytest.raises(ValueError, match=r"encoder\.num_levels must equal model\.neck\.num_levels 3, got 4"):
        _detector(num_levels=3)
    with pytest.raises(ValueError, match="num_classes"):
        tiny_detector(num_classes=0)


def _detector(*, source_width: int = 32, num_levels: int = 4) -> Detector:
    source = LearnedQueries(hidden_dim=source_width)
    parts: dict[str, Any] = {"encoder": Encoder(**SMALL), "source": source, "decoder": Decoder(**SMALL)}
    return Detector(
        num_classes=3,
        backbone=ConvBackbone(channels=(8,), num_blocks=1),
        neck=partial(Neck, hidden_dim=32, num_levels=num_levels),
        body=partial(QueryBody, hidden_dim=32, **parts),
    )
