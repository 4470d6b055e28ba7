"""Position embeddings and cell centres."""

import math

import torch

from deta.models.position import (
    box_embedding,
    cell_centres,
    cell_grid,
    count_cells,
    encoder_references,
    map_embedding,
    sine_embedding,
    valid_ratios,
    valid_size,
)


def test_embedding_interleaves_sine_and_cosine_of_falling_frequencies() -> None:
    found = sine_embedding(torch.tensor([2.0]), 4)
    expected = torch.tensor([math.sin(2), math.cos(2), math.sin(2 / 100), math.cos(2 / 100)])
    torch.testing.assert_close(found, expected)


def test_map_embedding_puts_the_row_before_the_column() -> None:
    found = _embedded(torch.zeros(1, 2, 4, dtype=torch.bool), 2)[0, 1, 2]
    row, column = 1.5 / 2 * 2 * math.pi, 2.5 / 4 * 2 * math.pi
    expected = torch.tensor([math.sin(row), math.cos(row), math.sin(column), math.cos(column)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_padding_does_not_move_the_embedding_of_the_image() -> None:
    is_padding = torch.ones(1, 6, 8, dtype=torch.bool)
    is_padding[:, :4, :5] = False
    alone = _embedded(torch.zeros(1, 4, 5, dtype=torch.bool), 16)
    torch.testing.assert_close(_embedded(is_padding, 16)[:, :4, :5], alone)


def test_box_embedding_treats_each_coordinate_alone() -> None:
    box = torch.tensor([0.1, 0.2, 0.3, 0.4])
    moved = torch.tensor([0.1, 0.2, 0.9, 0.4])
    differs = (box_embedding(box, 8) != box_embedding(moved, 8)).view(4, 8).any(1)
    assert differs.tolist() == [False, False, True, False]


def test_centres_are_relative_to_the_unpadded_image() -> None:
    sizes = torch.tensor([[[2.0, 1.0]]])  # two columns and one row of a 2x4 map hold the image
    centres = cell_centres([cell_grid(2, 4, sizes.device)], sizes)[0]
    assert centres[:4].tolist() == [[0.25, 0.5], [0.75, 0.5], [1.25, 0.5], [1.75, 0.5]]
    assert centres[4].tolist() == [0.25, 1.5]


def test_reference_of_a_cell_is_its_own_centre_in_its_own_padded_level() -> None:
    masks = [torch.ones(1, 4, 6, dtype=torch.bool), torch.ones(1, 2, 3, dtype=torch.bool)]
    masks[0][:, :3, :4] = False
    masks[1][:, :2, :2] = False
    sizes = torch.stack([valid_size(mask) for mask in masks], dim=1)
    grids = [cell_grid(height, width, sizes.device) for height, width in ((4, 6), (2, 3))]
    references = encoder_references(cell_centres(grids, sizes), valid_ratios(sizes, grids))
    assert references.shape == (1, 30, 2, 2)
    torch.testing.assert_close(references[0, 0, 0], torch.tensor([0.5 / 6, 0.5 / 4]))
    torch.testing.assert_close(references[0, 24, 1], torch.tensor([0.5 / 3, 0.5 / 2]))


def _embedded(is_padding: torch.Tensor, num_features: int) -> torch.Tensor:
    """``[B, H, W, 2 * F]`` embedding of one map."""
    shape = (is_padding.shape[1], is_padding.shape[2])
    counts, totals = count_cells(is_padding.flatten(1), [shape])
    embedded = map_embedding(counts, totals, num_features)
    return embedded.view(len(embedded), *shape, -1)  # [B, H, W, 2 * F]
