"""``deta convert`` with a small detector in the layout of the releases."""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from deta.building.build import make_detector, plain
from deta.building.published import category_of_output, published_model
from deta.building.start import load_by_size, read_weights, start_from
from deta.cli import config_dir
from deta.console import composing
from deta.models.detector import Detector
from deta.models.releases import to_release
from deta.training.checkpoint import read_checkpoint
from tests.commands.conftest import Run
from tests.commands.running import SMALL_MODEL, TINY_TRAINING, fail, succeed
from tests.commands.test_predict import photo

MODEL = ("experiment=deta_shapes", *SMALL_MODEL)


@cache
def release_state(num_classes: int = 91) -> Mapping[str, Tensor]:
    """A state dict as the releases would write it for a small detector."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        words = [*MODEL, "source=a", "target=b", "name=test", "run_dir=.", f"num_classes={num_classes}"]
        model = published_model(compose("convert", words))
    torch.manual_seed(0)
    detector = make_detector(model, num_classes)
    assert isinstance(detector, Detector)
    return MappingProxyType(to_release(detector))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published checkpoint file."""
    path = tmp_path_factory.mktemp("published") / "published.pth"
    torch.save({"model": dict(release_state()), "epoch": 12}, path)
    return path


@pytest.fixture(scope="module")
def converted(published: Path) -> Path:
    """Our checkpoint of it."""
    path = published.parent / "converted.ckpt"
    outcome = succeed("convert", *MODEL, f"source={published}", f"target={path}")
    num_weights = len(read_checkpoint(path).weights)
    assert f"Wrote {num_weights} weights to {path}" in outcome.out
    return path


def test_a_published_checkpoint_comes_back_unchanged(published: Path, converted: Path, tmp_path: Path) -> None:
    succeed("convert", "direction=to_release", f"source={converted}", f"target={tmp_path}/back.pth")
    back = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    expected = torch.load(published, weights_only=True)["model"]
    assert back.keys() == expected.keys()
    assert all(torch.equal(back[name], expected[name]) for name in expected)


def test_class_indexes_are_the_category_ids_of_coco(converted: Path) -> None:
    checkpoint = read_checkpoint(converted)
    assert len(checkpoint.category_ids) == 91
    assert checkpoint.category_ids[1] == 1
    assert checkpoint.category_names[17] == "cat"
    assert checkpoint.category_ids[12] is None  # COCO leaves out 12
    assert sum(identity is not None for identity in checkpoint.category_ids) == 80


def test_a_converted_checkpoint_is_evaluated_on_annotations_with_the_ids_of_coco(
    converted: Path, tmp_path: Path
) -> None:
    checkpoint = read_checkpoint(converted)
    pairs = zip(checkpoint.category_ids, checkpoint.category_names, strict=True)
    box = [10, 10, 30, 20]
    document: dict[str, Any] = {
        "images": [{"id": 5, "file_name": "a.png", "height": 64, "width": 64}],
        "categories": [{"id": identity, "name": name} for identity, name in pairs if identity is not None],
        "annotations": [{"id": 1, "image_id": 5, "category_id": 18, "bbox": box, "area": 600, "iscrowd": 0}],
    }
    photo(tmp_path / "images" / "a.png", height=64, width=64)
    (tmp_path / "val.json").write_text(json.dumps(document))
    paths = (f"data.root={tmp_path}", "data.val_annotations=val.json", "data.val_images=images")
    hydra_out = f"hydra.run.dir={tmp_path}/out"
    outcome = succeed("eval", f"ckpt={converted}", "data=coco", "data.num_workers=0", *paths, hydra_out)
    assert re.search(r"images +1\n", outcome.out)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()).keys() >= {"AP", "AP50"}


def test_a_first_stage_has_as_many_outputs_as_a_word_says(tmp_path: Path) -> None:
    state = dict(release_state())
    names = [name for name in state if ".class_embed.2." in name or name.startswith("class_embed.2.")]
    torch.save({"model": {**state, **{name: state[name][:1] for name in names}}}, tmp_path / "one.pth")
    place = (f"source={tmp_path}/one.pth", f"target={tmp_path}/one.ckpt")
    assert "body.source.head.class_logits.bias (1,) instead of (91,)" in fail("convert", *MODEL, *place)
    succeed("convert", *MODEL, *place, "model.proposals.num_classes=1")
    assert read_checkpoint(tmp_path / "one.ckpt").weights["body.source.head.class_logits.bias"].shape == (1,)


@pytest.mark.parametrize("fault", ["missing", "unexpected", "shape"])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, fault: str) -> None:
    state = dict(release_state())
    if fault == "missing":
        del state["transformer.level_embed"]
    elif fault == "unexpected":
        state["mask_head.weight"] = torch.zeros(1)
    else:
        state["transformer.level_embed"] = torch.zeros(9, 32)
    torch.save({"model": state}, tmp_path / "bad.pth")
    message = fail("convert", *MODEL, f"source={tmp_path}/bad.pth", f"target={tmp_path}/out.ckpt")
    assert ("mask_head.weight" if fault == "unexpected" else "encoder.level_embed") in message
    assert not (tmp_path / "out.ckpt").exists()


def test_mistakes_are_named_before_anything_is_written(published: Path, trained: Run, tmp_path: Path) -> None:
    source, target = f"source={published}", f"target={tmp_path}/out.ckpt"
    assert "deta: source has no value yet: give source=<value>" in fail("convert", *MODEL, target)
    assert "source=nowhere.pth does not exist" in fail("convert", *MODEL, "source=nowhere.pth", target)
    assert f"target={published} exists; remove it" in fail("convert", *MODEL, source, f"target={published}")
    message = fail("convert", *MODEL, source, f"target={tmp_path}/nowhere/out.ckpt")
    assert f"the folder {tmp_path}/nowhere does not exist" in message
    assert "direction must be one of from_release, to_release" in fail("convert", source, target, "direction=back")
    own = f"source={trained.folder}/checkpoints/last.ckpt"
    assert "is a checkpoint of deta already" in fail("convert", *MODEL, own, target)
    assert list(tmp_path.iterdir()) == []


def test_class_outputs_are_category_ids_unless_there_are_as_many_as_categories() -> None:
    names = {1: "person", 3: "car"}
    assert category_of_output(4, names) == [None, 1, None, 3]
    assert category_of_output(3, names) == [1, None, 3]  # without one of id 0
    assert category_of_output(2, names) == [1, 3]


def test_the_average_of_a_file_is_converted_on_request(published: Path, tmp_path: Path) -> None:
    state = torch.load(published, weights_only=True)["model"]
    average = {name: value + 1 for name, value in state.items() if value.is_floating_point()}
    torch.save({"model": state, "ema_model": {**state, **average}}, tmp_path / "both.pth")
    source = f"source={tmp_path}/both.pth"
    outcome = succeed("convert", *MODEL, source, f"target={tmp_path}/plain.ckpt")
    assert "ema_model, are not read" in outcome.out + outcome.err
    succeed("convert", *MODEL, source, f"target={tmp_path}/average.ckpt", "averaged=true")
    plain, averaged = (read_checkpoint(tmp_path / f"{name}.ckpt").weights for name in ("plain", "average"))
    name = "body.encoder.level_embed"
    assert torch.equal(averaged[name], plain[name] + 1)


DENSE = (
    "system=yolox",
    "model=yolox_s",
    "num_classes=80",
    "model.backbone.stem_channels=4",
    "model.body.hidden_dim=8",
)


@pytest.mark.slow
def test_a_detector_of_two_publications_is_read_from_both_and_written_as_either(tmp_path: Path) -> None:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        model = published_model(compose("convert", [*DENSE, "source=a", "target=b", "name=test", "run_dir=."]))
    detector = make_detector(model, 80)
    assert isinstance(detector, Detector)
    state = detector.state_dict()
    files = {
        "YOLOX": {"start_epoch": 300, "model": to_release(detector), "optimizer": {}},
        "YOLOX of mmdetection": {"meta": {"epoch": 300}, "state_dict": to_release(detector, "YOLOX of mmdetection")},
    }
    for number, (layout, content) in enumerate(files.items()):
        source, target, back = (tmp_path / f"{number}.{suffix}" for suffix in ("pth", "ckpt", "back.pth"))
        torch.save(content, source)
        succeed("convert", *DENSE, f"source={source}", f"target={target}")
        found = read_checkpoint(target).weights
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], value) for name, value in state.items())
        succeed("convert", "direction=to_release", f"source={target}", f"target={back}", f"layout={layout}")
        assert torch.load(back, weights_only=True)["model"].keys() == to_release(detector, layout).keys()


def test_a_dense_detector_of_other_classes_starts_from_a_published_file(tmp_path: Path) -> None:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        model = published_model(compose("convert", [*DENSE, "source=a", "target=b", "name=test", "run_dir=."]))
    published = make_detector(model, 80)
    own = make_detector({**model, "num_classes": 6}, 6)
    assert isinstance(published, Detector)
    torch.save({"state_dict": to_release(published, "YOLOX of mmdetection")}, tmp_path / "published.pth")
    with pytest.warns(UserWarning, match=r"6 class-head weights .* afresh: body\.head\.class_logits\.0\.bias"):
        load_by_size(own, read_weights(tmp_path / "published.pth", own))
    found = own.state_dict()
    same = {name: value for name, value in published.state_dict().items() if "class_logits" not in name}
    assert len(same) == len(found) - 6
    assert all(torch.equal(found[name], value) for name, value in same.items())


def test_a_training_starts_from_a_published_file(published: Path, converted: Path) -> None:
    cfg = composing.compose("train", [*TINY_TRAINING, f"weights={published}"])
    detector = make_detector(plain(cfg.model), 6)
    with pytest.warns(UserWarning, match=r"6 class-head weights of .* made afresh: body\.heads\.0\.class_logits\.bias"):
        start_from(cfg, detector, "abcdef")
    found, expected = detector.state_dict(), read_checkpoint(converted).weights
    same = [name for name in expected if "class" not in name]
    assert all(torch.equal(found[name], expected[name]) for name in same)


def test_a_published_file_of_another_detector_starts_no_training(published: Path, tmp_path: Path) -> None:
    state = torch.load(published, weights_only=True)["model"]
    torch.save({"model": {**state, "label_enc.weight": torch.zeros(92, 32)}}, tmp_path / "other.pth")
    message = fail("train", *TINY_TRAINING, f"weights={tmp_path}/other.pth", f"hydra.run.dir={tmp_path}/run")
    assert "'label_enc.weight' has no counterpart in the layout of DETA" in message
