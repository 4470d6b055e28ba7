"""A training step without content: what rules, terms and post-processing find missing, before data is read."""

from collections import Counter

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from deta.data import Collate, Sample
from deta.losses import Criterion, Rule
from deta.models.postprocess import Postprocess
from deta.ops.random import Draw
from deta.structures import Batch, DetectionOutput, FederatedLabels, Losses
from deta.training.accumulation import require_shared_divisors
from deta.training.stage_names import stage_name

_HEIGHT, _WIDTH = 64, 96
_NOT_WITHOUT_CONTENT = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError)
"""What code may raise that looks at numbers; where it is wrong, it raises the same in training."""


def require_step(detector: nn.Module, criterion: Criterion, postprocess: Postprocess, *, num_batches: int = 1) -> None:
    """Try a step of tensors that have shapes alone, and a selection of detections.

    Args:
        detector: Without content, on the meta device; its parameters are no longer used afterwards.
        criterion: The losses, every rule of which is tried for itself.
        postprocess: Selects detections.
        num_batches: Batches of an optimizer step.

    Raises:
        ValueError: The detector refuses images, or a rule, a term or the post-processing what it predicts; no term
            trains a quality that it predicts; or a step of several batches has terms with divisors of their own. The
            message names the keys of both.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.random.fork_rng(devices=[]):
        batch = _batch(is_federated=any(rule.federated for _, rule in criterion.every_rule())).map(mode.from_tensor)
        try:
            output = detector.to_empty(device="cpu")(batch.images, batch.is_padding, batch.targets, Draw.of(0))
        except _NOT_WITHOUT_CONTENT:
            return
        _require_names(output)
        what = f"model.body ({type(getattr(detector, 'body', detector)).__name__})"
        untrained: dict[str, bool] = {}
        for role, rule in criterion.every_rule():  # of a role that changes its rule, both
            losses, has_untrained = _measured(role, rule, criterion, output, batch, what)
            untrained[role] = untrained.get(role, True) and has_untrained
            if losses is not None and losses.has_own_divisors:
                require_shared_divisors(num_batches, f"criterion.rules.{role}")
        left = [role for role, is_untrained in untrained.items() if is_untrained]
        if left:
            raise ValueError(
                f"no term of criterion.rules.{left[0]} trains the quality that {what} predicts: choose a criterion= "
                "with such a term, or a head without it"
            )
        try:
            postprocess(output.final, batch.original_sizes)
        except ValueError as error:
            raise ValueError(f"postprocess does not suit {what}: {error}") from error
        except _NOT_WITHOUT_CONTENT:
            return


def _require_names(output: DetectionOutput) -> None:
    counts = Counter(map(stage_name, output.stages))
    for key in output.stages:
        if counts[stage_name(key)] > 1:
            raise ValueError(
                f"two stages are named {stage_name(key)!r} where losses are logged: give the group "
                f"model.body.groups.{key.role} another name"
            )


def _measured(
    role: str, rule: Rule, criterion: Criterion, output: DetectionOutput, batch: Batch, what: str
) -> tuple[Losses | None, bool]:
    """Assign and measure the stages of one role, beside those that its rule needs.

    Returns:
        The losses, and whether a quality is predicted that no term trains; None and False where it cannot be told
        without content.
    """
    others = {name: other for name, other in criterion.every_rule() if name in (rule.on, rule.pool)}
    rules = {**others, role: rule}
    stages = {key: stage for key, stage in output.stages.items() if key.role in rules}
    try:
        losses = Criterion(rules)(DetectionOutput(stages, output.last, output.frame), batch.targets, Draw.of(0))
        quality = [stage.quality for key, stage in stages.items() if key.role == role and stage.quality is not None]
        trained = _gradients(losses.total(), quality)
    except ValueError as error:
        raise ValueError(f"criterion.rules.{role} does not suit {what}: {error}") from error
    except _NOT_WITHOUT_CONTENT:
        return None, False
    return losses, any(gradient is None for gradient in trained)


def _gradients(loss: Tensor, of: list[Tensor]) -> list[Tensor | None]:
    of = [part for part in of if part.requires_grad]
    return list(torch.autograd.grad(loss, of, allow_unused=True)) if of and loss.requires_grad else []


def _batch(*, is_federated: bool) -> Batch:
    """Two images, the second of them smaller and without objects."""
    return Collate()(
        [_sample(_HEIGHT, _WIDTH, 3, is_federated=is_federated), _sample(48, 64, 0, is_federated=is_federated)]
    )


def _sample(height: int, width: int, num_objects: int, *, is_federated: bool) -> Sample:
    corners = torch.zeros(num_objects, 2)
    none = torch.zeros(0, dtype=torch.int64)
    return Sample(
        image=torch.zeros(3, height, width, dtype=torch.uint8),
        boxes=torch.cat((corners, corners + 30), dim=1),
        labels=torch.zeros(num_objects, dtype=torch.int64),
        areas=torch.full((num_objects,), 900.0),
        ignore_boxes=torch.zeros(0, 4),
        image_id=0,
        original_size=(height, width),
        federated=FederatedLabels(none, none, none) if is_federated else None,
    )
