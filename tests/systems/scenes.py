"""Stages of the published systems, and their losses under the names of the references."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from deta.losses import cardinality_error, class_error
from deta.structures import BACKGROUND, IGNORED, DetectionOutput, Losses, Matches, Prediction, StageKey, Targets
from tests.golden.scenes import assert_pairs, case_targets

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase

TERMS = {"loss_ce": "class", "loss_bbox": "l1", "loss_giou": "giou"}
LOGS = ("loss_xy", "loss_hw")
"""Halves of the L1 loss, which the references log and do not train."""
Place = tuple[str, int]
"""Role and layer, or -1 where there is none."""


@dataclass(frozen=True)
class Scene:
    """A case in our types.

    Attributes:
        config: Of the case.
        leaves: Predictions under the names of the case.
        stages: The stages whose candidates lie in one array of the case, by its place.
        output: All of them.
        targets: The objects.
    """

    config: Mapping[str, Any]
    leaves: Mapping[str, Tensor]
    stages: Mapping[Place, tuple[StageKey, ...]]
    output: DetectionOutput
    targets: Targets

    @classmethod
    def of(cls, case: "ReferenceCase") -> "Scene":
        """All stages that the case has predictions of, and the denoising ones of its system without queries."""
        leaves = {name: part.clone().requires_grad_() for name, part in case.inputs.items() if "pred_" in name}
        num_layers = 1 + sum(name.startswith("aux") and name.endswith("logits") for name in leaves)
        copies = case.config.get("group_detr", 1) if case.config.get("mode") != "eval" else 1
        found: dict[StageKey, Prediction] = {}
        stages: dict[Place, tuple[StageKey, ...]] = {}
        targets = case_targets(case)
        for (role, layer), prediction in _predictions(leaves, num_layers).items():
            if role == "denoise":
                prediction = _denoising(case, prediction, targets)
            count = copies if role == "layers" else 1
            size = prediction.num_candidates // count
            keys = [_key(role, layer, copy) for copy in range(count)]
            found |= {key: prediction.slice(i * size, (i + 1) * size) for i, key in enumerate(keys)}
            stages[role, layer] = tuple(keys)
        return cls(case.config, leaves, stages, DetectionOutput(found, StageKey("layers", num_layers - 1)), targets)

    @classmethod
    def of_output(cls, case: "ReferenceCase", output: DetectionOutput, targets: Targets) -> "Scene":
        """All stages of a detector."""
        stages: dict[Place, tuple[StageKey, ...]] = {}
        for key in output.stages:
            role = "layers" if key.role == "copies" else key.role
            place = (role, -1 if key.layer is None else key.layer)
            stages[place] = (*stages.get(place, ()), key)
        return cls(case.config, {}, stages, output, targets)

    @property
    def num_layers(self) -> int:
        """Of the decoder."""
        return len({layer for role, layer in self.stages if role == "layers"})

    def logits(self, role: str, layer: int) -> Tensor:
        """Of all candidates, copies included."""
        return torch.cat([self.output.stages[key].logits for key in self.stages[role, layer]], dim=1)

    def matches(self, losses: Losses, role: str, layer: int) -> Matches:
        """Of all candidates, copies included."""
        parts = [losses.matches_of(key).classes.target for key in self.stages[role, layer]]
        return Matches(torch.cat(parts, dim=1))


def _predictions(leaves: Mapping[str, Tensor], num_layers: int) -> dict[Place, Prediction]:
    """By role and layer."""
    parts: dict[Place, Prediction] = {}
    for name, logits in leaves.items():
        prefix, _, kind = name.rpartition("pred_")
        if kind != "logits":
            continue
        boxes = leaves[f"{prefix}pred_boxes"]
        if logits.dim() == 4:  # all layers in one array
            parts |= {("denoise", layer): _prediction(logits[layer], boxes[layer]) for layer in range(len(logits))}
        else:
            parts[place_of(prefix.strip("_"), num_layers)] = _prediction(logits, boxes)
    return parts


def _prediction(logits: Tensor, boxes: Tensor) -> Prediction:
    return Prediction(logits, boxes, boxes.detach())


def _key(role: str, layer: int, copy: int) -> StageKey:
    """Copies beside the first are stages of their own."""
    place = None if layer < 0 else layer
    return StageKey(role, place) if copy == 0 else StageKey("copies", place, copy)


def place_of(name: str, num_layers: int) -> Place:
    """Role and layer of a name such as ``one2many_aux0``, ``0_one2many``, ``dn_0``, ``interm`` or nothing."""
    words = name.split("_")
    roles = {"dn": "denoise", "tgt": "denoise", "one2many": "many", "enc": "first", "interm": "first"}
    role = next((roles[word] for word in words if word in roles), "layers")
    numbers = [int(word.removeprefix("aux")) for word in words if word.removeprefix("aux").isdigit()]
    if role == "first":
        return role, -1
    return role, numbers[0] if numbers else num_layers - 1


def _denoising(case: "ReferenceCase", prediction: Prediction, targets: Targets) -> Prediction:
    """With the objects that queries were made for: group by group, positives before negatives."""
    num_images, num_slots = prediction.logits.shape[:2]
    if case.config.get("mode") == "eval":
        return replace(prediction.slice(0, 0), given=torch.zeros(num_images, 0, dtype=torch.int64))
    is_contrastive = case.config["system"] == "dino"
    most = targets.most_objects
    place = torch.arange(num_slots)
    target = place % most
    is_used = targets.is_object[:, target]
    if is_contrastive:
        is_used = is_used & (place % (2 * most) < most)
    given = torch.where(is_used, target, BACKGROUND if is_contrastive else IGNORED)
    return replace(prediction, given=given, exists=None if is_contrastive else is_used)


def assert_losses(case: "ReferenceCase", losses: Losses, scene: Scene) -> None:
    """Every loss, figure and assignment that the case has."""
    for name, expected in case.outputs.items():
        folder, _, key = name.partition("/")
        if folder == "loss" and not key.startswith(LOGS):
            assert_entry(key, expected, losses, scene)
        elif folder.startswith("pairs_"):
            matches = scene.matches(losses, *place_of(folder.removeprefix("pairs_"), scene.num_layers))
            assert_pairs(matches, expected, case.outputs[folder.replace("pairs_", "pair_counts_")])


def assert_entry(key: str, expected: Tensor, losses: Losses, scene: Scene) -> None:
    name = key.removeprefix("tgt_")
    term = next(name_of for name_of in (*TERMS, "class_error", "cardinality_error") if name.startswith(name_of))
    suffix = name.removeprefix(term).strip("_")
    role, layer = place_of(f"tgt_{suffix}" if key.startswith("tgt_") else suffix, scene.num_layers)
    keys = scene.stages.get((role, layer))
    if keys is None or losses.matches_of(keys[0]).classes.target.shape[1] == 0:
        assert expected == 0, f"{key} of no queries"
        return
    is_many = role == "many"
    if term in TERMS:
        found = losses.terms()[losses.names.index((keys[0], TERMS[term]))].detach()
    elif term == "class_error":
        found = class_error(scene.logits(role, layer), scene.matches(losses, role, layer), scene.targets)
    else:
        offered = scene.targets.repeat_objects(scene.config["k_one2many"] if is_many else 1)
        found = cardinality_error(scene.logits(role, layer), offered)
    factor = scene.config["lambda_one2many"] if is_many else 1.0
    torch.testing.assert_close(factor * found, expected, rtol=1e-5, atol=1e-6)
