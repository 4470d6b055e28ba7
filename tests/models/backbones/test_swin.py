"""Swin Transformer for detection."""

from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor

from deta.models import SwinBackbone
from deta.models.backbones.swin import Block, join_windows, shifted_window_mask, split_windows

TINY: dict[str, Any] = {
    "embed_dim": 12,
    "depths": (2, 2),
    "num_heads": (2, 3),
    "window_size": 4,
    "out_indices": (0, 1),
}


def tiny(**options: Any) -> SwinBackbone:  # noqa: ANN401 - passed on
    torch.manual_seed(0)
    backbone = SwinBackbone(**{**TINY, **options})
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.normal_(std=0.2)
    return backbone


def test_maps_equal_those_of_timm_where_all_sizes_fit_the_windows() -> None:
    backbone = tiny().eval()
    other = SwinTransformer(img_size=64, window_size=4, embed_dim=12, depths=(2, 2), num_heads=(2, 3), num_classes=0)
    state = {}
    for name, tensor in backbone.body.state_dict().items():
        if name.startswith("norm"):
            continue
        state[name.replace("layers.0.downsample", "layers.1.downsample")] = tensor
    state |= {f"norm.{part}": backbone.body.state_dict()[f"norm1.{part}"] for part in ("weight", "bias")}
    state = {name: tensor for name, tensor in state.items() if "relative_position_index" not in name}
    other.load_state_dict(state)
    images = torch.randn(2, 3, 64, 64)
    expected = other.eval().forward_features(images).permute(0, 3, 1, 2)
    torch.testing.assert_close(backbone(images)[1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(37, 50), (8, 9), (1, 1), (100, 63)])
def test_any_image_size_works_and_maps_are_rounded_up(height: int, width: int) -> None:
    maps = tiny().eval()(torch.randn(1, 3, height, width))
    cells = (-(-height // 4), -(-width // 4))
    assert tuple(maps[0].shape) == (1, 12, *cells)
    assert tuple(maps[1].shape) == (1, 24, -(-cells[0] // 2), -(-cells[1] // 2))


def test_cells_see_each_other_exactly_when_the_shift_did_not_bring_them_together() -> None:
    height, width, window, shift = 10, 7, 4, 2
    rows, columns = torch.meshgrid(torch.arange(12), torch.arange(8), indexing="ij")  # padded to windows
    original = torch.stack((rows, columns), dim=-1)[None].roll((-shift, -shift), dims=(1, 2))
    cells = split_windows(original, window)[0]  # [W, N, 2] coordinates before the shift
    distance = (cells[:, :, None] - cells[:, None]).abs().amax(-1)
    expected = torch.where(distance < window, 0.0, -100.0)
    assert torch.equal(shifted_window_mask(height, width, window, torch.device("cpu")), expected)


def test_shifted_block_pads_before_it_shifts() -> None:
    """Attention cell by cell: who shares a window is decided on the padded map."""
    torch.manual_seed(0)
    height, width, window, shift = 5, 6, 4, 2
    block = Block(8, 2, window, shift, 0.0).eval()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    cells = torch.randn(1, height, width, 8)
    found = block._attend(cells, shifted_window_mask(height, width, window, cells.device))
    torch.testing.assert_close(found[0], slow_attention(block, cells[0], window, shift), rtol=1e-4, atol=1e-5)


def slow_attention(block: Block, cells: Tensor, window: int, shift: int) -> Tensor:
    height, width, dim = cells.shape
    padded = torch.zeros(8, 8, dim)
    padded[:height, :width] = cells
    attention = block.attn
    query, key, value = attention.qkv(padded).view(8, 8, 3, 2, dim // 2).unbind(2)
    output = torch.zeros(height, width, dim)
    for row in range(height):
        for column in range(width):
            # Windows are cut at shift, shift + window, ...; the remainders at both borders stay apart.
            rows = [r for r in range(8) if (r - shift) // window == (row - shift) // window]
            columns = [c for c in range(8) if (c - shift) // window == (column - shift) // window]
            pairs = [(r, c) for r in rows for c in columns]
            heads = []
            for head in range(2):
                logits = torch.stack(
                    [
                        query[row, column, head] @ key[r, c, head] / (dim // 2) ** 0.5
                        + attention.relative_position_bias_table[(row - r + 3) * 7 + column - c + 3, head]
                        for r, c in pairs
                    ]
                )
                values = torch.stack([value[r, c, head] for r, c in pairs])
                heads.append(logits.softmax(0) @ values)
            output[row, column] = attention.proj(torch.cat(heads))
    return output


def test_windows_join_to_what_was_split() -> None:
    cells = torch.randn(2, 8, 12, 5)
    assert torch.equal(join_windows(split_windows(cells, 4), 4, cells.shape), cells)


def test_recomputing_changes_neither_output_nor_gradient() -> None:
    images = torch.randn(1, 3, 40, 36)
    plain, recomputed = tiny(drop_path_rate=0.0).train(), tiny(drop_path_rate=0.0, checkpoint=True).train()
    for backbone in (plain, recomputed):
        backbone(images)[1].square().sum().backward()
    for first, second in zip(plain.parameters(), recomputed.parameters(), strict=True):
        assert (first.grad is None) == (second.grad is None)
        if first.grad is not None:
            torch.testing.assert_close(first.grad, second.grad)


def test_blocks_are_skipped_in_training_alone() -> None:
    backbone, images = tiny(drop_path_rate=0.9), torch.randn(1, 3, 32, 32)
    assert torch.equal(backbone.eval()(images)[1], backbone(images)[1])
    torch.manual_seed(0)
    backbone.train()
    assert not torch.equal(backbone(images)[1], backbone(images)[1])


def test_classification_file_fits_except_for_the_norms_it_lacks(tmp_path: Path) -> None:
    source = tiny()
    state = {name: tensor for name, tensor in source.body.state_dict().items() if not name.startswith("norm")}
    state |= {"norm.weight": torch.zeros(24), "head.weight": torch.zeros(10, 24)}
    state |= {"layers.0.blocks.1.attn_mask": torch.zeros(4, 16, 16)}
    torch.save({"model": state}, tmp_path / "swin.pth")
    loaded = SwinBackbone(**TINY, weights=str(tmp_path / "swin.pth"))
    assert torch.equal(loaded.body.get_parameter("patch_embed.proj.weight"), state["patch_embed.proj.weight"])
    assert loaded.body.get_parameter("norm1.weight").eq(1).all()


def test_file_of_another_size_is_refused(tmp_path: Path) -> None:
    torch.save(tiny().body.state_dict(), tmp_path / "swin.pth")
    with pytest.raises(ValueError, match=r"swin\.pth.*wrong shape"):
        SwinBackbone(**{**TINY, "window_size": 6}, weights=str(tmp_path / "swin.pth"))


def test_stage_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="out_indices"):
        SwinBackbone(**{**TINY, "out_indices": (2,)})
