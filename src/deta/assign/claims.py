"""Who has a candidate that several objects claim."""

import torch
from torch import Tensor

from deta.structures import BACKGROUND, Prediction


class Claims:
    """The object of the highest claim for every candidate, over objects that come in parts; of equals the first.

    Attributes:
        highest: ``[B, N]`` claim of that object; minus infinity without one.
        owner: ``[B, N]`` that object; ``BACKGROUND`` without one.
        count: ``[B, N]`` objects that claim it.
    """

    def __init__(self, prediction: Prediction) -> None:
        shape, device = prediction.logits.shape[:2], prediction.logits.device
        self.highest = torch.full(shape, -torch.inf, device=device)
        self.owner = torch.full(shape, BACKGROUND, dtype=torch.int64, device=device)
        self.count = torch.zeros(shape, dtype=torch.int64, device=device)

    def add(self, claims: Tensor, start: int) -> None:
        """Claims of further objects.

        Args:
            claims: ``[B, t, N]`` float32; minus infinity, or NaN, is none.
            start: Index of their first object.
        """
        claims = torch.where(claims > -torch.inf, claims, -torch.inf)  # no NaN, which max would prefer
        highest, place = claims.max(dim=1)  # [B, N]
        is_higher = highest > self.highest
        self.highest = torch.where(is_higher, highest, self.highest)
        self.owner = torch.where(is_higher, place + start, self.owner)
        self.count = self.count + (claims > -torch.inf).sum(1)

    def add_some(self, claims: Tensor, candidates: Tensor, start: int) -> None:
        """Claims of some candidates, ``[B, t, K]`` beside their indices; no index stands twice in a row."""
        shape = (*claims.shape[:2], self.owner.shape[1])
        self.add(torch.full(shape, -torch.inf, device=claims.device).scatter(2, candidates, claims), start)

    @property
    def is_contested(self) -> Tensor:
        """``[B, N]``, True where two or more objects claim a candidate."""
        return self.count > 1
