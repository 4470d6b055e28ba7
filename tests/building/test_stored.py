"""Configurations out of a file that want more than they may: nothing of it happens."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from deta.building.build import plain, trust_in, with_classes, without_pretrained
from deta.building.reach import require_near
from deta.building.stored import PLACES, build, needs_trust, section
from deta.building.trust import Trust, remember, require_names
from deta.console.naming import register_resolvers
from deta.data import Compose
from deta.models import Detector
from deta.models.postprocess import NMS
from deta.studies.conf import config_dir
from deta.training.checkpoint import Checkpoint

Node = Mapping[str, Any]
NOBODY = Trust(Path("evil.ckpt"))
SHELL = "touch MARK"
GIT = [".", "-c", "alias.x=!touch MARK", "x"]


def target(name: object, /, **arguments: object) -> Node:
    return {"_target_": name, **arguments}


STORE = target("deta.data.streaming.store.open_store")
OTHER_PEOPLES = [
    target("os.system", command=SHELL),
    target("os.system", _args_=[SHELL]),
    target("posix.system", command=SHELL),
    target("os.mkdir", path="MARK"),
    target("os.makedirs", name="MARK"),
    target("os.popen", cmd=SHELL),
    target("os.remove", path="MARK.kept"),
    target("shutil.rmtree", path="."),
    target("shutil.copyfile", src="/etc/passwd", dst="MARK"),
    target("subprocess.run", args=SHELL, shell=True),
    target("subprocess.Popen", args=SHELL, shell=True),
    target("subprocess.check_output", args=["touch", "MARK"]),
    target("pathlib.Path.touch", self=target("pathlib.Path", _args_=["MARK"])),
    target("pathlib.Path.write_text", self=target("pathlib.PosixPath", _args_=["MARK"]), data="x"),
    target("builtins.open", file="MARK", mode="w"),
    target("builtins.exec", _args_=["open('MARK', 'w')"]),
    target("builtins.eval", _args_=["open('MARK', 'w')"]),
    target("builtins.__import__", name="antigravity"),
    target("builtins.print", _args_=["x"]),
    target("builtins.getattr", _args_=[target("importlib.import_module", name="os"), "system"]),
    target("importlib.import_module", name="antigravity"),
    target("runpy.run_path", path_name="evil.py"),
    target("runpy.run_module", mod_name="antigravity"),
    target("pickle.load", file=target("io.open", file="evil.pkl", mode="rb")),
    target("pickle.loads", _args_=["cos\nsystem\n(S'touch MARK'\ntR."]),
    target("functools.partial", _args_=[target("os.mkdir"), "MARK"]),
    target("functools.reduce", _args_=[]),
    target("operator.methodcaller", _args_=["system", SHELL]),
    target("operator.call", _args_=[]),
    target("code.interact"),
    target("antigravity.webbrowser.open", url="http://localhost"),
    target("ctypes.CDLL", name="evil.so"),
    target("webbrowser.open", url="http://localhost"),
    target("urllib.request.urlretrieve", url="http://localhost", filename="MARK"),
    target("torch.load", f="evil.pt", weights_only=False),
    target("torch.save", obj=1, f="MARK"),
    target("torch.hub.load", repo_or_dir=".", model="x", source="local"),
    target("torch.utils.cpp_extension.load", name="x", sources=[]),
    target("torch.nn.Module"),
    target("numpy.load", file="evil.npy", allow_pickle=True),
    target("numpy.save", file="MARK", arr=[1]),
    target("yaml.unsafe_load", stream="!!python/object/apply:os.mkdir [MARK]"),
    target("hydra.utils.instantiate", config=target("os.mkdir", path="MARK")),
    target("hydra.utils.call", config=target("os.mkdir", path="MARK")),
    target("hydra.utils.get_method", path="os.mkdir"),
    target("hydra._internal.instantiate._instantiate2.instantiate", config=target("os.mkdir", path="MARK")),
    target("omegaconf.OmegaConf.load", file_="evil.yaml"),
    target("lightning.pytorch.Trainer", default_root_dir="MARK"),
    target("evil.Model"),
    target("evil"),
    target(""),
    target("."),
    target("deta."),
    target("..os.system"),
]
"""Things of Python, of packages and of nobody."""
OUR_OWN = [
    target("deta.tracking.environment._git", _args_=GIT),
    target("deta.tracking.environment._git", _args_=GIT, _partial_=True),
    target("deta.tracking.environment.describe_run", seed=0),
    target("deta.launching.trainings._start", folder="MARK", words=["doctor"], environment={}, log="x"),
    target("deta.launching.trainings.run_here", commands={}),
    target("deta.commands.train.run", cfg={}),
    target("deta.building.build.make", config=target("os.mkdir", path="MARK")),
    target("deta.building.stored.build", config=target("os.mkdir", path="MARK"), place="model", trust=None),
    target("deta.building.stored.resolve_name", name="os.mkdir"),
    target("deta.data.streaming.store.FolderStore", folder="."),
    target("deta.data.streaming.store.FolderStore.delete", self=STORE, name="a"),
    target("deta.data.streaming.store.FolderStore.put", self=STORE, name="a"),
    target("deta.data.streaming.store.open_store", place="."),
    target("deta.training.checkpoint.AtomicCheckpointIO.save_checkpoint", self=None, checkpoint={}, path="MARK"),
    target("deta.training.checkpoint.AtomicCheckpointIO"),
    target("deta.training.checkpoint.torch.save", obj=1, f="MARK"),
    target("deta.training.checkpoint.os.mkdir", path="MARK"),
    target("deta.training.checkpoint.os.system", command=SHELL),
    target("deta.models.weights.torch.load", f="evil.pt", weights_only=False),
    target("deta.models.weights.read_state_dict", path="/etc/passwd"),
    target("deta.models.releases.Path", _args_=["MARK"]),
    target("deta.models.backbones.torchvision.timm.create_model", model_name="hf-hub:evil/model", pretrained=True),
    target("deta.utils.files.write_text", path="MARK", text="x"),
    target("deta.tracking.metrics.MetricsLogger", folder="MARK"),
    target("deta.tracking.wandb.make_wandb_tracker", folder="MARK"),
    target("deta.training.callbacks.NonFiniteGuard", folder="MARK"),
    target("deta.training.callbacks.PredictionPictures", folder="MARK"),
    target("deta.cli.main"),
    target("deta.__main__"),
    target("deta.models.Detector.__init__"),
    target("deta.models.Detector.__class__", _args_=["x", [], {}]),
    target("deta.models.Detector.load_state_dict", state_dict={}),
    target("deta.models.detector.Detector"),  # the class itself, by another name than the shipped one
    target("deta_kernels.cpu.compile"),
]
"""Functions, private names and classes below ``deta`` that no shipped configuration builds in these places."""
TRICKS = [
    target("deta.${oc.decode:engine.checkpoint.torch.load}", f="evil.pt", weights_only=False),
    target("deta.${encoder.x.y}"),
    target("${oc.env:SECRET}"),
    target("deta.models.postprocess.NMS", _args_=[1]),
    target("deta.models.postprocess.NMS", _partial_=True),
    target("deta.models.postprocess.NMS", _partial_="true"),
    target("deta.models.postprocess.NMS", _partial_=-1),
    target("deta.models.postprocess.NMS", _recursive_=False),
    target("deta.models.postprocess.NMS", _convert_="object"),
    target("deta.models.postprocess.NMS", __class__="x"),
    target("deta.models.postprocess.NMS", **{"${oc.env:SECRET}": 1}),
    target("deta.models.postprocess.NMS", iou_threshold="${oc.create:{_target_: os.mkdir, path: MARK}}"),
    target("deta.models.postprocess.NMS", iou_threshold="${oc.env:SECRET}"),
    target("deta.models.postprocess.NMS", iou_threshold=["\\${oc.env:SECRET}"]),
    target("deta.models.postprocess.NMS", iou_threshold=target("os.mkdir", path="MARK")),
    target("deta.models.postprocess.NMS", iou_threshold=[[{"a": target("os.mkdir", path="MARK")}]]),
    target("deta.models.postprocess.NMS", _target=target("os.mkdir", path="MARK")),
    target("deta.models.postprocess.NMS "),
    target(" deta.models.postprocess.NMS"),
    target("deta.models.postprocess.NMS\x00"),
    target("deta.models.postprocess:NMS"),
    target("deta.models.postprocess.N\u043cS"),
    target(["deta.models.postprocess.NMS"]),
    target(None),
    target(7),
    target({"_target_": "os.mkdir"}),
    target(os.mkdir, path="MARK"),
    target(partial(os.mkdir, "MARK")),
    {"_args_": ["MARK"]},
    {"_partial_": True},
    {"a": {"_target_": "os.mkdir", "path": "MARK"}},
    [target("os.mkdir", path="MARK")],
]
"""Hydra's own keys, interpolations, spellings and kinds."""
ATTACKS = [*OTHER_PEOPLES, *OUR_OWN, *TRICKS]


@pytest.fixture(autouse=True)
def place_without_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with files that an attack could run, read or delete."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "of the reader")
    for name in ("evil.py", "antigravity.py"):
        (tmp_path / name).write_text("open('MARK', 'w')\n")
    (tmp_path / "MARK.kept").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("node", ATTACKS, ids=lambda node: str(node)[:60])
def test_an_attack_is_refused_in_every_place_and_leaves_no_mark(node: object, place_without_marks: Path) -> None:
    loaded = set(sys.modules)
    attempts = [
        *((place, node) for place in PLACES),
        ("model", target("deta.models.Detector", neck=node)),
        ("data.val_transform", target("deta.data.Compose", transforms=[node])),
    ]
    for place, config in attempts:
        with pytest.raises(ValueError, match=r"evil\.ckpt") as refusal:
            build(config, place, NOBODY)
        assert "of the reader" not in str(refusal.value)
    assert {path.name for path in place_without_marks.iterdir()} == {"evil.py", "antigravity.py", "MARK.kept"}
    assert {"evil", "antigravity"}.isdisjoint(set(sys.modules) - loaded)


@pytest.mark.parametrize("node", [{}, [], "os.mkdir", None, 3])
def test_what_names_nothing_to_build_is_refused(node: object) -> None:
    for place in PLACES:
        with pytest.raises(ValueError, match=rf"evil.ckpt: {place} names nothing to build"):
            build(node, place, NOBODY)


@pytest.mark.parametrize("node", [*OTHER_PEOPLES, *OUR_OWN], ids=lambda node: str(node)[:60])
def test_a_refusal_does_not_invite_to_trust_what_is_no_class_of_the_user(node: Node) -> None:
    with pytest.raises(ValueError, match=r"evil\.ckpt") as refusal:
        build(node, "postprocess", NOBODY)
    offered = "trusted=" in str(refusal.value)
    assert offered == (node["_target_"] in ("evil.Model", "lightning.pytorch.Trainer", "torch.nn.Module"))


def test_what_ships_is_built_with_the_values_of_the_file() -> None:
    nms = build(target("deta.models.postprocess.NMS", iou_threshold=0.25), "postprocess", NOBODY)
    assert isinstance(nms, NMS)
    assert nms.iou_threshold == 0.25
    resize = target("deta.data.ResizeShortSide", short_sides=[64])
    transform = build(target("deta.data.Compose", transforms=[resize]), "data.val_transform", NOBODY)
    assert isinstance(transform, Compose)
    evaluator = target("deta.evaluation.CocoEvaluator", _partial_=True, max_detections=10)
    assert build(evaluator, "evaluator", NOBODY).keywords == {"max_detections": 10}
    with pytest.raises(ValueError, match=r"evil.ckpt: postprocess wants to build .*ResizeShortSide'"):
        build(resize, "postprocess", NOBODY)


def test_a_value_that_a_class_refuses_is_named_with_file_and_key() -> None:
    nms = target("deta.models.postprocess.NMS", iou_treshold=0.25)
    with pytest.raises(ValueError, match=r"evil.ckpt: postprocess cannot be built as stored: .*'iou_treshold'"):
        build(nms, "postprocess", NOBODY)
    broken = target("deta.data.Compose", transforms=[target("deta.data.ResizeShortSide", short_sides="x")])
    with pytest.raises(ValueError, match=r"evil.ckpt: data.val_transform.transforms\[0\] cannot be built"):
        build(broken, "data.val_transform", NOBODY)


@dataclass
class MyRule:
    """Stands for a class of the user."""

    value: int = 0
    inner: Any = field(default=None)


def my_function() -> None:
    """Stands for a function of the user."""


MINE = f"{__name__}.MyRule"


def test_a_class_of_the_user_is_built_if_he_names_it_or_its_package() -> None:
    node = target(MINE, value=3, inner=target("deta.models.postprocess.NMS"))
    with pytest.raises(ValueError, match=rf"trusted=\[{MINE}\]"):
        build(target(MINE), "postprocess", NOBODY)
    for name in (MINE, f"{__name__}."):
        assert build(target(MINE, value=3), "postprocess", Trust(Path("f"), (name,))).value == 3
    with pytest.raises(ValueError, match=r"postprocess\.inner wants to build"):  # a shipped class in another place
        build(node, "postprocess", Trust(Path("f"), (MINE,)))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("my_function", "which is no class"),
        ("os.mkdir", "which is no class"),
        ("Path", "has from pathlib"),
        ("Any", "has from typing|which is no class"),
        ("_private", "not among|no public class"),
        ("Missing", "cannot be imported"),
        ("MyRule.__init__", "no public class"),
    ],
)
def test_trust_in_a_package_reaches_its_own_public_classes_alone(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        build(target(f"{__name__}.{name}"), "postprocess", Trust(Path("f"), (f"{__name__}.",)))


@pytest.mark.parametrize(
    "names", ["mine.", ["mine"], ["."], [""], ["_mine."], ["mine._Rule"], ["os."], ["subprocess.Popen"], [7], None, {}]
)
def test_names_that_say_nothing_or_too_much_are_refused(names: object) -> None:
    if names == {}:
        assert require_names(names) == ()
        return
    with pytest.raises(ValueError, match=r"trusted must"):
        require_names(names)


FAR: Mapping[str, list[Any]] = {
    "data.shards": ["s3://bucket/x", "simplecache::s3://bucket/x", "//host/share", "https://example.org"],
    "data.root": ["/", "/dev", "/data/../proc", "../../dev"],
    "data.val_annotations": ["/dev/zero", "gs://bucket/a.json"],
    "data.num_workers": [1_000_000],
    "data.eval_batch_size": [1e9],
    "data.max_image_pixels": [10**12],
    "data.pad_to": [[8, 10**6]],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in FAR.items() for value in values])
def test_a_stored_value_that_reaches_further_is_refused_unless_its_key_or_the_setting_is_trusted(
    key: str, value: object
) -> None:
    config = {key.removeprefix("data."): value}
    (setting,) = needs_trust({"data": config})
    assert setting.startswith(f"{key}=")
    with pytest.raises(ValueError, match=rf"evil.ckpt asks for .*: give {key}=\.\.\. yourself .* trusted=\[{key}\]"):
        build({"_target_": "deta.data.CocoDataModule", **config}, "data", NOBODY)
    for name in (key, setting):
        require_near(config, "data", Trust(Path("f"), (name,)))
    with pytest.raises(ValueError, match="asks for"):
        require_near(config, "data", Trust(Path("f"), ("data.seed", f"{key}=3")))


def test_ordinary_stored_values_need_no_trust() -> None:
    data = {"root": "/data/coco", "val_images": "dev", "shards": None, "num_workers": 16, "pad_to": [800, 1333]}
    assert (
        needs_trust({"data": data, "model": {"backbone": {"name": "resnet50.a1_in1k", "weights": "/x/w.pt"}}}) == set()
    )


def checkpoint_of(run: Path, config: Node) -> Checkpoint:
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    return Checkpoint(run / "checkpoints" / "last.ckpt", {}, config, (1,), ("thing",))


def test_what_a_user_trained_himself_is_trusted_where_it_lies_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    config = {"postprocess": target(MINE, value=5), "model": target("deta.models.Detector")}
    assert needs_trust(config) == {MINE}
    own = checkpoint_of(tmp_path / "run", config)
    with pytest.raises(ValueError, match="wants to build"):
        build(section(own, "postprocess"), "postprocess", trust_in(own, ()))
    remember(tmp_path / "run", needs_trust(config))
    assert build(section(own, "postprocess"), "postprocess", trust_in(own, ())).value == 5
    copied = checkpoint_of(tmp_path / "copy", config)
    with pytest.raises(ValueError, match="wants to build"):
        build(section(copied, "postprocess"), "postprocess", trust_in(copied, ()))


def test_a_part_that_a_file_does_not_have_is_named(tmp_path: Path) -> None:
    for config in ({}, {"data": None}, {"data": {"val_transfrom": 1}}):
        with pytest.raises(ValueError, match=r"last.ckpt does not say with which data.val_transform it was trained"):
            section(checkpoint_of(tmp_path, config), "data.val_transform")


SYSTEMS = sorted(path.stem for path in (config_dir() / "system").glob("*.yaml"))
FURTHER = (
    "system=dn_detr further=[denoise,many,copies]",
    "system=dino further=[contrastive]",
    "system=fqdet model=fqdet_r50_encoder",
)


OFTEN = ("detr", "dn_deformable_detr", "dino", "fqdet", "retinanet", "centernet", "faster_rcnn")
"""Systems of every kind of body and source."""


@pytest.mark.parametrize(
    "words",
    [pytest.param(f"system={name}", marks=[] if name in OFTEN else pytest.mark.gate) for name in SYSTEMS]
    + [pytest.param(words, marks=pytest.mark.gate) for words in FURTHER],
)
def test_a_detector_of_every_system_is_built_from_a_file_without_trust(words: str) -> None:
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", [*words.split(), "size=coco", "run_dir=none", "name=test"])
    content = {name: plain(cfg)[name] for name in ("model", "postprocess", "evaluator")}
    assert needs_trust(content) == set()
    with torch.device("meta"):
        detector = build(with_classes(without_pretrained(content["model"]), 3), "model", NOBODY)
    assert isinstance(detector, Detector)
    assert callable(build(content["postprocess"], "postprocess", NOBODY))
