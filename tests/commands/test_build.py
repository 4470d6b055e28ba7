"""From a stored configuration back to objects."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from deta.commands.build import check_targets, restore_detector, start_from, without_pretrained
from deta.engine.checkpoint import Checkpoint, read_checkpoint
from tests.commands.conftest import Run
from tests.models.tiny import images, tiny_detector

CHECKPOINT = Checkpoint(Path("run.ckpt"), weights={}, config={}, category_ids=(1,), category_names=("thing",))


@pytest.mark.parametrize(
    "config",
    [
        {"_target_": "os.system", "command": "true"},
        {"_target_": "deta.models.Detector", "backbone": {"_target_": "os.system"}},
        {"transforms": [{"_target_": "deta.data.Compose"}, [{"_target_": "os.system"}]]},
        {"_target_": "detached.Model"},
        {"_target_": "deta.models.weights.torch.load", "f": "more.pt", "weights_only": False},
        {"_target_": "deta.models.weights.load_file"},
        {"_target_": "deta.models.weights.torch"},
    ],
)
def test_a_stored_configuration_that_reaches_outside_is_refused(config: Any) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=r"run.ckpt wants to instantiate .*, which is not part of deta.*trusted=\["):
        check_targets(config, (), CHECKPOINT)


def test_prefixes_that_the_user_trusts_are_allowed_and_no_others() -> None:
    config = {"_target_": "mine.Detector", "backbone": {"_target_": "yours.Backbone"}}
    check_targets(config, ("mine.", "yours."), CHECKPOINT)
    with pytest.raises(ValueError, match=r"yours.Backbone, which is not part of deta"):
        check_targets(config, ("mine.",), CHECKPOINT)


def test_one_word_is_no_list_of_prefixes() -> None:
    with pytest.raises(ValueError, match=r"trusted must be a list of prefixes that end in a dot, .*, got mine\."):
        check_targets({}, "mine.", CHECKPOINT)
    with pytest.raises(ValueError, match="trusted must be a list of prefixes that end in a dot"):
        check_targets({}, ("mine",), CHECKPOINT)


def test_a_foreign_target_in_a_checkpoint_is_never_called(trained: Run, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(trained.folder)
    model = dict(checkpoint.config["model"])
    model["neck"] = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": [str(tmp_path)]}}
    with pytest.raises(ValueError, match=r"wants to instantiate pathlib.Path"):
        restore_detector(replace(checkpoint, config={**checkpoint.config, "model": model}))


def test_a_detector_is_restored_from_its_checkpoint_alone(trained: Run) -> None:
    first, second = (restore_detector(read_checkpoint(trained.folder)) for _ in range(2))
    assert not first.training
    stored = read_checkpoint(trained.folder).weights
    assert all(torch.equal(value, stored[name]) for name, value in first.state_dict().items())
    with torch.no_grad():
        outputs = [detector(*images(128, 128)).layers[-1] for detector in (first, second)]
    assert torch.equal(outputs[0].logits, outputs[1].logits)
    assert torch.equal(outputs[0].boxes, outputs[1].boxes)


def test_pretrained_weights_are_not_read_again() -> None:
    config = {"backbone": {"name": "resnet50", "weights": "IMAGENET1K_V1"}, "hidden_dim": 256}
    assert without_pretrained(config)["backbone"] == {"name": "resnet50", "weights": None}
    assert config["backbone"] == {"name": "resnet50", "weights": "IMAGENET1K_V1"}
    assert without_pretrained({"backbone": {"channels": [8]}}) == {"backbone": {"channels": [8]}}


def test_fine_tuning_on_other_classes_says_which_weights_start_fresh() -> None:
    source = replace(CHECKPOINT, weights=tiny_detector(num_classes=7).state_dict())
    with pytest.warns(UserWarning, match=r"4 class-head weights of run.ckpt have another size and start fresh: heads"):
        start_from(tiny_detector(num_classes=3), source)
