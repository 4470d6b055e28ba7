"""What the tests of dense detectors against the references share."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deta.structures import Losses, Targets
from tests.systems.targets import targets_of

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


def pixel_targets(case: "ReferenceCase") -> Targets:
    """The objects of a case, whose boxes are corners in pixels of the padded image."""
    counts = case.inputs["sizes"].tolist()
    sizes = torch.tensor([case.config["padded_size"]] * len(counts))
    return targets_of(case.inputs["boxes"], case.inputs["labels"], counts, sizes)


def assert_losses(losses: Losses, leaves: Mapping[str, Tensor], case: "ReferenceCase") -> None:
    """Every term, the total and the gradients by what the case gives, all under the names of the case."""
    for (_, name), term in zip(losses.names, losses.terms() * losses.weights, strict=True):
        torch.testing.assert_close(term.detach(), case.outputs[f"loss/{name}"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses.total().detach(), case.outputs["total"], rtol=1e-4, atol=1e-6)
    gradients = torch.autograd.grad(losses.total(), list(leaves.values()), allow_unused=True, materialize_grads=True)
    for name, gradient in zip(leaves, gradients, strict=True):
        torch.testing.assert_close(gradient, case.outputs[f"grad/{name}"], rtol=1e-4, atol=2e-5)


def assert_close(found: Tensor, expected: Tensor, atol: float = 1e-4) -> None:
    """By the tolerance of the set."""
    torch.testing.assert_close(found.detach(), expected, rtol=1e-4, atol=atol)
