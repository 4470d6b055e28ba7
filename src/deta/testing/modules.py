"""What the harnesses of modules share: how one is made, and whether its weights are trained and are all that it is."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from deta.testing.harness import require, require_finite

Made = TypeVar("Made")

ROUNDING = {"rtol": 1e-4, "atol": 1e-5}
"""Of float32 through some layers, in batches of another size."""


def made(make: Callable[..., Made], *arguments: object, seed: int = 0) -> Made:
    """What ``make`` makes with this seed; PyTorch's own random numbers stay as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(*arguments)


def require_all_trained(module: nn.Module, total: Tensor) -> None:
    """Require that the gradient of ``total`` reaches every parameter of ``module`` and is finite.

    A parameter without gradient in one step of one rank would let all ranks of a training wait.

    Raises:
        AssertionError: It does not.
    """
    parameters = {name: value for name, value in module.named_parameters() if value.requires_grad}
    if not parameters:
        return
    require(total.requires_grad, "nothing of what it gives depends on its parameters")
    found = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    values = dict(zip(parameters, found, strict=True))
    without = [name for name, gradient in values.items() if gradient is None]
    require(not without, f"no gradient reaches {', '.join(without)}")
    require_finite({name: gradient for name, gradient in values.items() if gradient is not None}, "the gradient")


def weighted_sum(tensors: Mapping[str, Tensor]) -> Tensor:
    """A sum in which every number has another random weight, so that no norm takes its gradient away."""
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(())
    for tensor in tensors.values():
        if tensor.is_floating_point():
            total = total + (tensor.float() * torch.randn(tensor.shape, generator=generator)).sum()
    return total


def reloaded(make: Callable[..., nn.Module], *arguments: object) -> tuple[nn.Module, nn.Module]:
    """A module, and one of another seed with its weights, both as for evaluation."""
    first, second = made(make, *arguments, seed=0), made(make, *arguments, seed=1)
    second.load_state_dict(first.state_dict())
    return first.eval(), second.eval()
