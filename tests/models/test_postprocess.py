"""Final detections."""

import pytest
import torch

from deta.models.postprocess import NMS, OnePerQuery, TopK, scored_as
from deta.structures import Prediction, SigmoidScore, SoftmaxScore

SIZES = torch.tensor([[100, 200]])  # height, width


def prediction(boxes: list[list[float]], scores: list[list[float]]) -> Prediction:
    tensor = torch.tensor([boxes])
    return Prediction(torch.tensor([scores]).logit(), tensor, tensor)


def test_boxes_become_corners_in_pixels_of_the_original_image() -> None:
    detections = TopK()(prediction([[0.5, 0.5, 0.2, 0.4]], [[0.9]]), SIZES)
    torch.testing.assert_close(detections.boxes, torch.tensor([[[80.0, 30.0, 120.0, 70.0]]]))


def test_query_appears_once_for_every_class_that_is_good_enough() -> None:
    scores = [[0.9, 0.6], [0.2, 0.7]]
    detections = TopK(max_detections=3)(prediction([[0.2, 0.5, 0.2, 0.4], [0.8, 0.5, 0.2, 0.4]], scores), SIZES)
    assert detections.labels.tolist() == [[0, 1, 1]]
    torch.testing.assert_close(detections.scores, torch.tensor([[0.9, 0.7, 0.6]]))
    assert detections.boxes[0, :, 0].tolist() == pytest.approx([20.0, 140.0, 20.0])
    assert detections.is_detection.all()


def test_duplicates_of_a_class_go_and_those_of_other_classes_stay() -> None:
    same = [[0.5, 0.5, 0.2, 0.4]] * 2
    detections = NMS()(prediction(same, [[0.9, 0.1], [0.8, 0.3]]), SIZES)
    assert detections.is_detection.tolist() == [[True, True, False, False]]
    assert detections.labels.tolist() == [[0, 1, 0, 0]]
    torch.testing.assert_close(detections.scores, torch.tensor([[0.9, 0.3, 0.0, 0.0]]))
    assert detections.boxes[0, 2:].eq(0).all()


def test_most_detections_are_the_best_survivors() -> None:
    boxes = [[x, 0.5, 0.05, 0.1] for x in (0.1, 0.3, 0.5, 0.5)]
    detections = NMS(max_detections=2)(prediction(boxes, [[0.1], [0.3], [0.8], [0.9]]), SIZES)
    torch.testing.assert_close(detections.scores, torch.tensor([[0.9, 0.3]]))


def test_pairs_beyond_the_limit_do_not_enter_suppression() -> None:
    boxes = [[0.5, 0.5, 0.2, 0.4], [0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]]
    detections = NMS(pre_topk=2)(prediction(boxes, [[0.9], [0.8], [0.7]]), SIZES)
    assert detections.is_detection.tolist() == [[True, False]]


def test_detections_carry_no_gradient() -> None:
    trained = prediction([[0.5, 0.5, 0.2, 0.4]], [[0.9]]).map(lambda tensor: tensor.requires_grad_())
    detections = NMS()(trained, SIZES)
    assert not detections.scores.requires_grad
    assert not detections.boxes.requires_grad


def test_a_query_gives_its_best_class_alone_and_the_best_queries_come_first() -> None:
    scores = [[0.3, 0.6], [0.9, 0.8], [0.2, 0.1]]
    boxes = [[0.2, 0.5, 0.2, 0.4], [0.8, 0.5, 0.2, 0.4], [0.5, 0.5, 0.2, 0.4]]
    detections = OnePerQuery(max_detections=2)(prediction(boxes, scores), SIZES)
    assert detections.labels.tolist() == [[0, 1]]
    torch.testing.assert_close(detections.scores, torch.tensor([[0.9, 0.6]]))
    assert detections.boxes[0, :, 0].tolist() == pytest.approx([140.0, 20.0])
    assert OnePerQuery()(prediction(boxes, scores), SIZES).is_detection.shape == (1, 3)


@pytest.mark.parametrize("selection", [TopK, NMS, OnePerQuery])
def test_no_selection_detects_the_background(selection: type[TopK | NMS | OnePerQuery]) -> None:
    boxes = torch.tensor([[[0.2, 0.5, 0.2, 0.4], [0.8, 0.5, 0.2, 0.4]]])
    part = Prediction(torch.tensor([[[0.0, 1.0, 5.0], [2.0, 1.0, 5.0]]]), boxes, boxes)
    detections = selection(score=SoftmaxScore())(part, SIZES)
    assert set(detections.labels.flatten().tolist()) <= {0, 1}
    probability = part.logits.softmax(-1)[..., :-1]
    torch.testing.assert_close(detections.scores[0, 0], probability.max())


def test_a_further_selection_takes_the_score_of_the_training_unless_it_has_its_own() -> None:
    trained = OnePerQuery(score=SoftmaxScore())
    further, own = scored_as(NMS(), trained), scored_as(TopK(score=SigmoidScore()), trained)
    assert isinstance(further, NMS)
    assert further.score == SoftmaxScore()
    assert isinstance(own, TopK)
    assert own.score == SigmoidScore()
    assert scored_as(NMS(), TopK()).score == SigmoidScore()  # type: ignore[attr-defined]


def test_what_is_no_score_is_refused() -> None:
    with pytest.raises(ValueError, match="score must be something to call"):
        TopK(score="softmax")  # type: ignore[arg-type]


def test_bad_threshold_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="iou_threshold"):
        NMS(iou_threshold=-0.1)


def test_a_class_has_its_own_box_and_what_does_not_exist_is_not_detected() -> None:
    boxes = torch.tensor([[[[0.2, 0.5, 0.2, 0.4], [0.8, 0.5, 0.2, 0.4]], [[0.5, 0.5, 0.2, 0.4]] * 2]])  # [1, 2, 2, 4]
    table = torch.tensor([[[0.9, 0.6], [0.95, 0.7]]]).logit()
    stage = Prediction(table, boxes, boxes[:, :, 0], exists=torch.tensor([[True, False]]))
    for selection in (TopK(), NMS(), OnePerQuery()):
        found = selection(stage, SIZES)
        count = 1 if isinstance(selection, OnePerQuery) else 2
        assert found.is_detection.tolist() == [[True] * count + [False] * (found.boxes.shape[1] - count)]
        assert found.boxes[0, :count, 0].tolist() == pytest.approx([20.0, 140.0][:count])
        assert found.labels[0, :count].tolist() == [0, 1][:count]
        assert (found.scores >= 0).all()


def test_a_threshold_and_a_least_side_leave_pairs_out() -> None:
    boxes = [[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1], [1.05, 0.5, 0.1001, 0.4]]
    stage = prediction(boxes, [[0.9], [0.05], [0.8]])
    found = NMS(threshold=0.05, least_side=0.02)(stage, SIZES)
    assert found.is_detection.tolist() == [[True, False, False]]
    found = NMS(threshold=0.04, least_side=0.0)(stage, SIZES)
    assert found.is_detection.tolist() == [[True, True, True]]
    assert found.boxes[0, 1, 2].item() == 200  # limited to the image
