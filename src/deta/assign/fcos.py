"""Points inside of an object, near its centre, on the level of its size."""

import torch

from deta.assign.base import background
from deta.assign.claims import Claims
from deta.assign.scene import in_pixels, is_empty, offsets, parts, per_candidate, require_parts, to_sides
from deta.ops.random import Draw
from deta.structures import Matches, Prediction, Targets
from deta.utils.checks import require_bool, require_number

_AREA_OFFSET = 1e8
"""From which torchvision takes areas, in float32, where numbers of this size lie 8 apart."""


class FCOSAssigner:
    """The centre of a prior answers for the smallest object that it lies in, near its centre, if the level fits.

    A level fits where the farthest side of the object is between ``reach_from`` and ``reach_to`` strides away; the
    finest level of an image has no lower limit, the coarsest no upper one. All comparisons are strict.

    Source: arXiv:2006.09214 (FCOS), sec. 3.2; torchvision 0.29.

    Args:
        radius: Largest distance from the centre of the object along each axis, in strides, above 0; None is no limit.
        reach_from: See above, in strides.
        reach_to: See above, in strides, above ``reach_from``.
        rounds_areas: Whether areas that differ by less than about 8 square pixels are equal, as they are in
            torchvision, which compares 1e8 less the area in float32: the first object has the point then.

    Raises:
        ValueError: An argument lies outside its range; when called, candidates without level or stride.
    """

    needs = ("levels", "strides")

    def __init__(
        self,
        *,
        radius: float | None = 1.5,
        reach_from: float = 4.0,
        reach_to: float = 8.0,
        rounds_areas: bool = False,
    ) -> None:
        self.radius = None if radius is None else require_number("radius", radius, low=1e-6)
        self.reach_from = require_number("reach_from", reach_from, low=0)
        self.reach_to = require_number("reach_to", reach_to, low=self.reach_from)
        self.rounds_areas = require_bool("rounds_areas", rounds_areas)

    @torch.no_grad()
    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
        """The smallest object of every point; ``contested`` are those that fit several."""
        del draw
        require_parts(self, prediction)
        if is_empty(prediction, targets):
            return Matches(background(prediction))
        prediction, targets = in_pixels(prediction, targets)
        assert prediction.levels is not None
        assert prediction.strides is not None
        levels, strides = (per_candidate(values, prediction) for values in (prediction.levels, prediction.strides))
        is_finest, is_coarsest = levels == levels.amin(1, keepdim=True), levels == levels.amax(1, keepdim=True)
        low = torch.where(is_finest, 0.0, self.reach_from * strides)[:, None]  # [B, 1, N]
        high = torch.where(is_coarsest, torch.inf, self.reach_to * strides)[:, None]  # [B, 1, N]
        claims, can_match = Claims(prediction), prediction.can_match()
        for part in parts(prediction, targets):
            nearest, farthest = to_sides(prediction.priors, part.corners)  # [B, t, N]
            fits = part.is_pair(can_match) & (nearest > 0) & (farthest > low) & (farthest < high)
            if self.radius is not None:
                distance = offsets(prediction.priors, part.boxes).abs().amax(-1)  # [B, t, N]
                fits = fits & (distance < self.radius * strides[:, None])
            area = (part.boxes[..., 2] * part.boxes[..., 3])[:, :, None]  # [B, t, 1]
            claim = _AREA_OFFSET - area if self.rounds_areas else -area
            claims.add(torch.where(fits, claim, -torch.inf), part.start)
        return Matches(claims.owner, notes={"contested": claims.is_contested})
