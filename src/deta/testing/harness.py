"""What all harnesses do: check every property of a part on every input, and say which one failed on what."""

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from deta.structures import TensorStruct

Part = TypeVar("Part")
Case = TypeVar("Case")
Result = TypeVar("Result")


def check(
    part: Part,
    properties: Mapping[Callable[[Part, Case], None], Sequence[Case]],
    *,
    name: str,
    without: Collection[str] = (),
) -> None:
    """Check all properties.

    Args:
        part: What is checked.
        properties: Functions that raise unless a part has the property that they are named after, each with the inputs
            to check it on.
        name: Of the part, for messages.
        without: Names of the functions whose property the part does not promise.

    Raises:
        AssertionError: A property does not hold, or its check ends in any other error; the message names both the
            property and the input.
        ValueError: A name in ``without`` is none of a property.
    """
    known = [is_so.__name__ for is_so in properties]
    unknown = sorted(set(without) - set(known))
    if unknown:
        raise ValueError(f"without must name properties, got {', '.join(unknown)}; known are {', '.join(known)}")
    for is_so, cases in properties.items():
        if is_so.__name__ in without:
            continue
        for case in cases:
            try:
                is_so(part, case)
            except Exception as error:  # whatever a part of someone else raises is a failure of it
                sentence = is_so.__name__.replace("_", " ")
                raise AssertionError(f"{name} fails {sentence!r} with {str(case)!r}: {error}") from error


def require(is_so: bool, message: str) -> None:
    """Raise with ``message`` unless ``is_so``; unlike ``assert`` also under ``python -O``.

    Raises:
        AssertionError: It is not so.
    """
    if not is_so:
        raise AssertionError(message)


def require_equal(
    found: Tensor | None, expected: Tensor | None, what: str, *, rtol: float = 0, atol: float = 0
) -> None:
    """Require two tensors of equal shape, type and values, in which NaN equals NaN.

    Raises:
        AssertionError: They differ.
    """
    if found is None or expected is None:
        require(found is expected, f"{what} is given in one case and not in the other")
        return
    text = f"{what}: "
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol, equal_nan=True, msg=lambda told: text + told)


def require_tensor(tensor: Tensor, what: str, shape: Sequence[int], dtype: torch.dtype) -> None:
    """Require shape and type.

    Raises:
        AssertionError: It has another one.
    """
    found = (tuple(tensor.shape), tensor.dtype)
    require(found == (tuple(shape), dtype), f"{what} must be {tuple(shape)} of {dtype}, got {found[0]} of {found[1]}")


@contextmanager
def one_graph(function: Callable[..., Result], *, with_backward: bool) -> Iterator[Callable[..., Result]]:
    """``function`` traced as one graph without a break, and with its backward pass where that is asked for.

    The graph is computed as eager PyTorch would: generating code takes minutes and rounds otherwise.
    """
    torch.compiler.reset()
    with warnings.catch_warnings():
        # PyTorch's own, while it traces
        warnings.filterwarnings("ignore", message=r"The \.grad attribute of a Tensor", category=UserWarning)
        yield torch.compile(function, fullgraph=True, backend="aot_eager" if with_backward else "eager")
    torch.compiler.reset()


def gradients(total: Tensor, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of every leaf, zero where ``total`` does not depend on it."""
    if not total.requires_grad:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    values = torch.autograd.grad(total, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, values, strict=True))


def require_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Require finite values.

    Raises:
        AssertionError: A tensor has others.
    """
    wrong = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    require(not wrong, f"{what} is not finite: {', '.join(wrong)}")


def require_unchanged(found: TensorStruct, expected: TensorStruct, what: str) -> None:
    """Require that tensors are as in an earlier copy.

    Raises:
        AssertionError: One has been written to.
    """
    for name, value in vars(found).items():
        if isinstance(value, Tensor):
            require_equal(value, getattr(expected, name), f"{what}.{name}, which the part has changed")


def name_of(part: Any) -> str:  # noqa: ANN401 - any part
    """What messages call it: a function or class by its name, an object by its class."""
    return str(getattr(part, "__qualname__", type(part).__qualname__))
