"""Position embeddings and reference points against the reference implementation."""

from typing import TYPE_CHECKING

import pytest
import torch

from deta.models.position import (
    box_embedding,
    cell_centres,
    cell_grid,
    count_cells,
    encoder_references,
    map_embedding,
    valid_ratios,
    valid_size,
)

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


@pytest.mark.golden("sine")
def test_map_embedding_equals_reference(case: "ReferenceCase") -> None:
    mask = case.inputs["mask"]
    shape = (mask.shape[1], mask.shape[2])
    found = map_embedding(*count_cells(mask.flatten(1), [shape]), case.config["num_pos_feats"])
    torch.testing.assert_close(found.unflatten(1, shape).permute(0, 3, 1, 2), case.outputs["pos"], rtol=0, atol=2e-5)


@pytest.mark.golden("pos_embed")
def test_box_embedding_equals_reference(case: "ReferenceCase") -> None:
    found = box_embedding(case.inputs["proposals_logit"].sigmoid(), case.config["num_pos_feats"])
    torch.testing.assert_close(found.flatten(2), case.outputs["pos"], rtol=1e-5, atol=2e-5)


@pytest.mark.golden("ref_points")
def test_encoder_references_equal_reference(case: "ReferenceCase") -> None:
    masks = [case.inputs[f"mask_{level}"] for level in range(case.config["n_levels"])]
    sizes = torch.stack([valid_size(mask) for mask in masks], dim=1)
    grids = [cell_grid(mask.shape[1], mask.shape[2], mask.device) for mask in masks]
    ratios = valid_ratios(sizes, grids)
    found = encoder_references(cell_centres(grids, sizes), ratios)
    torch.testing.assert_close(ratios, case.outputs["valid_ratios"], rtol=0, atol=1e-6)
    torch.testing.assert_close(found, case.outputs["reference_points"], rtol=0, atol=1e-6)
