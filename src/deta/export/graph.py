"""A detector and its selection as one graph of tensors alone."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional

from deta.export.pooling import bordered_pools
from deta.models.attention.deformable import use_backend
from deta.models.detector import Detector
from deta.models.postprocess import Postprocess, ScoredSelection
from deta.ops.boxes import to_corners
from deta.structures import Prediction, Score

INPUTS = ("images", "image_sizes", "original_sizes")
LEAST_SIDE = 64
"""Of images, in pixels."""
_NO_LIMIT = 2**40
Outputs = tuple[Tensor, ...]


class DetectorGraph(nn.Module):
    """What a file computes: padded pictures in, detections or all candidates out.

    Pictures are normalised inside.

    Args:
        detector: In evaluation.
        select: From the last predictions to the outputs, such as ``Selected``.
    """

    def __init__(self, detector: Detector, select: Callable[[Prediction, Tensor], Outputs]) -> None:
        super().__init__()
        self.detector = detector
        self.select = select
        self.multiple = math.lcm(detector.input.multiple, detector.backbone.multiple)

    def forward(self, images: Tensor, image_sizes: Tensor, original_sizes: Tensor) -> Outputs:
        """Detect.

        Args:
            images: ``[B, 3, H, W]`` uint8 RGB, padded at the bottom and right.
            image_sizes: ``[B, 2]`` int64 ``(height, width)`` of what is no padding.
            original_sizes: ``[B, 2]`` int64 ``(height, width)`` of the image files, in whose pixels boxes are.
        """
        # Padded here, where the sides may be symbols: the detector itself would ask whether there is anything to pad.
        height, width = (-(-side // self.multiple) * self.multiple for side in images.shape[-2:])
        images = functional.pad(images, (0, width - images.shape[-1], 0, height - images.shape[-2]))
        rows, columns = (torch.arange(side, device=images.device) for side in (height, width))
        below, right = rows >= image_sizes[:, :1], columns >= image_sizes[:, 1:]  # [B, H], [B, W]
        is_padding = below[:, :, None] | right[:, None]  # [B, H, W]
        return self.select(self.detector(images, is_padding).final, original_sizes)


class Selected:
    """The detections of a post-processing.

    Args:
        postprocess: Selects them.
    """

    names = ("boxes", "scores", "labels")

    def __init__(self, postprocess: Postprocess) -> None:
        self._postprocess = postprocess

    def __call__(self, prediction: Prediction, original_sizes: Tensor) -> Outputs:
        """``[B, K, 4]`` ``xyxy`` in pixels of the file, ``[B, K]`` scores, best first, and ``[B, K]`` int64 classes."""
        found = self._postprocess(prediction, original_sizes)
        return found.boxes, found.scores, found.labels


class Candidates:
    """All candidates, of which the user of the file selects.

    Args:
        score: Of every candidate and class.
    """

    names = ("boxes", "scores")

    def __init__(self, score: Score) -> None:
        self._score = score

    @classmethod
    def scored_as(cls, postprocess: Postprocess) -> "Candidates":
        """With the score by which ``postprocess`` selects.

        Raises:
            ValueError: It is a class that does not say by which.
        """
        if not isinstance(postprocess, ScoredSelection):
            raise ValueError(
                f"nms=outside needs a postprocess with a score, which {type(postprocess).__name__} lacks: give "
                "nms=inside, or another postprocess="
            )
        return cls(postprocess.score)

    def __call__(self, prediction: Prediction, original_sizes: Tensor) -> Outputs:
        """``[B, N, 4]`` ``xyxy`` in pixels of the file, or ``[B, N, C, 4]``, and ``[B, N, C]`` scores in 0..1."""
        height, width = original_sizes.float().unbind(1)
        scale = torch.stack((width, height, width, height), dim=1)  # [B, 4]
        boxes = to_corners(prediction.boxes.float())
        boxes = boxes * (scale[:, None] if boxes.dim() == 3 else scale[:, None, None])
        scores = self._score(prediction).sigmoid()
        if prediction.exists is not None:
            scores = scores.masked_fill(~prediction.exists[..., None], 0.0)
        return boxes, scores


def trace(graph: DetectorGraph, *, batch: int | None, size: tuple[int, int] | None) -> ExportedProgram:
    """The graph as a program of PyTorch's own operators and those of ``deta.ops``.

    Args:
        graph: In evaluation.
        batch: Images that the file takes at once; None is any number.
        size: ``(height, width)`` of the images that it takes; None is any, see ``least_side``.

    Returns:
        The program; ``least_side`` tells from which side on it takes images of any size.

    Raises:
        ValueError: A part of the detector fixes what was to be left open, or does not take this size.
    """
    least = max(LEAST_SIDE, graph.detector.backbone.min_side)
    height, width = size or (least + 96, least + 160)
    count = 2 if batch is None else batch
    images_open: dict[int, Dim] = {} if size is not None else {2: Dim.AUTO(min=least), 3: Dim.AUTO(min=least)}
    batch_open: dict[int, Dim] = {} if batch is not None else {0: Dim("batch", min=1)}
    is_open = (images_open | batch_open, batch_open, batch_open)
    with torch.no_grad(), plain_attention(graph), bordered_pools(graph), _without_traces_of_symbols():
        try:
            sizes = torch.tensor([[height, width]] * count)
            images = torch.zeros(count, 3, height, width, dtype=torch.uint8)
            program = torch.export.export(graph, (images, sizes, sizes.clone()), dynamic_shapes=is_open, strict=False)
        except (RuntimeError, AssertionError) as error:  # the second where a condition on a size cannot be solved
            raise ValueError(_fixed(error, batch, size)) from error
    if size is None and len(_least_sides(program)) < 2:
        raise ValueError(_fixed(ValueError("height or width cannot be any number"), batch, size))
    return program


def least_side(program: ExportedProgram) -> int:
    """Height and width in pixels from which on a program takes any; ``LEAST_SIDE`` where it takes one size alone.

    It may be more than ``trace`` asks for: a map of a single row is another case than the usual one.
    """
    return max([LEAST_SIDE, *_least_sides(program).values()])


def _least_sides(program: ExportedProgram) -> dict[Any, int]:
    """Of height and width, as far as they are free of each other, of multiples and of a limit."""
    images = next(node for node in program.graph.nodes if node.name == INPUTS[0])
    sides = [side.node.expr for side in images.meta["val"].shape[2:] if isinstance(side, torch.SymInt)]
    ranges = {side: program.range_constraints[side] for side in sides if side in program.range_constraints}
    return {side: int(limits.lower) for side, limits in ranges.items() if limits.upper > _NO_LIMIT}


def _fixed(error: Exception, batch: int | None, size: tuple[int, int] | None) -> str:
    reason = " ".join(str(error).split("\n")[:2])[:300]
    if batch is None or size is None:
        left = [word for word, value in (("batch=1", batch), ("image_size=[640,640]", size)) if value is None]
        return f"a part of this detector fixes the shape of its input, so give it: {' or '.join(left)} ({reason})"
    return f"this detector cannot be traced for batch={batch} image_size={list(size)}: {reason}"


@contextmanager
def _without_traces_of_symbols() -> Iterator[None]:
    """Conditions on sizes that PyTorch cannot solve fill pages with stack traces before it raises what is told."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def plain_attention(graph: DetectorGraph) -> Iterator[None]:
    """Let deformable attention be made of PyTorch's operators, and PyTorch's attention of its parts."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    use_backend(graph, "reference")
    try:
        yield
    finally:
        use_backend(graph, "auto")
        torch.backends.mha.set_fastpath_enabled(fast)
