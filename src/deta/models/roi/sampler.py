"""Which regions of an image are trained."""

import torch

from deta.assign import Assigner, SampledAssigner, assign
from deta.assign.sampling import keep_random_share
from deta.models.roi.proposals import Regions
from deta.ops.random import Draw
from deta.structures import IGNORED, Prediction, Targets
from deta.utils.checks import require_callable, require_choice, require_int, require_number

CENTRE_NOISE, SIDE_NOISE = 0.2, 0.8
"""Of objects that join proposals with noise: shift in sides, and the least factor of a side (TSP-RCNN, release)."""


class RegionSampler:
    """Joins objects to the proposals, matches both, and leaves a sample of them.

    Source: arXiv:1506.01497, sec. 3.1.3, as in torchvision; arXiv:2011.10881 (TSP-RCNN), release.

    Args:
        assigner: Matches regions, all of whose outputs are 0 then, so it must go by overlap alone; what it ignores is
            left out, see ``SampledAssigner``.
        num_regions: Places for regions of an image.
        append: Which images get their objects as regions: ``always`` all; ``unmatched`` those in which no proposal is
            positive, with noise.
        least_kept: Of the sample a random share between this and all is kept, above 0, at most 1.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(
        self, *, assigner: Assigner, num_regions: int = 512, append: str = "always", least_kept: float = 1.0
    ) -> None:
        require_callable("model.body.sampler.assigner", assigner)
        self.assigner = assigner
        self.num_regions = require_int("model.body.sampler.num_regions", num_regions, low=1)
        if isinstance(assigner, SampledAssigner) and assigner.number > num_regions:
            raise ValueError(
                f"model.body.sampler.assigner.number {assigner.number} regions do not fit into "
                f"model.body.sampler.num_regions {num_regions}: the last ones, which are objects, would be cut off"
            )
        self.append = require_choice("model.body.sampler.append", append, ("always", "unmatched"))
        self.least_kept = require_number("model.body.sampler.least_kept", least_kept, low=0.01, high=1)

    @torch.no_grad()
    def __call__(self, proposals: Regions, targets: Targets, draw: Draw) -> Regions:
        """At most ``num_regions`` of every image, in their order.

        Args:
            proposals: Of the first stage.
            targets: The objects, in any unit.
            draw: Source of randomness.
        """
        objects = targets.in_pixels().class_agnostic()
        # Not by the padded width, which must not change what is drawn.
        boxes, joins = (part[:, : targets.most_objects] for part in (objects.boxes, objects.is_object))
        if self.append == "unmatched":
            noise = draw.uniform("noise", boxes.shape, boxes.device)  # [B, T, 4]
            shift, growth = noise.split(2, dim=-1)
            centres = boxes[..., :2] + boxes[..., 2:] * (shift - 0.5) * CENTRE_NOISE
            sides = boxes[..., 2:] * SIDE_NOISE ** (2 * growth - 1)
            boxes = torch.cat((centres, sides), dim=-1)  # [B, T, 4]
            # A sample leaves some positive where there are any.
            unsampled = self.assigner.assigner if isinstance(self.assigner, SampledAssigner) else self.assigner
            found = assign(unsampled, _candidates(proposals), objects, draw.within("before"))
            joins = joins & ~found.is_positive().any(1, keepdim=True)
        every = Regions(
            torch.cat((proposals.boxes, boxes), dim=1),
            torch.cat((proposals.exists, joins), dim=1),
            torch.cat((proposals.source, torch.full_like(joins, -1, dtype=torch.int64)), dim=1),
        )
        matches = assign(self.assigner, _candidates(every), objects, draw)
        keep = every.exists & (matches.target != IGNORED)
        if self.least_kept < 1:
            keep = keep_random_share(keep, self.least_kept, draw)
        # A stable sort moves what is kept to the front and leaves its order.
        rows = (~keep).byte().argsort(dim=1, stable=True)[:, : self.num_regions]  # [B, R]
        return every.take(rows, keep.gather(1, rows))


def _candidates(regions: Regions) -> Prediction:
    logits = regions.boxes.new_zeros(*regions.boxes.shape[:2], 1)  # [B, R, 1]
    return Prediction(logits, regions.boxes, regions.boxes, exists=regions.exists)
