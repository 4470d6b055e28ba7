"""Swin Transformer for detection: any image size, fixed windows, one norm per returned map.

Layout of tensors inside: ``[B, H, W, C]``. Parameter names are those of the detection releases, so their
checkpoints fit. Maps are padded before they are shifted (timm shifts first), which decides what the last
windows of a map see when its size is no multiple of the window. Source: arXiv:2103.14030.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from deta.models.backbones.backbone import Backbone, freeze_parameters
from deta.models.region import Region
from deta.models.weights import load_strictly, read_state_dict
from deta.utils.checks import require_bool, require_int, require_number

PATCH = 4
"""Pixels per cell of the first stage."""


class SwinBackbone(Backbone):
    """Swin Transformer; the defaults are Swin-L of the DETA release.

    Args:
        embed_dim: Channels of the first stage; doubled by every further stage.
        depths: Blocks of every stage.
        num_heads: Heads of every stage.
        window_size: Side of a window in cells; every second block shifts by half of it.
        out_indices: Stages to return, ascending from 0.
        drop_path_rate: Probability of skipping the last block in training, rising linearly from 0; 0..1.
        weights: File of a detection or classification Swin, or None for a random start. A classification file
            lacks the norms of the returned maps; these start as identity.
        frozen: Prefixes of parameter names that are not trained.
        checkpoint: Recompute every block in the backward pass instead of storing it.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 192,
        depths: Sequence[int] = (2, 2, 18, 2),
        num_heads: Sequence[int] = (6, 12, 24, 48),
        window_size: int = 12,
        out_indices: Sequence[int] = (1, 2, 3),
        drop_path_rate: float = 0.2,
        weights: str | None = None,
        frozen: Sequence[str] = (),
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        require_int("backbone.embed_dim", embed_dim, low=1)
        require_int("backbone.window_size", window_size, low=2)
        require_number("backbone.drop_path_rate", drop_path_rate, low=0, high=1)
        stages = sorted(require_int("backbone.out_indices", index, low=0) for index in out_indices)
        if len(depths) != len(num_heads) or not stages or stages[-1] >= len(depths):
            raise ValueError(
                "depths and num_heads must have one entry per stage, and out_indices must name existing stages, "
                f"got {list(depths)}, {list(num_heads)}, {list(out_indices)}"
            )
        self.body = Swin(
            embed_dim,
            depths,
            num_heads,
            window_size,
            stages,
            drop_path_rate,
            require_bool("checkpoint", checkpoint),
        )
        if weights is not None:
            _load(self.body, weights)
        freeze_parameters(self.body, frozen)
        self.channels = tuple(embed_dim * 2**stage for stage in stages)
        self.strides = tuple(PATCH * 2**stage for stage in stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        """``[B, C, h, w]`` of every stage that is asked for, finest first, normalised."""
        maps: list[Tensor] = self.body(images)
        return maps


class Swin(nn.Module):
    """The stages, and a norm ``norm<stage>`` for every returned map."""

    def __init__(
        self,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_size: int,
        out_indices: Sequence[int],
        drop_path_rate: float,
        use_checkpoint: bool,
    ) -> None:
        super().__init__()
        self.out_indices = tuple(out_indices)
        self.use_checkpoint = use_checkpoint
        self.patch_embed = PatchEmbed(embed_dim)
        last = max(sum(depths) - 1, 1)
        rates = [drop_path_rate * block / last for block in range(sum(depths))]
        stages, start = [], 0
        for stage, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            has_next = stage + 1 < len(depths)
            stages.append(Stage(embed_dim * 2**stage, heads, window_size, rates[start : start + depth], has_next))
            start += depth
        self.layers = nn.ModuleList(stages)
        for stage in self.out_indices:
            self.add_module(f"norm{stage}", nn.LayerNorm(embed_dim * 2**stage))
        self.apply(_initialise)

    def forward(self, images: Tensor) -> list[Tensor]:
        """``[B, C, h, w]`` of every returned stage."""
        cells = self.patch_embed(images)
        maps = []
        for index, stage in enumerate(self.layers):
            cells, following = stage(cells, self.use_checkpoint and self.training)
            if index in self.out_indices:
                maps.append(self.get_submodule(f"norm{index}")(cells).permute(0, 3, 1, 2).contiguous())
            cells = following
        return maps


class PatchEmbed(nn.Module):
    """Patches of 4x4 pixels to cells; the image is padded with zeros to whole patches."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, images: Tensor) -> Tensor:
        """``[B, 3, H, W]`` to ``[B, H/4, W/4, C]``, rounded up."""
        height, width = images.shape[-2:]
        images = functional.pad(images, (0, -width % PATCH, 0, -height % PATCH))
        cells: Tensor = self.norm(self.proj(images).permute(0, 2, 3, 1))  # [B, h, w, C]
        return cells


class Stage(nn.Module):
    """Blocks at one resolution, plain and shifted windows in turn, and the way to the next stage."""

    def __init__(self, dim: int, num_heads: int, window: int, drop_rates: Sequence[float], has_next: bool) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(
            Block(dim, num_heads, window, 0 if index % 2 == 0 else window // 2, rate)
            for index, rate in enumerate(drop_rates)
        )
        self.downsample = PatchMerging(dim) if has_next else None

    def forward(self, cells: Tensor, use_checkpoint: bool) -> tuple[Tensor, Tensor]:
        """``[B, H, W, C]`` of this stage, and what the next stage starts from."""
        mask = shifted_window_mask(cells.shape[1], cells.shape[2], self.window, cells.device)
        for block in self.blocks:
            cells = checkpoint(block, cells, mask, use_reentrant=False) if use_checkpoint else block(cells, mask)
        return cells, cells if self.downsample is None else self.downsample(cells)


class Block(Region):
    """Attention inside windows, then a perceptron, each with a norm before it and a residual connection."""

    def __init__(self, dim: int, num_heads: int, window: int, shift: int, drop_rate: float) -> None:
        super().__init__()
        self.window = window
        self.shift = shift
        self.drop_rate = drop_rate
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Perceptron(dim)

    def forward(self, cells: Tensor, mask: Tensor) -> Tensor:
        """``[B, H, W, C]`` to the same shape; ``mask`` serves the shifted windows."""
        cells = cells + self._drop(self._attend(self.norm1(cells), mask))
        return cells + self._drop(self.mlp(self.norm2(cells)))

    def _attend(self, cells: Tensor, mask: Tensor) -> Tensor:
        height, width = cells.shape[1:3]
        cells = functional.pad(cells, (0, 0, 0, -width % self.window, 0, -height % self.window))
        padded = cells.shape
        if self.shift:
            cells = cells.roll((-self.shift, -self.shift), dims=(1, 2))
        windows = self.attn(split_windows(cells, self.window), mask if self.shift else None)
        cells = join_windows(windows, self.window, padded)
        if self.shift:
            cells = cells.roll((self.shift, self.shift), dims=(1, 2))
        return cells[:, :height, :width]

    def _drop(self, change: Tensor) -> Tensor:
        """Stochastic depth, per image (arXiv:1603.09382)."""
        if not self.training or self.drop_rate == 0.0:
            return change
        keep = 1 - self.drop_rate
        drawn = torch.rand(len(change), 1, 1, 1, dtype=change.dtype, device=change.device) < keep
        return change * drawn / keep


class WindowAttention(nn.Module):
    """Multi-head attention with a learned bias for every displacement inside a window."""

    relative_position_index: Tensor

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, num_heads))
        self.register_buffer("relative_position_index", _displacements(window))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """Attend inside ``[B, W, N, C]`` windows; ``mask`` is ``[W, N, N]``, added to the attention."""
        num_images, num_windows, size, dim = windows.shape
        qkv = self.qkv(windows).view(num_images, num_windows, size, 3, self.num_heads, -1)  # [B, W, N, 3, H, C_h]
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5)  # each [B, W, H, N, C_h]
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)  # [H, N, N]
        bias = (
            bias[None] if mask is None else (bias + mask[:, None]).repeat(num_images, 1, 1, 1)
        )  # [B * W or 1, H, N, N]
        attended = functional.scaled_dot_product_attention(
            query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), attn_mask=bias.to(query.dtype)
        )
        output: Tensor = self.proj(attended.transpose(1, 2).reshape(num_images, num_windows, size, dim))
        return output


class Perceptron(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, cells: Tensor) -> Tensor:
        """Same shape."""
        output: Tensor = self.fc2(functional.gelu(self.fc1(cells)))
        return output


class PatchMerging(nn.Module):
    """2x2 cells to one with twice the channels; odd sizes are padded with zeros."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, cells: Tensor) -> Tensor:
        """``[B, H, W, C]`` to ``[B, H/2, W/2, 2C]``, rounded up."""
        height, width = cells.shape[1:3]
        cells = functional.pad(cells, (0, 0, 0, width % 2, 0, height % 2))
        corners = [cells[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        merged: Tensor = self.reduction(self.norm(torch.cat(corners, dim=-1)))
        return merged


def split_windows(cells: Tensor, window: int) -> Tensor:
    """``[B, H, W, C]`` to ``[B, (H/window) * (W/window), window * window, C]``."""
    num_images, height, width, dim = cells.shape
    cells = cells.view(num_images, height // window, window, width // window, window, dim)  # [B, h, n, w, n, C]
    return cells.transpose(2, 3).reshape(num_images, -1, window * window, dim)  # [B, W, N, C]


def join_windows(windows: Tensor, window: int, shape: Sequence[int]) -> Tensor:
    """The inverse of ``split_windows`` for cells of ``shape``."""
    num_images, height, width, dim = shape
    windows = windows.view(num_images, height // window, width // window, window, window, dim)  # [B, h, w, n, n, C]
    return windows.transpose(2, 3).reshape(num_images, height, width, dim)  # [B, H, W, C]


def shifted_window_mask(height: int, width: int, window: int, device: torch.device) -> Tensor:
    """Keeps cells apart that the cyclic shift brought into one window from opposite borders.

    Args:
        height: Rows of the map before padding.
        width: Columns of the map before padding.
        window: Side of a window.
        device: Where to make it.

    Returns:
        ``[W, N, N]`` float32: 0 where two cells may see each other, -100 elsewhere.
    """
    regions = [_regions(size, window, device) for size in (height, width)]
    region = regions[0][:, None] * 3 + regions[1][None]  # [H, W]
    ids = split_windows(region[None, :, :, None], window)[0, :, :, 0]  # [W, N]
    return (ids[:, :, None] != ids[:, None]).float() * -100.0  # [W, N, N]


def _regions(size: int, window: int, device: torch.device) -> Tensor:
    """0, 1 or 2 per padded coordinate: before the last window, its first part, the part that wraps around."""
    padded = size + -size % window
    coordinate = torch.arange(padded, device=device)
    return (coordinate >= padded - window).long() + (coordinate >= padded - window // 2).long()


def _displacements(window: int) -> Tensor:
    """``[N, N]`` row of the bias table for every pair of cells of a window."""
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()  # [N]
    row_steps = rows[:, None] - rows[None] + window - 1  # [N, N]
    column_steps = columns[:, None] - columns[None] + window - 1  # [N, N]
    return row_steps * (2 * window - 1) + column_steps


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _load(body: Swin, path: str) -> None:
    """Load a file; what only classification has is left out, and the norms it lacks are kept."""
    state = read_state_dict(path)
    own = body.state_dict()
    out_norms = {name for name in own if name.startswith("norm")}
    classifier = {name for name in state if name.startswith(("head.", "norm.")) or name.endswith("attn_mask")}
    may_be_missing = out_norms if not out_norms & set(state) else set()
    load_strictly(body, state, path, may_be_missing=may_be_missing, may_be_unused=classifier)
