"""What encoder and decoder layers share: the residual connection, the feed-forward block, the perceptron."""

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

from deta.utils.checks import require_choice, require_int, require_number

ACTIVATIONS = ("relu", "prelu")


class FeedForward(nn.Module):
    """Two linear layers, residual connection and a norm.

    Args:
        hidden_dim: Channels of the tokens.
        ffn_dim: Channels between the linear layers.
        dropout: Probability of dropping, 0..1, inside and after the block.
        activation: ``relu``, or ``prelu`` with one learned slope (arXiv:2201.12329, release).
        pre_norm: Whether the norm stands before the block, else after the sum.
    """

    def __init__(
        self, *, hidden_dim: int, ffn_dim: int, dropout: float, activation: str = "relu", pre_norm: bool = False
    ) -> None:
        super().__init__()
        require_int("ffn_dim", ffn_dim, low=1)
        require_number("dropout", dropout, low=0, high=1)
        require_choice("activation", activation, ACTIVATIONS)
        self.pre_norm = pre_norm
        self.linear1 = nn.Linear(hidden_dim, ffn_dim)
        self.linear2 = nn.Linear(ffn_dim, hidden_dim)
        self.norm = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.activation = nn.ReLU() if activation == "relu" else nn.PReLU()

    def forward(self, tokens: Tensor) -> Tensor:
        """``[B, N, D]`` to the same shape."""
        return add_change(tokens, self._change, self.norm, self.dropout, pre_norm=self.pre_norm)

    def _change(self, tokens: Tensor) -> Tensor:
        output: Tensor = self.linear2(self.dropout(self.activation(self.linear1(tokens))))
        return output


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        widths: Channels of the input and behind every layer.
        last: A further layer.
    """

    def __init__(self, *widths: int, last: nn.Module | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(inside, outside) for inside, outside in pairwise(widths)]
        self.layers = nn.ModuleList(layers if last is None else [*layers, last])

    def forward(self, tokens: Tensor) -> Tensor:
        """``[..., D']`` of ``[..., D]``."""
        *hidden, last = self.layers
        for layer in hidden:
            tokens = layer(tokens).relu()
        output: Tensor = last(tokens)
        return output


def add_change(
    tokens: Tensor, change: Callable[[Tensor], Tensor], norm: nn.Module, dropout: nn.Module, *, pre_norm: bool
) -> Tensor:
    """Residual connection around ``change``, with ``norm`` before it or after the sum."""
    changed: Tensor = dropout(change(norm(tokens) if pre_norm else tokens))
    output: Tensor = tokens + changed if pre_norm else norm(tokens + changed)
    return output


def xavier_uniform_matrices(*modules: nn.Module) -> None:
    """Draw every weight matrix of ``modules`` from the Xavier-uniform distribution; vectors stay."""
    for module in modules:
        for parameter in module.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)


def require_heads(hidden_dim: int, num_heads: int) -> None:
    """Refuse a number of heads that does not divide the channels.

    Raises:
        ValueError: It does not.
    """
    require_int("num_heads", num_heads, low=1)
    if hidden_dim % num_heads:
        raise ValueError(f"hidden_dim must be a multiple of num_heads, got {hidden_dim} and {num_heads}")
