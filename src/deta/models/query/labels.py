"""Class labels as the content of queries."""

from torch import Tensor, nn
from torch.nn import functional

from deta.utils.checks import require_bool, require_int


class LabelEmbedding(nn.Embedding):
    """A learned vector for every category, and one for queries without a label.

    Source: arXiv:2203.01305 (DN-DETR), sec. 4.3; arXiv:2203.03605 (DINO), whose vectors have no indicator.

    Args:
        num_classes: Categories.
        hidden_dim: Channels of a query.
        has_indicator: Whether the last channel says if a query has a label, 1 or 0, instead of being learned.
    """

    def __init__(self, *, num_classes: int, hidden_dim: int, has_indicator: bool = False) -> None:
        require_int("num_classes", num_classes, low=1)
        self.has_indicator = require_bool("has_indicator", has_indicator)
        super().__init__(num_classes + 1, hidden_dim - int(has_indicator))

    @property
    def num_classes(self) -> int:
        """Categories."""
        return self.num_embeddings - 1

    def forward(self, labels: Tensor) -> Tensor:
        """``[..., D]`` content of queries with the ``[...]`` int64 labels."""
        return self.marked(super().forward(labels), 1.0)

    def unlabelled(self) -> Tensor:
        """``[D]`` content of a query without a label."""
        return self.marked(self.weight[self.num_classes], 0.0)

    def marked(self, content: Tensor, indicator: float) -> Tensor:
        """``[..., D]`` of ``content`` with the indicator behind it, where there is one."""
        return functional.pad(content, (0, 1), value=indicator) if self.has_indicator else content
