"""The whole detector behind the backbone against the reference implementation."""

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from deta.models.attention.deformable import use_backend
from deta.models.releases import to_release
from deta.structures import StageKey
from tests.golden.detectors import reference_detector
from tests.models.tiny import query_body

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


@pytest.mark.golden("model")
@pytest.mark.parametrize("backend", ["cpu", "reference", pytest.param("triton", marks=pytest.mark.gpu)])
def test_detector_equals_reference(case: "ReferenceCase", backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if backend == "triton" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # convolutions with 10 bits are off by 1e-3
    device = "cuda" if backend == "triton" else "cpu"
    detector = reference_detector(case).to(device)
    use_backend(detector, backend)
    features = [case.inputs[f"feature_{index}"].to(device) for index in range(len(case.config["backbone_channels"]))]
    is_padding = case.inputs["mask"].to(device)
    with torch.no_grad():
        body = query_body(detector)
        memory = body.encoder(detector.features(features, is_padding))
        queries, _ = body.source(memory)
        output = detector.forward_maps(features, is_padding)
    layers, first = list(output.of_role("layers").values()), output.stages.get(StageKey("first"))
    expected = case.outputs
    num_queries = len(expected["query_embed"])  # learned queries are stored for one image
    _assert_close(memory.tokens[:, ::16], expected["memory_every16"])
    _assert_close(queries.position[:num_queries], expected["query_embed"])
    _assert_close(queries.content[:num_queries], expected["tgt"])
    _assert_close(queries.references, expected["init_reference"])
    names = [f"aux{layer}_pred" for layer in range(len(layers) - 1)] + ["pred"]
    for layer, name in zip(layers, names, strict=True):
        _assert_close(layer.logits, expected[f"{name}_logits"])
        _assert_close(layer.boxes, expected[f"{name}_boxes"])
    assert (first is not None) == case.config["two_stage"]
    if first is not None:
        assert layers[0].source is not None
        assert torch.equal(layers[0].source.cpu(), expected["topk_proposals"])
        _assert_close(first.logits, expected["enc_pred_logits"])
        _assert_close(first.boxes, expected["enc_pred_boxes"])
        _assert_close(first.priors, expected["anchors"])


@pytest.mark.golden("model")
def test_state_dict_survives_the_way_to_our_names_and_back(case: "ReferenceCase") -> None:
    returned = to_release(reference_detector(case))
    assert set(returned) == set(case.state)
    assert all(torch.equal(returned[name], tensor) for name, tensor in case.state.items())


def _assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=5e-5)
