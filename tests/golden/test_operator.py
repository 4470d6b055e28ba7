"""The deformable attention operator against the reference implementation."""

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from deta_kernels import deformable_attention, sample_and_sum

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


@pytest.mark.golden("msda_op")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_sampling_equals_reference(case: "ReferenceCase", dtype: torch.dtype) -> None:
    if case.outputs["output"].dtype == torch.float32 and dtype == torch.float64:
        pytest.skip("stored in float32")
    leaves = _leaves(case, dtype)
    output = sample_and_sum(leaves["value"], case.spatial_shapes(), leaves["locations"], leaves["weights"])
    _assert_close(output.flatten(2), case.outputs["output"])
    if "grad_output" not in case.inputs:
        return
    output.flatten(2).backward(case.inputs["grad_output"].to(dtype))
    _assert_close(leaves["value"].grad, case.outputs["grad_value"])
    _assert_close(leaves["locations"].grad, case.outputs["grad_sampling_locations"])
    _assert_close(leaves["weights"].grad, case.outputs["grad_attention_weights"])


@pytest.mark.golden("msda_op")
def test_operator_equals_reference(case: "ReferenceCase") -> None:
    """Locations become offsets from a reference point at 0 and weights become their logarithms."""
    if case.config.get("weights") != "softmax":
        pytest.skip("weights do not come from a softmax")
    leaves = _leaves(case, torch.float32)
    shapes = case.spatial_shapes()
    sizes = torch.tensor([(width, height) for height, width in shapes]).float()[:, None]  # [L, 1, 2]
    value, weights = leaves["value"], leaves["weights"].detach()
    offsets = (leaves["locations"].detach() * sizes).requires_grad_()
    logits = weights.log().flatten(3).requires_grad_()
    origin = torch.zeros(*weights.shape[:2], len(shapes), 2)
    output = deformable_attention(value, shapes, origin, offsets, logits).flatten(2)
    output.backward(case.inputs["grad_output"].float())
    # Softmax: a logit's gradient is its weight times the deviation of the weight's gradient from the mean.
    grad_weights = case.outputs["grad_attention_weights"]
    mean = (weights * grad_weights).sum((-2, -1), keepdim=True)
    _assert_close(output, case.outputs["output"])
    _assert_close(value.grad, case.outputs["grad_value"])
    _assert_close(offsets.grad, case.outputs["grad_sampling_locations"] / sizes)
    _assert_close(logits.grad, (weights * (grad_weights - mean)).flatten(3))


def _leaves(case: "ReferenceCase", dtype: torch.dtype) -> dict[str, Tensor]:
    names = {"value": "value", "locations": "sampling_locations", "weights": "attention_weights"}
    return {name: case.inputs[key].to(dtype).detach().clone().requires_grad_() for name, key in names.items()}


def _assert_close(found: Tensor | None, expected: Tensor) -> None:
    assert found is not None
    rtol, atol = (1e-9, 1e-10) if found.dtype == torch.float64 else (1e-4, 1e-5)
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=rtol, atol=atol)
