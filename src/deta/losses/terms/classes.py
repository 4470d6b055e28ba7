"""Losses of the class logits."""

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from deta.losses.federated import counted_scores
from deta.losses.terms.base import Sum
from deta.ops.rows import take_rows
from deta.structures import IGNORED, Matches, Prediction, Score, Targets
from deta.utils.checks import require_bool, require_number


class FocalLoss:
    """Sigmoid focal loss, summed over candidates and classes; computed in float32.

    A candidate with two objects has the class of the one in ``Matches.target``. Where the targets say which classes
    were looked for in an image, only those count, see ``penalised_classes``; a positive counts its own in any case.

    Source: arXiv:1708.02002, eq. 5.

    Args:
        weight: Of this term, at least 0.
        alpha: Weight of the positive label beside ``1 - alpha`` of the negative one, 0..1; None is 1 for both.
        focusing: Focusing exponent, 0 or at least 1; 0 without ``alpha`` is plain cross-entropy.
        background: Whether the last logit is that of the background, the class of what has no object.
        score: What is compared with the label; None is the sigmoid of every output.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        alpha: float | None = 0.25,
        focusing: float = 2.0,
        background: bool = False,
        score: Score | None = None,
    ) -> None:
        self.weight = require_number("weight", weight, low=0)
        self.alpha = None if alpha is None else require_number("alpha", alpha, low=0, high=1)
        self.focusing = require_number("focusing", focusing, low=0)
        self.background = require_bool("background", background)
        self.score = score
        if 0 < self.focusing < 1:  # (1 - p) ** focusing has an infinite slope where a probability saturates
            raise ValueError(f"focusing must be 0 or at least 1, else gradients are not finite, got {focusing}")

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        """``[B]`` sums over candidates and classes; an image whose candidates are all ignored gives 0."""
        logits = prediction.logits if self.score is None else self.score(prediction)
        num_classes = logits.shape[2]
        no_object = num_classes - 1 if self.background else -1
        label = torch.where(matches.is_positive(), take_rows(targets.labels, matches.target), no_object)  # [B, N]
        one_hot = label[..., None] == torch.arange(num_classes, device=logits.device)  # [B, N, C]
        alpha = -1.0 if self.alpha is None else self.alpha  # torchvision's word for none
        # Its rounding is that of the publications: 1 - (1 - p) of a small p differs from p in the fifth digit.
        loss = sigmoid_focal_loss(logits.float(), one_hot.float(), alpha=alpha, gamma=self.focusing)
        own = one_hot
        if self.background:  # which is looked for everywhere
            own = one_hot | (torch.arange(num_classes, device=logits.device) == no_object)
        return Sum((loss * counted_scores(matches, targets, own)).sum((1, 2)))


class CrossEntropy:
    """Cross-entropy of a softmax whose last output is "no object", averaged over candidates by their weights.

    The divisor is the sum of the weights of all candidates. A candidate with two objects has the class of the one in
    ``Matches.target``. Computed in float32.

    Source: arXiv:2005.12872, sec. 3.1 and A.4.

    Args:
        weight: Of this term, at least 0.
        background_weight: Of a candidate without object, beside 1 of one with, at least 0.
        is_global: Whether the divisor is the mean over all ranks, else that of the rank's own candidates.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(self, *, weight: float = 1.0, background_weight: float = 0.1, is_global: bool = False) -> None:
        self.weight = require_number("weight", weight, low=0)
        self.background_weight = require_number("background_weight", background_weight, low=0)
        self.is_global = require_bool("is_global", is_global)

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        """``[B]`` weighted sums over candidates and sums of their weights.

        Raises:
            ValueError: The targets say that only some classes were looked for in an image.
        """
        if targets.federated is not None:
            raise ValueError(
                "cross-entropy shares one probability among all classes and cannot leave out those that were not "
                "looked for: set criterion.rules.<role>.federated=false, or use deta.losses.FocalLoss"
            )
        logits = prediction.logits.float()
        is_positive, is_used = matches.is_positive(), matches.target != IGNORED
        label = torch.where(is_positive, take_rows(targets.labels, matches.target), logits.shape[2] - 1)  # [B, N]
        # Flat, since PyTorch has no deterministic kernel for more dimensions.
        loss = functional.cross_entropy(logits.flatten(0, 1), label.flatten(), reduction="none")
        loss = loss.view_as(label)  # [B, N]
        weights = torch.where(is_positive, 1.0, self.background_weight) * is_used  # [B, N]
        # Not a product with the flag alone: what is predicted for an ignored candidate may be infinite.
        value = (torch.where(is_used, self.counted(loss, logits, is_positive), 0.0) * weights).sum(1)
        return Sum(value, weights.sum(1), floor=_LEAST_WEIGHT, is_global=self.is_global)

    def counted(self, loss: Tensor, logits: Tensor, is_positive: Tensor) -> Tensor:
        """``[B, N]`` what counts of the cross-entropy ``[B, N]`` of logits ``[B, N, C]``: all of it."""
        del logits, is_positive
        return loss


class FocusedCrossEntropy(CrossEntropy):
    """The same, in which a candidate without object counts less the surer it is of that.

    It counts ``2 (1 - p)^2`` of its cross-entropy, with ``p`` its detached probability of "no object"; and where no
    candidate of the batch has an object, nothing counts.

    Source: arXiv:2011.10881 (TSP-RCNN), release.
    """

    def counted(self, loss: Tensor, logits: Tensor, is_positive: Tensor) -> Tensor:
        """``[B, N]``."""
        doubt = 1 - logits.detach().softmax(-1)[..., -1]
        return loss * torch.where(is_positive, 1.0, 2 * doubt.square()) * is_positive.any()


_LEAST_WEIGHT = 1e-6
"""In place of 0 where all candidates are ignored; a number so small that its inverse is infinite would give NaN."""
