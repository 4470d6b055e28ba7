"""Embeddings of labels."""

import pytest
import torch

from deta.models import LabelEmbedding, LearnedBoxes, LearnedQueries


@pytest.mark.parametrize(("has_indicator", "width"), [(True, 7), (False, 8)])
def test_there_is_a_row_for_every_class_and_one_for_none(has_indicator: bool, width: int) -> None:
    labels = LabelEmbedding(num_classes=3, hidden_dim=8, has_indicator=has_indicator)
    assert labels.weight.shape == (4, width)
    content = labels(torch.tensor([[2, 0]]))
    assert torch.equal(content[..., :width], labels.weight[[2, 0]][None])
    assert torch.equal(labels.unlabelled()[:width], labels.weight[3])
    assert content.shape == (1, 2, 8)
    assert labels.unlabelled().shape == (8,)


def test_an_indicator_tells_queries_with_a_label_from_those_without() -> None:
    labels = LabelEmbedding(num_classes=3, hidden_dim=8, has_indicator=True)
    assert labels(torch.tensor([[2, 0]]))[..., -1].tolist() == [[1, 1]]
    assert labels.unlabelled()[-1] == 0
    assert labels.marked(torch.ones(5, 7), 0.0)[:, -1].tolist() == [0] * 5


def test_a_source_holds_its_labels_under_their_name() -> None:
    labels = LabelEmbedding(num_classes=3, hidden_dim=8)
    source = LearnedBoxes(hidden_dim=8, num_queries=2, labels=labels)
    assert source.labels is labels
    assert "labels.weight" in source.state_dict()


@pytest.mark.parametrize(
    "source",
    [LearnedBoxes(hidden_dim=8, num_queries=2), LearnedQueries(hidden_dim=8, num_queries=2)],
    ids=["without labels", "points"],
)
def test_a_source_that_cannot_encode_objects_says_what_to_change(source: LearnedBoxes) -> None:
    with pytest.raises(ValueError, match=r"denoising needs a source .* leave out model\.body\.groups\.denoise"):
        source.encode(torch.zeros(1, 1, dtype=torch.int64), torch.full((1, 1, 4), 0.5))
