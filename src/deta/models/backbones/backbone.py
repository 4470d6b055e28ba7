"""What all backbones have in common."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from deta.models.region import Region


class Backbone(Region):
    """Base class of all backbones.

    Attributes:
        body: The network; its parameters are named as in its library.
        channels: Channels of every map, finest first.
        strides: Pixels per cell of every map, as the power of two next to it.
        min_side: Smallest height and width that it takes, in pixels.
        multiple: It takes only heights and widths that are multiples of this, in pixels.
    """

    body: nn.Module
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    min_side: int = 1
    multiple: int = 1

    def forward(self, images: Tensor) -> list[Tensor]:
        """``[B, C, h, w]`` of every level for normalised ``[B, 3, H, W]`` images."""
        raise NotImplementedError

    def padded_side(self, side: int) -> int:
        """The smallest height or width that it takes from ``side`` pixels on."""
        return -(-max(side, self.min_side) // self.multiple) * self.multiple


class FrozenNorm(FrozenBatchNorm2d):  # type: ignore[misc]  # torchvision has no types
    """A batch norm as in evaluation, whose scale and shift are computed when its state is loaded, not in every step."""

    scale: Tensor
    shift: Tensor

    def __init__(self, num_features: int, *, eps: float) -> None:
        super().__init__(num_features, eps=eps)
        self.register_buffer("scale", torch.empty(num_features, 1, 1), persistent=False)
        self.register_buffer("shift", torch.empty(num_features, 1, 1), persistent=False)
        self.register_load_state_dict_post_hook(_fold_loaded)
        self.fold()

    def fold(self) -> None:
        """Compute scale and shift of the state."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        self.scale = scale[:, None, None]  # [C, 1, 1]
        self.shift = (self.bias - self.running_mean * scale)[:, None, None]  # [C, 1, 1]

    def forward(self, maps: Tensor) -> Tensor:
        """``[B, C, h, w]`` to the same shape and type."""
        normed: Tensor = _ScaleAndShift.apply(maps, self.scale, self.shift)
        return normed


class _ScaleAndShift(torch.autograd.Function):
    """One call each way, where PyTorch's own gradient multiplies by a factor of 1 first."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, scale: Tensor, shift: Tensor) -> Tensor:  # noqa: ANN401 - of autograd
        ctx.save_for_backward(scale)
        return torch.addcmul(shift, maps, scale).to(maps.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401 - of autograd
        return (gradient * ctx.saved_tensors[0]).to(gradient.dtype), None, None


class EvaluatedNorm(nn.BatchNorm2d):
    """A batch norm that keeps its statistics in training too, while its scale and shift may be trained."""

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation, whatever ``mode`` is."""
        del mode
        return super().train(False)


def _fold_loaded(norm: nn.Module, _: object) -> None:
    assert isinstance(norm, FrozenNorm)
    norm.fold()


def freeze_parameters(network: nn.Module, prefixes: Sequence[str]) -> None:
    """Stop the training of every parameter whose name starts with one of ``prefixes``.

    Raises:
        ValueError: A prefix that no parameter has.
    """
    for prefix in prefixes:
        parameters = [parameter for name, parameter in network.named_parameters() if name.startswith(prefix)]
        if not parameters:
            children = ", ".join(name for name, _ in network.named_children())
            raise ValueError(f"backbone.frozen: no parameter starts with {prefix!r}; modules are {children}")
        for parameter in parameters:
            parameter.requires_grad_(False)


def set_norm_eps(network: nn.Module, eps: float) -> None:
    """Add ``eps`` to the variances of every batch norm of ``network``; what is frozen already keeps its own."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = eps


def freeze_batch_norms(network: nn.Module, *, kind: type[FrozenNorm | EvaluatedNorm] = FrozenNorm) -> None:
    """Replace every batch norm of ``network`` by what it is in evaluation.

    Args:
        network: Has the norms.
        kind: ``FrozenNorm`` fixes scale and shift, ``EvaluatedNorm`` the statistics alone.
    """
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = kind(child.num_features, eps=child.eps)
            state = child.state_dict()
            state.setdefault("weight", torch.ones(child.num_features))
            state.setdefault("bias", torch.zeros(child.num_features))
            frozen.load_state_dict(state)
            setattr(network, name, frozen)
        else:
            freeze_batch_norms(child, kind=kind)


def batch_counters(network: nn.Module) -> set[str]:
    """Names of the batch counters of norms, which old files lack and nothing reads."""
    return {name for name in network.state_dict() if name.endswith("num_batches_tracked")}
