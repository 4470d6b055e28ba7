"""Final detections against the published systems."""

from typing import TYPE_CHECKING, Any

import pytest
import torch

from deta.models.postprocess import OnePerQuery, ScoredSelection, TopK
from deta.structures import Prediction, SoftmaxScore
from tests.systems.rules import FAMILY

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


@pytest.mark.reference("postprocess", systems=FAMILY)
def test_detections_equal_the_reference(case: "ReferenceCase") -> None:
    boxes = case.inputs["pred_boxes"]
    selection = make_selection(case.config)
    detections = selection(Prediction(case.inputs["pred_logits"], boxes, boxes), case.inputs["target_sizes"])
    assert detections.is_detection.all()
    for image in range(len(boxes)):
        expected = {name: case.outputs[f"{name}_{image}"] for name in ("scores", "labels", "boxes")}
        if isinstance(selection, OnePerQuery):  # the reference keeps the order of the queries
            order = expected["scores"].argsort(descending=True, stable=True)
            expected = {name: values[order] for name, values in expected.items()}
        assert torch.equal(detections.labels[image], expected["labels"])
        torch.testing.assert_close(detections.scores[image], expected["scores"], rtol=0, atol=1e-6)
        torch.testing.assert_close(detections.boxes[image], expected["boxes"], rtol=1e-5, atol=1e-3)


def make_selection(config: dict[str, Any]) -> ScoredSelection:
    """The selection of a case."""
    count = next(config[name] for name in ("max_detections", "num_select", "topk") if name in config)
    if config.get("type") == "softmax_max":
        return OnePerQuery(max_detections=count, score=SoftmaxScore())
    return TopK(max_detections=count)
