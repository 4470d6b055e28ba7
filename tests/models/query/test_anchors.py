"""Initial boxes."""

import torch

from deta.models.query.anchors import encoder_anchors
from tests.models.tiny import tokens


def test_boxes_double_from_level_to_level_around_the_cell_centres() -> None:
    memory = tokens([torch.zeros(1, 4, 4, dtype=torch.bool), torch.zeros(1, 2, 2, dtype=torch.bool)])
    anchors, is_valid = encoder_anchors(memory, scale=0.05, growth=2.0)
    assert is_valid.all()
    torch.testing.assert_close(anchors[0, 1], torch.tensor([0.375, 0.125, 0.05, 0.05]))
    torch.testing.assert_close(anchors[0, 16], torch.tensor([0.25, 0.25, 0.1, 0.1]))


def test_scale_and_growth_can_follow_the_paper_instead() -> None:
    masks = [torch.zeros(1, 2, 2, dtype=torch.bool) for _ in range(3)]
    anchors, _ = encoder_anchors(tokens(masks), scale=0.1, growth=0.5)
    torch.testing.assert_close(anchors[0, ::4, 2], torch.tensor([0.1, 0.05, 0.025]))


def test_cells_at_the_border_are_not_valid() -> None:
    memory = tokens([torch.zeros(1, 1, 64, dtype=torch.bool)])  # first centre at 0.0078, second at 0.0234
    anchors, is_valid = encoder_anchors(memory, scale=0.05, growth=2.0)
    assert is_valid[0].tolist() == [False] + [True] * 62 + [False]
    assert anchors[0, 0].tolist() == [1.0, 1.0, 1.0, 1.0]


def test_padding_is_not_valid() -> None:
    mask = torch.zeros(1, 2, 4, dtype=torch.bool)
    mask[:, :, 3] = True
    _, is_valid = encoder_anchors(tokens([mask]), scale=0.05, growth=2.0)
    assert is_valid[0].tolist() == [True, True, True, False] * 2


def test_boxes_larger_than_the_image_are_not_valid() -> None:
    masks = [torch.zeros(1, 2, 2, dtype=torch.bool) for _ in range(6)]
    _, is_valid = encoder_anchors(tokens(masks), scale=0.05, growth=2.0)  # 0.05 * 2**5 = 1.6
    assert is_valid[0, :20].all()
    assert not is_valid[0, 20:].any()
