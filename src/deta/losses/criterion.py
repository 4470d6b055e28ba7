"""From predictions and ground truth to losses, through an assignment of every stage."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from deta.assign import Assigner, Job, assign_all, ignore_covered
from deta.losses.federated import penalised_classes
from deta.losses.terms import box_losses, classification_loss, num_pairs
from deta.structures import Candidates, DetectionOutput, LayerPrediction, Losses, Matches, Proposals, Targets
from deta.utils.checks import require_bool, require_choice, require_number

MAIN_GROUP = "main"


class Criterion:
    """Classification, L1 and GIoU losses of every decoder layer and of the first stage.

    Source: arXiv:2212.06137, sec. 3; arXiv:2010.04159, sec. A.4. The divisor of all sums is the number of
    objects, in one-to-many assignment too, as in the release.

    Args:
        layer_assigner: Rule of the decoder layers.
        proposal_assigner: Rule of the first stage, which sees every object as class 0; None where the
            detector has no first stage.
        class_weight: Weight of the focal loss, at least 0.
        l1_weight: Weight of the L1 loss, at least 0.
        giou_weight: Weight of the GIoU loss, at least 0.
        alpha: Weight of the positive label in the focal loss, 0..1.
        gamma: Focusing exponent of the focal loss, at least 0.
        rematch: ``once``: all layers use the assignment made with what the first one received; ``per_layer``:
            every layer is assigned by its own references and predictions.
        normalizer: Divisor of all sums: ``num_targets`` or ``num_positives`` (of the stage).
        ignore_coverage: Background boxes with at least this share inside a crowd area take no part in the
            classification loss, 0..1; None counts them as background, as the release does.
        federated: Whether only annotated, negative and sampled classes of an image count in the classification
            loss of the decoder layers, for data sets that look for some classes in each image alone (LVIS);
            see ``penalised_classes``. False counts every class, as the release does.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(
        self,
        *,
        layer_assigner: Assigner,
        proposal_assigner: Assigner | None = None,
        class_weight: float = 1.0,
        l1_weight: float = 5.0,
        giou_weight: float = 2.0,
        alpha: float = 0.25,
        gamma: float = 2.0,
        rematch: Literal["once", "per_layer"] = "once",
        normalizer: Literal["num_targets", "num_positives"] = "num_targets",
        ignore_coverage: float | None = 0.5,
        federated: bool = False,
    ) -> None:
        self.layer_assigner = layer_assigner
        self.proposal_assigner = proposal_assigner
        self.weights = {
            "class": require_number("class_weight", class_weight, low=0),
            "l1": require_number("l1_weight", l1_weight, low=0),
            "giou": require_number("giou_weight", giou_weight, low=0),
        }
        self.alpha = require_number("alpha", alpha, low=0, high=1)
        self.gamma = require_number("gamma", gamma, low=0)
        self.rematch = require_choice("rematch", rematch, ("once", "per_layer"))
        self.normalizer = require_choice("normalizer", normalizer, ("num_targets", "num_positives"))
        self.ignore_coverage = (
            None if ignore_coverage is None else require_number("ignore_coverage", ignore_coverage, low=0, high=1)
        )
        self.federated = require_bool("federated", federated)

    def __call__(
        self,
        output: DetectionOutput,
        targets: Targets,
        *,
        generator: torch.Generator | None = None,
        average: Callable[[Tensor], Tensor] | None = None,
    ) -> Losses:
        """Assign and measure.

        Args:
            output: Predictions of every stage.
            targets: Ground truth of the batch.
            generator: Randomness of the assigners, on the device of the predictions; None is the global one.
            average: Mean over ranks of a vector of divisors; None is a single rank.

        Raises:
            ValueError: The detector has a first stage and the criterion no ``proposal_assigner``, or the
                other way round; or the criterion is federated and the targets do not say what was looked for.
        """
        if self.federated and targets.federated is None:
            raise ValueError(
                "criterion.federated=true needs images with lists of classes that were looked for, such as those of "
                "data=lvis"
            )
        stages = self._stages(output)
        matches = self._assign(stages, targets, generator)
        divisors = self._divisors(matches, targets, average)
        terms: dict[str, Tensor] = {}
        for name, candidates in stages.items():
            for kind, value in self._terms(candidates, matches[name], _seen_by(name, targets)).items():
                terms[f"{name}/{kind}"] = value / divisors[name]
        total = torch.stack([self.weights[name.rpartition("/")[2]] * value for name, value in terms.items()]).sum()
        return Losses(total, terms, matches)

    def _stages(self, output: DetectionOutput) -> dict[str, Candidates]:
        if (output.proposals is None) != (self.proposal_assigner is None):
            found = "has no first stage" if output.proposals is None else "has a first stage"
            raise ValueError(f"the detector {found}, but proposal_assigner is {self.proposal_assigner!r}")
        return stage_candidates(output)

    def _assign(
        self, stages: Mapping[str, Candidates], targets: Targets, generator: torch.Generator | None
    ) -> dict[str, Matches]:
        leaders = {name: self._leader(name) for name in stages}
        jobs = {}
        for name in dict.fromkeys(leaders.values()):
            assigner = self.layer_assigner
            if name == "proposals":
                assert self.proposal_assigner is not None
                assigner = self.proposal_assigner
            jobs[name] = Job(assigner, stages[name].detach(), _seen_by(name, targets))
        made = dict(zip(jobs, assign_all(list(jobs.values()), generator), strict=True))
        if self.ignore_coverage is not None:
            made = {
                name: ignore_covered(matches, jobs[name].candidates, targets, self.ignore_coverage)
                for name, matches in made.items()
            }
        return {name: made[leader] for name, leader in leaders.items()}

    def _leader(self, name: str) -> str:
        """The stage whose assignment serves the stage ``name``."""
        group, _, stage = name.rpartition("/")
        if stage == "proposals" or self.rematch == "per_layer":
            return name
        return f"{group}/layer0" if group else "layer0"

    def _divisors(
        self, matches: Mapping[str, Matches], targets: Targets, average: Callable[[Tensor], Tensor] | None
    ) -> dict[str, Tensor]:
        if self.normalizer == "num_targets":
            counts = targets.num_objects().expand(len(matches))
        else:
            counts = torch.stack([num_pairs(stage) for stage in matches.values()])
        if average is not None:
            counts = average(counts)
        return dict(zip(matches, counts.clamp(min=1).unbind(), strict=True))

    def _terms(self, candidates: Candidates, matches: Matches, targets: Targets) -> dict[str, Tensor]:
        l1, giou = box_losses(candidates.boxes, matches, targets)
        is_counted = None
        if self.federated and targets.federated is not None:  # the first stage knows no classes
            is_counted = penalised_classes(targets, candidates.logits.shape[2])
        focal = classification_loss(
            candidates.logits, matches, targets, alpha=self.alpha, gamma=self.gamma, is_counted=is_counted
        )
        return {"class": focal, "l1": l1, "giou": giou}


def stage_candidates(output: DetectionOutput) -> dict[str, Candidates]:
    """The candidates of every stage; decoder layers of further query groups carry the group's name."""
    stages = {} if output.proposals is None else {"proposals": _proposal_candidates(output.proposals)}
    for group in output.groups:
        prefix = "" if group.name == MAIN_GROUP else f"{group.name}/"
        for index, layer in enumerate(output.group(group)):
            stages[f"{prefix}layer{index}"] = _layer_candidates(layer)
    return stages


def _seen_by(stage: str, targets: Targets) -> Targets:
    return targets.class_agnostic() if stage == "proposals" else targets


def _proposal_candidates(proposals: Proposals) -> Candidates:
    return Candidates(proposals.anchors, proposals.boxes, proposals.logits, proposals.is_valid)


def _layer_candidates(layer: LayerPrediction) -> Candidates:
    """Reference points have no overlap; in their place stand the boxes predicted from them."""
    references = layer.references if layer.references.shape[-1] == 4 else layer.boxes.detach()
    is_valid = torch.ones(layer.boxes.shape[:2], dtype=torch.bool, device=layer.boxes.device)
    return Candidates(references, layer.boxes, layer.logits, is_valid)
