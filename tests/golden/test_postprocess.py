"""Final detections against the reference implementation."""

from typing import TYPE_CHECKING

import pytest
import torch

from deta.models.postprocess import NMS, TopK
from deta.structures import Prediction

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


@pytest.mark.golden("postprocess")
def test_detections_equal_reference(case: "ReferenceCase") -> None:
    config, boxes = case.config, case.inputs["pred_boxes"]
    postprocess: TopK | NMS = TopK(max_detections=config["max_detections"])
    if config["type"] == "nms":
        postprocess = NMS(
            iou_threshold=config["nms_threshold"],
            pre_topk=config["pre_topk"],
            max_detections=config["max_detections"],
        )
    prediction = Prediction(case.inputs["pred_logits"], boxes, boxes)
    detections = postprocess(prediction, case.inputs["target_sizes"])
    for image, is_detection in enumerate(detections.is_detection):
        expected = {name: case.outputs[f"{name}_{image}"] for name in ("scores", "labels", "boxes")}
        assert torch.equal(detections.labels[image][is_detection], expected["labels"])
        scores, corners = detections.scores[image][is_detection], detections.boxes[image][is_detection]
        torch.testing.assert_close(scores, expected["scores"], rtol=0, atol=1e-6)
        torch.testing.assert_close(corners, expected["boxes"], rtol=1e-5, atol=1e-3)
