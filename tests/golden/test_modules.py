"""The deformable attention module against the reference implementation."""

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from deta.models.attention.deformable import DeformableAttention

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


@pytest.mark.golden("msda_module")
def test_attention_module_equals_reference(case: "ReferenceCase") -> None:
    module = _module(case)
    module.load_state_dict(case.state)
    query, references, tokens = (
        case.inputs[name].clone().requires_grad_() for name in ("query", "reference_points", "input_flatten")
    )
    output = module(query, references, tokens, case.spatial_shapes(), case.inputs.get("padding_mask"))
    output.backward(case.inputs["grad_output"])
    _assert_close(output, case.outputs["output"])
    _assert_close(query.grad, case.outputs["grad_query"])
    _assert_close(references.grad, case.outputs["grad_reference_points"])
    _assert_close(tokens.grad, case.outputs["grad_input_flatten"])
    for name, parameter in module.named_parameters():
        _assert_close(parameter.grad, case.outputs[f"grad_state/{name}"])


@pytest.mark.golden("msda_init")
def test_attention_module_starts_like_reference(case: "ReferenceCase") -> None:
    module = _module(case)
    _assert_close(module.sampling_offsets.bias, case.outputs["sampling_offsets.bias"])
    for name in ("sampling_offsets.weight", "attention_weights.weight", "attention_weights.bias"):
        assert module.get_parameter(name).abs().max() == case.outputs[f"{name}_absmax"]


def _module(case: "ReferenceCase") -> DeformableAttention:
    config = case.config
    return DeformableAttention(
        hidden_dim=config["d_model"],
        num_heads=config["n_heads"],
        num_levels=config["n_levels"],
        num_points=config["n_points"],
    )


def _assert_close(found: Tensor | None, expected: Tensor) -> None:
    assert found is not None
    torch.testing.assert_close(found.detach(), expected, rtol=1e-4, atol=2e-5)
