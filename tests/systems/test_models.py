"""The whole detector of every system, behind the backbone, against its reference."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import torch

from deta.models import Detector
from deta.structures import DetectionOutput, Prediction
from tests.models.tiny import query_body
from tests.systems.detectors import reference_detector
from tests.systems.rules import FAMILY

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase

QUERY_SYSTEMS = (*FAMILY, "dn_deformable_detr_encoder_only")


@pytest.mark.reference("model", systems=QUERY_SYSTEMS, trains=False)
def test_detections_equal_the_reference(case: "ReferenceCase") -> None:
    detector = reference_detector(case)
    with torch.no_grad():
        output = forward(detector, case)
    compared = 0
    for name, prediction in named_stages(output):
        for part in ("logits", "boxes"):
            expected = case.outputs.get(f"{name}_{part}")
            if expected is not None:
                torch.testing.assert_close(getattr(prediction, part), expected, rtol=1e-4, atol=5e-5, msg=None)
                compared += 1
    assert compared >= 2 * query_body(detector).decoder.num_layers or "only" in case.config
    if "topk_proposals" in case.outputs:
        assert output.final.source is not None
        assert torch.equal(output.final.source, case.outputs["topk_proposals"])


def forward(detector: Detector, case: "ReferenceCase") -> DetectionOutput:
    """The output for the maps of a case."""
    maps = [case.inputs[f"feature_{index}"] for index in range(len(case.config["backbone_channels"]))]
    return detector.forward_maps(maps, case.inputs["mask"])


def named_stages(output: DetectionOutput) -> Iterator[tuple[str, Prediction]]:
    """Every stage under the begin of its names in a case."""
    for key, prediction in output.stages.items():
        if key.role == "first":
            yield "enc_pred", prediction
            yield "interm_pred", prediction
        elif key.role == "layers":
            yield ("pred" if key == output.last else f"aux{key.layer}_pred"), prediction
