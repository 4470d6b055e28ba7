"""The feed-forward block of encoder and decoder layers."""

from torch import Tensor, nn

from deta.utils.checks import require_int, require_number


class FeedForward(nn.Module):
    """Two linear layers with ReLU, residual connection and a norm after it.

    Args:
        hidden_dim: Channels of the tokens.
        ffn_dim: Channels between the linear layers.
        dropout: Probability of dropping, 0..1, inside and after the block.
    """

    def __init__(self, *, hidden_dim: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        require_int("ffn_dim", ffn_dim, low=1)
        require_number("dropout", dropout, low=0, high=1)
        self.linear1 = nn.Linear(hidden_dim, ffn_dim)
        self.linear2 = nn.Linear(ffn_dim, hidden_dim)
        self.norm = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """``[B, N, D]`` to the same shape."""
        change = self.linear2(self.dropout(self.linear1(tokens).relu()))
        output: Tensor = self.norm(tokens + self.dropout(change))
        return output


def xavier_uniform_matrices(module: nn.Module) -> None:
    """Draw every weight matrix of ``module`` from the Xavier-uniform distribution; vectors stay."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
