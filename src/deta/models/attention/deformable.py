"""Multi-scale deformable attention with its projections."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deta.utils.checks import require_choice, require_int
from deta_kernels import BACKENDS, deformable_attention


class DeformableAttention(nn.Module):
    """Attention of every query to a few sampled points of each level.

    Source: arXiv:2010.04159, sec. 4.1, eq. 3; initialisation as in its appendix A.4.

    Args:
        hidden_dim: Channels of queries and tokens, a multiple of ``num_heads``.
        num_heads: Heads.
        num_levels: Feature levels.
        num_points: Sampling points of each head and level.

    Attributes:
        backend: Which implementation runs, see ``use_backend``.
    """

    def __init__(self, *, hidden_dim: int, num_heads: int, num_levels: int, num_points: int) -> None:
        super().__init__()
        self.hidden_dim = require_int("hidden_dim", hidden_dim, low=1)
        self.num_heads = require_int("num_heads", num_heads, low=1)
        self.num_levels = require_int("num_levels", num_levels, low=1)
        self.num_points = require_int("num_points", num_points, low=1)
        self.backend = "auto"
        if hidden_dim % num_heads:
            raise ValueError(f"hidden_dim must be a multiple of num_heads, got {hidden_dim} and {num_heads}")
        num_samples = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(hidden_dim, num_samples * 2)
        self.attention_weights = nn.Linear(hidden_dim, num_samples)
        self.value_proj = nn.Linear(hidden_dim, hidden_dim)
        self.output_proj = nn.Linear(hidden_dim, hidden_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Let head h look into direction h, point p in distance p + 1, all with equal weight."""
        angles = torch.arange(self.num_heads, dtype=torch.float32) * (2 * math.pi / self.num_heads)
        directions = torch.stack((angles.cos(), angles.sin()), dim=-1)  # [H, 2]
        directions = directions / directions.abs().amax(-1, keepdim=True)
        distances = torch.arange(1, self.num_points + 1).float()
        offsets = directions[:, None, None] * distances[:, None]  # [H, 1, P, 2]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, self.num_levels, -1, -1).flatten())  # [H * L * P * 2]
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(
        self,
        query: Tensor,
        references: Tensor,
        tokens: Tensor,
        spatial_shapes: Sequence[tuple[int, int]],
        is_padding: Tensor | None = None,
    ) -> Tensor:
        """Attend from ``query`` to ``tokens``.

        Args:
            query: ``[B, Q, D]`` content plus position.
            references: ``[B, Q, L, 2]`` points or ``[B, Q, L, 4]`` ``cxcywh`` boxes, in 0..1 of the padded
                levels.
            tokens: ``[B, S, D]``.
            spatial_shapes: ``(height, width)`` of every level.
            is_padding: ``[B, S]`` bool; these tokens count as zero.

        Returns:
            ``[B, Q, D]``.
        """
        num_images, num_queries, _ = query.shape
        value = self.value_proj(tokens)
        if is_padding is not None:
            value = value.masked_fill(is_padding[..., None], 0.0)
        value = value.view(num_images, -1, self.num_heads, self.hidden_dim // self.num_heads)  # [B, S, H, D_h]
        offsets = self.sampling_offsets(query).view(
            num_images, num_queries, self.num_heads, self.num_levels, self.num_points, 2
        )  # [B, Q, H, L, P, 2]
        logits = self.attention_weights(query).view(num_images, num_queries, self.num_heads, -1)  # [B, Q, H, L * P]
        output = deformable_attention(value, spatial_shapes, references, offsets, logits, backend=self.backend)
        projected: Tensor = self.output_proj(output.flatten(2))  # [B, Q, D]
        return projected


def use_backend(module: nn.Module, backend: str) -> None:
    """Choose the implementation of every deformable attention inside ``module``, to compare or to rule one out.

    Args:
        module: A detector or a part of it.
        backend: ``auto``, ``cpu``, ``triton`` or ``reference``, see ``deta_kernels.deformable_attention``.

    Raises:
        ValueError: There is no such backend.
    """
    require_choice("backend", backend, BACKENDS)
    for part in module.modules():
        if isinstance(part, DeformableAttention):
            part.backend = backend
