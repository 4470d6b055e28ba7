"""Criteria of a first stage and of decoder layers with one set of losses, as ``conf/criterion/query.yaml`` has them."""

from typing import Literal

from deta.assign import Assigner
from deta.losses import Criterion, FocalLoss, GIoULoss, L1Loss, Rule


class QueryCriterion(Criterion):
    """Classification, L1 and GIoU losses of every decoder layer and of the first stage.

    Args:
        layer_assigner: Rule of the decoder layers.
        proposal_assigner: Rule of the first stage, which sees every object as class 0; None where the
            detector has no first stage.
        class_weight: Weight of the focal loss, at least 0.
        l1_weight: Weight of the L1 loss, at least 0.
        giou_weight: Weight of the GIoU loss, at least 0.
        alpha: Weight of the positive label in the focal loss, 0..1.
        focusing: Focusing exponent of the focal loss, 0 or at least 1.
        rematch: See ``Rule``.
        normalizer: See ``Rule``.
        ignore_coverage: See ``Rule``.
        federated: See ``Rule``; of the decoder layers, since the first stage knows no classes.

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
        focusing: float = 2.0,
        rematch: Literal["once", "per_layer"] = "once",
        normalizer: Literal["num_targets", "num_positives", "none"] = "num_targets",
        ignore_coverage: float | None = 0.5,
        federated: bool = False,
    ) -> None:
        class_terms = {"class": FocalLoss(weight=class_weight, alpha=alpha, focusing=focusing)}
        box_terms = {"l1": L1Loss(weight=l1_weight), "giou": GIoULoss(weight=giou_weight)}

        def rule(assigner: Assigner, sees: Literal["classes", "objects"]) -> Rule:
            return Rule(
                assigner,
                class_terms,
                box_terms,
                sees=sees,
                rematch=rematch,
                normalizer=normalizer,
                ignore_coverage=ignore_coverage,
                federated=federated,
            )

        first = {} if proposal_assigner is None else {"first": rule(proposal_assigner, "objects")}
        super().__init__({**first, "layers": rule(layer_assigner, "classes")})
