"""A body of one's own: what a detector is made of behind its neck is nobody's business but its own."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from deta.assign import Draw, IoUAssigner
from deta.losses import Criterion, FocalLoss, GIoULoss, Rule
from deta.models import Body, ConvBackbone, Detector, Neck
from deta.models.postprocess import NMS
from deta.structures import Batch, DetectionOutput, Features, Prediction, StageKey, Targets
from deta.training.step import step
from tests.assign.scenes import objects
from tests.models.tiny import images

DENSE = StageKey("dense")


class DenseBody(Body):
    """A class and a box of four strides for every cell, of one convolution on every level."""

    def __init__(self, *, num_classes: int, channels: Sequence[int], in_pixels: bool = False) -> None:
        super().__init__()
        self.in_pixels = in_pixels
        self.num_classes = num_classes
        self.heads = nn.ModuleList(nn.Conv2d(width, num_classes + 4, 1) for width in channels)

    def forward(self, features: Features, targets: Targets | None = None, draw: Draw | None = None) -> DetectionOutput:
        raw = torch.cat(
            [head(level).flatten(2) for head, level in zip(self.heads, features.maps, strict=True)], dim=2
        ).transpose(1, 2)  # [B, N, C + 4]
        priors = torch.cat([cells(*place) for place in zip(features.spatial_shapes, features.strides, strict=True)])
        frame = features.frame()
        levels = [torch.full((h * w,), level) for level, (h, w) in enumerate(features.spatial_shapes)]
        shift, growth = raw[..., self.num_classes :].chunk(2, dim=-1)
        boxes = torch.cat((priors[:, :2] + shift * priors[:, 2:], priors[:, 2:] * growth.exp()), dim=-1)  # [B, N, 4]
        dense = Prediction(
            raw[..., : self.num_classes],
            boxes / frame[:, None],
            priors / frame[:, None],
            frame,
            may_match=torch.cat([~mask.flatten(1) for mask in features.is_padding], dim=1),
            grid=tuple((height, width, 1) for height, width in features.spatial_shapes),
            levels=torch.cat(levels),
            strides=priors[:, 2] / 4,
        )
        return DetectionOutput({DENSE: dense.in_pixels() if self.in_pixels else dense}, DENSE)


def cells(shape: tuple[int, int], stride: int) -> Tensor:
    """``[h * w, 4]`` boxes of four strides around the centre of every cell, in pixels."""
    rows, columns = (stride * (torch.arange(count) + 0.5) for count in shape)
    centres = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).view(-1, 2)
    return torch.cat((centres, torch.full_like(centres, 4.0 * stride)), dim=-1)  # [h * w, 4]


def detector(*, in_pixels: bool = False) -> Detector:
    """Of three levels at the strides 8, 16 and 32."""
    torch.manual_seed(0)
    return Detector(
        num_classes=3,
        backbone=ConvBackbone(channels=(8, 16), num_blocks=1, stem_channels=8),
        neck=partial(Neck, hidden_dim=32, num_levels=3),
        body=partial(DenseBody, in_pixels=in_pixels),
    )


def criterion() -> Criterion:
    return Criterion(
        {
            "dense": Rule(
                assigner=IoUAssigner(tau=0.3, gamma=None),
                class_terms={"class": FocalLoss()},
                box_terms={"giou": GIoULoss()},
            )
        }
    )


def batch() -> Batch:
    """Two images of 64 x 96 pixels, the second padded; one object of 32 x 32 pixels in the first, two in the other."""
    targets = objects([(1 / 3, 0.5, 1 / 3, 0.5)], [(0.5, 0.5, 0.5, 0.6), (0.3, 0.3, 0.4, 0.5)])
    pixels, is_padding = images()
    sizes = torch.tensor([[64, 96], [48, 72]])
    return Batch(pixels, is_padding, replace(targets, sizes=sizes.float()), torch.arange(2), sizes)


def test_a_dense_body_trains_through_the_whole_step() -> None:
    model = detector()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    values = []
    for place in range(12):
        result = step(model, criterion(), batch(), Draw.of(0, place))
        assert result.losses is not None
        assert [name for name, _ in result.losses.names] == [DENSE, DENSE]
        assert (result.losses.matches_of(DENSE).statistics.num_unmatched == 0).all()
        optimizer.zero_grad()
        result.losses.total().backward()
        optimizer.step()
        values.append(float(result.losses.total().detach()))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert values[-1] < 0.8 * values[0]


def test_a_body_in_pixels_has_the_losses_and_gradients_of_the_same_body_relative_to_the_image() -> None:
    made = batch()
    targets = replace(
        made.targets,
        boxes=made.targets.boxes + 0.013 * made.targets.is_object[..., None],  # no two cells overlap an object alike
        ignore_boxes=torch.tensor([[[0.5, 0.5, 1.0, 1.0]]] * 2),
        is_ignore=torch.tensor([[False], [True]]),
    )
    made = replace(made, targets=targets)
    found = []
    for model in (detector(), detector(in_pixels=True)):
        result = step(model, criterion(), made, Draw.of(0))
        assert result.losses is not None
        result.losses.total().backward()
        matches = result.losses.matches_of(DENSE)
        figures = matches.statistics
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found.append((result.losses.terms().detach(), matches.classes.target, figures.sum_iou, gradient))
        assert figures.num_ignored > 0
        assert figures.num_positives.sum() > 0
    (*relative, gradient), (*pixels, other) = found
    for values, expected in zip(pixels, relative, strict=True):
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)
    assert (other - gradient).norm() <= 1e-5 * gradient.norm()


def test_a_body_knows_strides_padding_and_sizes_of_its_levels() -> None:
    made = batch()
    features = detector().features([torch.zeros(2, 8, 8, 12), torch.zeros(2, 16, 4, 6)], made.is_padding)
    assert features.strides == (8, 16, 32)
    assert features.spatial_shapes == ((8, 12), (4, 6), (2, 3))
    assert features.image_sizes.tolist() == [[64.0, 96.0], [48.0, 72.0]]
    assert [int(mask[1].sum()) for mask in features.is_padding] == [8 * 12 - 6 * 9, 4 * 6 - 3 * 5, 0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own, while tracing
def test_the_step_of_a_dense_body_is_one_graph() -> None:
    model, losses = detector(), criterion()
    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    expected, found = (function(model, losses, batch(), Draw.of(1)).losses for function in (step, compiled))
    assert expected is not None
    assert found is not None
    torch.testing.assert_close(found.terms(), expected.terms(), rtol=1e-6, atol=1e-7)
    torch.compiler.reset()


def test_cells_of_a_level_lie_alike_in_the_pixels_of_all_images_and_detect_there() -> None:
    final = detector()(*images()).final
    priors = final.in_pixels().priors
    torch.testing.assert_close(priors[0], priors[1])
    torch.testing.assert_close(priors[0, :2], torch.tensor([[4.0, 4.0, 32.0, 32.0], [12.0, 4.0, 32.0, 32.0]]))
    detections = NMS(max_detections=5)(final, torch.tensor([[64, 96], [48, 72]]))
    assert detections.is_detection.all()
