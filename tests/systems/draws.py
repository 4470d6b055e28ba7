"""What the published systems have drawn for their denoising queries, under the names of our draws."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deta.structures import Targets

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


def recorded_draws(case: "ReferenceCase", targets: Targets) -> dict[str, Tensor]:
    """By name; a case without denoising queries has none."""
    if "dn_label_p" in case.inputs:
        return _contrastive_draws(case, targets, int(case.outputs["num_dn_group"]))
    return _draws(case, targets, case.config["scalar"]) if "draw_label_rand" in case.inputs else {}


def _draws(case: "ReferenceCase", targets: Targets, groups: int) -> dict[str, Tensor]:
    chance = case.inputs["draw_label_rand"]
    is_drawn = chance < case.config["label_noise_scale"]
    drawn = torch.zeros_like(chance)
    drawn[is_drawn] = (case.inputs["draw_new_labels"] + 0.5) / case.config["num_classes"]
    flat = {"relabelled": chance, "label": drawn, "box": case.inputs["draw_box_rand"]}
    return {name: _spread(values, targets, groups) for name, values in flat.items()}


def _contrastive_draws(case: "ReferenceCase", targets: Targets, groups: int) -> dict[str, Tensor]:
    flat = {
        "relabelled": case.inputs["dn_label_p"],
        "label": (case.inputs["dn_label_new"] + 0.5) / case.config["num_classes"],
        "sign": 0.5 + 0.25 * case.inputs["dn_box_sign"],
        "box": case.inputs["dn_box_part"],
    }
    return {name: _spread(values, targets, 2 * groups) for name, values in flat.items()}


def _spread(values: Tensor, targets: Targets, repetitions: int) -> Tensor:
    """``[B, R, T, ...]`` of numbers by repetition, image and object, one after the other."""
    most = targets.most_objects
    is_object = targets.is_object[:, :most]
    table = values.new_zeros(repetitions, len(is_object), most, *values.shape[1:], dtype=torch.float32)
    table[is_object.expand(repetitions, -1, -1)] = values.float()
    return table.transpose(0, 1).contiguous()
