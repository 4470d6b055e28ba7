"""How good a prediction says a detection is: from the outputs of a network to one score for each class."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from deta.structures.prediction import Prediction


class Score(Protocol):
    """Scores of every candidate for every class. Scores from other packages implement this.

    A score is given by its logit, so that scores near 0 and near 1 stay apart.
    """

    def __call__(self, prediction: Prediction) -> Tensor:
        """``[B, N, C]`` float32 logits of the scores; an infinite one is a score of 0 or 1."""
        ...


@dataclass(frozen=True)
class SigmoidScore:
    """The sigmoid of every output by itself.

    Attributes:
        has_background: Whether the last output is "no object" and is left out.
    """

    has_background: bool = False

    def __call__(self, prediction: Prediction) -> Tensor:
        """``[B, N, C]`` the outputs themselves."""
        logits = prediction.logits.float()
        return logits[..., :-1] if self.has_background else logits


@dataclass(frozen=True)
class SoftmaxScore:
    """Probabilities of all outputs together, of which the last, "no object", is left out. Source: arXiv:2005.12872."""

    def __call__(self, prediction: Prediction) -> Tensor:
        """``[B, N, C]`` of ``C + 1`` outputs."""
        log_probability = prediction.logits.float().log_softmax(-1)[..., :-1]
        # log1p and expm1 keep the digits of probabilities near 0 and near 1.
        return log_probability - torch.log(-torch.expm1(log_probability))


@dataclass(frozen=True)
class QualityScore:
    """The sigmoid of every output times that of ``Prediction.quality``.

    Source: arXiv:2006.09214 (FCOS), sec. 3.3, with the root; arXiv:2107.08430 (YOLOX) detects without, and assigns
    with it.

    Attributes:
        root: Whether the square root of the product is the score.
    """

    root: bool = False

    def __call__(self, prediction: Prediction) -> Tensor:
        """``[B, N, C]``.

        Raises:
            ValueError: The detector predicts no quality.
        """
        if prediction.quality is None:
            raise ValueError(
                "QualityScore needs Prediction.quality, which this detector does not predict: take SigmoidScore"
            )
        classes = prediction.logits.float()  # [B, N, C]
        quality = prediction.quality.float()[..., None].expand_as(classes)  # [B, N, C]
        # Its inverse is (1 + exp(-x)) * (1 + exp(-y)) - 1 of both outputs: finite, with gradients, also where it is 1.
        product = -torch.logaddexp(torch.logaddexp(-classes, -quality), -classes - quality)
        if not self.root:
            return product
        log_score = functional.logsigmoid(product) / 2
        return product - log_score + torch.log1p(log_score.exp())
