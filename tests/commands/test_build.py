"""From a stored configuration back to objects."""

from copy import deepcopy
from dataclasses import replace
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from deta.building.build import make_detector, make_postprocess, restore_detector, without_pretrained
from deta.building.start import load_by_size
from deta.models.postprocess import NMS, OnePerQuery
from deta.structures import SoftmaxScore
from deta.training.checkpoint import Checkpoint, read_checkpoint
from tests.commands.conftest import Run
from tests.models.tiny import images, tiny_detector

CHECKPOINT = Checkpoint(Path("run.ckpt"), weights={}, config={}, category_ids=(1,), category_names=("thing",))


def test_a_foreign_target_in_a_checkpoint_is_never_called(trained: Run, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(trained.folder)
    model = dict(checkpoint.config["model"])
    model["neck"] = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": [str(tmp_path)]}}
    with pytest.raises(ValueError, match=r"model.neck.* wants to build .*pathlib.Path"):
        restore_detector(replace(checkpoint, config={**checkpoint.config, "model": model}))


def test_another_selection_keeps_the_score_that_the_checkpoint_was_trained_with() -> None:
    softmax = {"_target_": "deta.structures.SoftmaxScore"}
    config = {"postprocess": {"_target_": "deta.models.postprocess.OnePerQuery", "score": softmax}}
    checkpoint = replace(CHECKPOINT, config=config)
    nms = {"_target_": "deta.models.postprocess.NMS"}
    for node, kind in ((None, OnePerQuery), (nms, NMS)):
        made = make_postprocess(OmegaConf.create({"postprocess": node, "trusted": []}), checkpoint)
        assert isinstance(made, kind)
        assert made.score == SoftmaxScore()


def test_a_detector_is_restored_from_its_checkpoint_alone(trained: Run) -> None:
    first, second = (restore_detector(read_checkpoint(trained.folder)) for _ in range(2))
    assert not first.training
    stored = read_checkpoint(trained.folder).weights
    assert all(torch.equal(value, stored[name]) for name, value in first.state_dict().items())
    with torch.no_grad():
        outputs = [detector(*images(128, 128)).final for detector in (first, second)]
    assert torch.equal(outputs[0].logits, outputs[1].logits)
    assert torch.equal(outputs[0].boxes, outputs[1].boxes)


def test_pretrained_weights_are_not_read_again() -> None:
    config = {"backbone": {"name": "resnet50", "weights": "IMAGENET1K_V1"}, "hidden_dim": 256}
    assert without_pretrained(config)["backbone"] == {"name": "resnet50", "weights": None}
    assert config["backbone"] == {"name": "resnet50", "weights": "IMAGENET1K_V1"}
    assert without_pretrained({"backbone": {"channels": [8]}}) == {"backbone": {"channels": [8]}}
    hidden = {"neck": [{"inner": {"_target_": "deta.models.TorchvisionBackbone", "weights": "/a/file.pth"}}]}
    assert without_pretrained(hidden)["neck"][0]["inner"]["weights"] is None


def test_a_key_that_has_moved_is_refused_by_both_names() -> None:
    config = {"_target_": "deta.models.Detector", "proposals": {"num_queries": 7}}
    with pytest.raises(ValueError, match=r"model\.proposals is model\.body\.source by now"):
        make_detector(config, 3)


def test_fine_tuning_on_other_classes_says_which_weights_start_fresh() -> None:
    source = replace(CHECKPOINT, weights=tiny_detector(num_classes=7).state_dict())
    with pytest.warns(UserWarning, match=r"4 class-head weights of run.ckpt of another size, made afresh: body\.heads"):
        load_by_size(tiny_detector(num_classes=3), source)


@pytest.mark.parametrize(
    "key",
    [
        "body.hidden_dim",
        "num_classes",
        "body.encoder.num_layers",
        pytest.param("body.decoder.num_layers", marks=pytest.mark.slow),
        "body.encoder.ffn_dim",
        "neck.num_levels",
    ],
)
def test_a_stored_model_larger_than_its_weights_is_refused_before_there_is_memory_for_it(
    trained: Run, key: str
) -> None:
    checkpoint = read_checkpoint(trained.folder)
    model = deepcopy(dict(checkpoint.config["model"]))
    *sections, name = key.split(".")
    shared = name in ("hidden_dim", "num_levels")
    body = model["body"]
    everywhere = [model["neck"], body, body["encoder"], body["decoder"], body["source"]]
    for node in everywhere if shared else [reduce(getitem, sections, model)]:
        if not shared or name in node:
            node[name] = 12_000_000
    with pytest.raises(ValueError, match=r"of another shape|asks for more than .* and the file holds|missing"):
        restore_detector(replace(checkpoint, config={**checkpoint.config, "model": model}))
