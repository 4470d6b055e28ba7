"""The rule that the page shows works as it stands."""

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

from deta.assign import Draw
from deta.losses import QueryCriterion
from deta.training.step import step
from tests.assign.scenes import assigned, random_scene
from tests.models.tiny import tiny_detector
from tests.training.test_step import NUM_CLASSES, batch

PAGE = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"


def test_the_shown_rule_gives_every_object_its_nearest_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (tmp_path / "nearest_rule.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    rule = import_module("nearest_rule").NearestAssigner(n=1)
    monkeypatch.delitem(sys.modules, "nearest_rule")
    prediction, targets = random_scene(0)
    target = assigned(rule, prediction, targets).target
    for image, count in enumerate(targets.is_object.sum(1).tolist()):
        centres, boxes = targets.boxes[image, :count, :2], prediction.priors[image, :, :2]
        distance = torch.cdist(centres, boxes).masked_fill(~prediction.can_match()[image], torch.inf)
        nearest = {int(row.argmin()) for row in distance}
        assert set((target[image] >= 0).nonzero().flatten().tolist()) == nearest
    criterion = QueryCriterion(layer_assigner=rule, proposal_assigner=rule)
    losses = step(tiny_detector(num_classes=NUM_CLASSES), criterion, batch(5, 0), Draw.of(0)).losses
    assert losses is not None
    assert losses.total().isfinite()
