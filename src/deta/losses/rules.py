"""What trains one kind of candidates: who answers for which object, and what is measured of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from deta.assign import Assigner
from deta.losses.terms import CrossEntropy, Sum, Term
from deta.structures import IGNORED, Matches, Targets
from deta.utils.checks import require_bool, require_callable, require_choice, require_int, require_number

NORMALIZERS = ("num_targets", "num_positives", "num_positives_each", "num_candidates", "quality", "images", "none")


@dataclass(frozen=True)
class Rule:
    """Assignment and losses of all stages with one role.

    Attributes:
        assigner: Which candidate answers for which object.
        class_terms: Losses that take the assignment of classes, by name.
        box_terms: Losses that take the assignment of boxes, by name; the names of both differ.
        box_assigner: Assignment for ``box_terms``; None takes that of classes.
        on: Role whose candidates the assigner sees, of which those of this role were made (``Prediction.source``);
            None is its own.
        pool: Role to whose stages the losses of this one add, layer by layer, before the division; None is its own.
        unmatched: Whether a candidate that may not match is trained as ``background`` or ``ignored``.
        rematch: ``once``: all layers use the assignment of the first one; ``per_layer``: each has its own.
        repeat: How often every object is offered to a rule that is one-to-one (arXiv:2207.13080, sec. 4.2); any other
            gives an object several candidates by itself, and is offered it once.
        sees: ``classes``, or ``objects`` as one class.
        weight: Factor on all terms, at least 0.
        normalizer: Divisor of terms that have none of their own: ``num_targets`` (objects); ``num_positives``;
            ``num_positives_each``, where an image counts at least 1; ``num_candidates``, all that are not ignored;
            ``quality``, the sum of that of all positives
            (``Matches.quality``; 1 each where the rule gives none); ``images``, after every image was divided by its
            own positives, at least 1; or ``none``, which leaves sums as they are.
        is_global: Whether that divisor is the mean over all ranks, else that of the rank's own images, as in
            denoising (arXiv:2203.01305).
        per_object: ``mean`` divides all terms by the number of candidates that an object of the rank's own batch has on
            average, at least 1, as contrastive denoising does (arXiv:2203.03605); ``sum`` does not.
        ignore_coverage: Background candidates with at least this share of their prior inside a crowd area are ignored,
            0..1; None trains them as background, as the release does.
        federated: Whether only classes that were looked for in an image count (LVIS), see ``penalised_classes``.

    Raises:
        ValueError: A value lies outside its range, a name stands in both kinds of terms, or classes count one by one in
            an image, but share a probability.
    """

    assigner: Assigner
    class_terms: Mapping[str, Term] = field(default_factory=dict)
    box_terms: Mapping[str, Term] = field(default_factory=dict)
    box_assigner: Assigner | None = None
    on: str | None = None
    pool: str | None = None
    unmatched: Literal["background", "ignored"] = "background"
    rematch: Literal["once", "per_layer"] = "once"
    repeat: int = 1
    sees: Literal["classes", "objects"] = "classes"
    weight: float = 1.0
    normalizer: Literal[
        "num_targets", "num_positives", "num_positives_each", "num_candidates", "quality", "images", "none"
    ] = "num_targets"
    is_global: bool = True
    per_object: Literal["sum", "mean"] = "sum"
    ignore_coverage: float | None = 0.5
    federated: bool = False

    def __post_init__(self) -> None:
        require_callable("assigner", self.assigner)
        if self.box_assigner is not None:
            require_callable("box_assigner", self.box_assigner)
            if self.repeat != 1:
                raise ValueError(
                    f"repeat={self.repeat} offers objects several times to one rule, beside which box_assigner is "
                    "another one: set one of them otherwise"
                )
        require_choice("unmatched", self.unmatched, ("background", "ignored"))
        require_choice("rematch", self.rematch, ("once", "per_layer"))
        require_int("repeat", self.repeat, low=1)
        require_choice("sees", self.sees, ("classes", "objects"))
        require_number("weight", self.weight, low=0)
        require_choice("normalizer", self.normalizer, NORMALIZERS)
        require_bool("is_global", self.is_global)
        require_choice("per_object", self.per_object, ("sum", "mean"))
        if self.ignore_coverage is not None:
            require_number("ignore_coverage", self.ignore_coverage, low=0, high=1)
        require_bool("federated", self.federated)
        if self.federated and any(isinstance(term, CrossEntropy) for term in self.class_terms.values()):
            raise ValueError(
                "federated=true leaves out classes that were not looked for, which those of classes=softmax cannot: "
                "they share a probability. Set one of them otherwise"
            )
        both = sorted(set(self.class_terms) & set(self.box_terms))
        if both:
            raise ValueError(f"class_terms and box_terms both have a term named {', '.join(both)}: rename one")

    @property
    def times(self) -> int:
        """How often every object is offered."""
        return self.repeat if getattr(self.assigner, "is_one_to_one", False) else 1

    def seen(self, targets: Targets, role: str) -> Targets:
        """The objects as this rule, that of ``role``, sees them.

        Raises:
            ValueError: The rule is federated, and the targets do not say what was looked for.
        """
        if self.sees == "objects":
            return targets.class_agnostic()
        if self.federated and targets.federated is None:
            raise ValueError(
                f"criterion.rules.{role}.federated=true needs images with lists of classes that were looked for, such "
                "as those of data=lvis"
            )
        return targets if self.federated else targets.without_federated()

    def divisor(self, matches: Matches, targets: Targets) -> Tensor:
        """``[B]`` share of every image in the divisor of terms that have none of their own."""
        if self.normalizer == "none":
            return torch.zeros_like(targets.num_objects())  # below the floor of 1
        if self.normalizer == "images":
            return torch.ones_like(targets.num_objects())
        if self.normalizer == "num_candidates":
            return (matches.target != IGNORED).sum(1, dtype=torch.float32)
        if self.normalizer == "quality" and matches.quality is not None:
            return torch.where(matches.is_positive(), matches.quality, 0.0).sum(1)
        if self.normalizer in ("num_positives", "quality"):
            return matches.num_pairs()
        if self.normalizer == "num_positives_each":
            return matches.num_pairs().clamp(min=1)
        return targets.num_objects() * self.times

    def value(self, measured: Sum, matches: Matches, targets: Targets) -> Tensor:
        """``[B]`` what a term has measured, by ``per_object`` and, without a divisor of its own, ``normalizer``."""
        value = measured.value
        if measured.divisor is None and self.normalizer == "images":
            value = value / matches.num_pairs().clamp(min=1)
        if self.per_object == "sum":
            return value
        # Of the whole batch, not of an image: one without objects has no number of its own.
        return value / (matches.num_pairs().sum() / targets.num_objects().sum().clamp(min=1)).clamp(min=1)
