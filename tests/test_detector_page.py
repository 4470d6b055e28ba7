"""docs/detector.md names files, classes, values and shapes that exist, and every page dotted names that do."""

import importlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from deta.cli import config_dir
from deta.console.naming import register_resolvers
from deta.data import Collate, Sample
from deta.models import Detector
from deta.models.query.body import QueryBody
from deta.ops.random import Draw
from deta.structures import StageKey
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "detector.md").read_text(encoding="utf-8")
SPANS = sorted(set(re.findall(r"`([^`\n]+)`", PAGE)))
PATHS = [span for span in SPANS if re.match(r"(src|conf)/", span)]
NAMES = [span for span in SPANS if re.fullmatch(r"[A-Z]\w*[a-z]\w*(\.\w+)?|NMS", span)]
VALUES = [span for span in SPANS if re.fullmatch(r"[a-z_0-9]+(\.[a-z_0-9]+)+=\S+", span)]
SHAPES = dict(re.findall(r"^\| `([^`]+)` \| `\[.*\| ([\d, ]+) \|$", PAGE, re.MULTILINE))


@pytest.mark.parametrize("path", PATHS)
def test_every_file_of_the_page_exists(path: str) -> None:
    assert (ROOT / path).exists()


@cache
def modules() -> tuple[ModuleType, ...]:
    """Those of all source files and packages that the page names."""
    parts = [Path(path).with_suffix("").parts[1:] for path in PATHS if path.startswith("src/")]
    return tuple(importlib.import_module(".".join(part)) for part in parts)


@pytest.mark.parametrize("name", NAMES)
def test_every_class_of_the_page_stands_in_a_file_of_the_page(name: str) -> None:
    owner, _, member = name.partition(".")
    found = [getattr(module, owner) for module in modules() if hasattr(module, owner)]
    assert found, f"no file that docs/detector.md names has {owner}"
    assert not member or hasattr(found[0], member)


BESIDE_FILES = [
    (name, path)
    for names, path in re.findall(r"^\| ((?:[^|]*`[A-Z]\w+`)+[^|]*)\| `(src/[^`]+)` \|", PAGE, re.MULTILINE)
    for name in re.findall(r"`(\w+)`", names)
]
"""Of a table, a class and the one file of its row."""


@pytest.mark.parametrize(("name", "path"), BESIDE_FILES)
def test_every_class_of_a_table_stands_in_the_file_of_its_row(name: str, path: str) -> None:
    assert hasattr(importlib.import_module(".".join(Path(path).with_suffix("").parts[1:])), name)


def dotted_names() -> list[tuple[str, str]]:
    """Names of ours that any page writes with their module; docs/moved.md tells of names that are no more."""
    pages = [path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "moved.md"]
    found = {
        (page.name, name)
        for page in pages
        for name in re.findall(r"\bdeta(?:\.[A-Za-z_]\w*)+", page.read_text("utf-8"))
    }
    return sorted((page, name) for page, name in found if not name.endswith((".fish", ".json", ".yaml")))


@pytest.mark.parametrize(("page", "name"), dotted_names())
def test_every_dotted_name_of_every_page_exists(page: str, name: str) -> None:
    assert resolve_name(name) is not None, f"docs/{page} names {name}"


@pytest.fixture
def composed() -> Iterator[None]:
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield


def training(*words: str) -> DictConfig:
    return compose("train", [*words, "name=test", "run_dir=none"])


@pytest.mark.usefixtures("composed")
def test_every_value_of_the_page_is_that_of_deta() -> None:
    cfg = training("system=deta", "size=coco")
    assert len(VALUES) > 10
    found = {value: f"{key}={OmegaConf.select(cfg, key)}" for value in VALUES for key in [value.partition("=")[0]]}
    assert {value: value for value in VALUES} == found


def image(height: int, width: int, num_objects: int) -> Sample:
    corners = torch.rand(num_objects, 2) * 40
    return Sample(
        image=torch.zeros(3, height, width, dtype=torch.uint8),
        boxes=torch.cat((corners, corners + 30), dim=1),
        labels=torch.zeros(num_objects, dtype=torch.int64),
        areas=torch.full((num_objects,), 900.0),
        ignore_boxes=torch.zeros(0, 4),
        image_id=num_objects,
        original_size=(height, width),
    )


def shapes_of_a_batch(cfg: DictConfig) -> Mapping[str, Tensor]:
    """The values of the page, made one part after the other."""
    detector = instantiate(cfg.model, _convert_="all", num_classes=6)
    criterion = instantiate(cfg.criterion, _convert_="all")
    assert isinstance(detector, Detector)
    body = detector.body
    assert isinstance(body, QueryBody)
    batch = Collate()([image(128, 176, 3), image(112, 192, 1)])
    pixels, is_padding = detector.input(batch.images, batch.is_padding, tuple(batch.images.shape[2:]))
    features = detector.features(detector.backbone(pixels), is_padding)
    memory = body.encoder(features)
    queries, _ = body.source(memory)
    output = body(features, batch.targets, Draw.of(0))
    losses = criterion(output, batch.targets, Draw.of(0))
    detections = instantiate(cfg.postprocess, _convert_="all")(output.final, batch.original_sizes)
    return {
        "batch.images": batch.images,
        "batch.targets.boxes": batch.targets.boxes,
        "features.maps[0]": features.maps[0],
        "memory.tokens": memory.tokens,
        "queries.content": queries.content,
        "queries.references": queries.references,
        "queries.source": queries.source,
        "first.logits": output.stages[StageKey("first")].logits,
        "first.boxes": output.stages[StageKey("first")].boxes,
        "layer.logits": output.final.logits,
        "layer.boxes": output.final.boxes,
        'matches["first"].target': losses.matches[StageKey("first")].classes.target,
        'matches["layers"].target': losses.matches[StageKey("layers")].classes.target,
        "losses.sums": losses.sums,
        "detections.boxes": detections.boxes,
    }


@pytest.mark.usefixtures("composed")
def test_every_shape_of_the_page_is_that_of_a_batch() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        values = shapes_of_a_batch(training("experiment=deta_shapes"))
    assert {name: ", ".join(map(str, value.shape)) for name, value in values.items()} == SHAPES
