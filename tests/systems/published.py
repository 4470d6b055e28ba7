"""Files about the published models, and the detectors of ours that should equal them."""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from _pytest.mark.structures import ParameterSet
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor

from deta.building.build import make_detector
from deta.building.published import published_model
from deta.cli import config_dir
from deta.models import Detector
from deta.models.releases import RELEASES, Release
from deta.models.releases.layout import head
from deta.models.releases.parts import TWO_STAGE
from tests.reference_cases import skipped
from tests.systems.conftest import systems_folder

DC5 = "model.backbone.dilated=true"
PATTERNS = "model.body.source.num_patterns=3"
SINGLE_SCALE = "model.neck.num_levels=1"
WITHOUT_TRICKS = ("further=[]", "model.body.source.content=position", "model.body.decoder.refine=iterative")
WORDS: Mapping[str, tuple[str, ...]] = {
    "dab_deformable_detr_r50": ("experiment=dab_deformable_detr_r50_50ep",),
    "dab_detr_r50": ("experiment=dab_detr_r50_50ep",),
    "dab_detr_r50_3pat": ("experiment=dab_detr_r50_50ep", PATTERNS),
    "dab_detr_r50_dc5": ("experiment=dab_detr_r50_50ep", DC5),
    "deformable_r50": ("experiment=deformable_detr_r50_50ep",),
    "deformable_refine_r50": ("experiment=deformable_detr_refine_r50_50ep",),
    "deformable_single_scale_dc5_r50": ("experiment=deformable_detr_r50_50ep", SINGLE_SCALE, DC5),
    "deformable_single_scale_r50": ("experiment=deformable_detr_r50_50ep", SINGLE_SCALE),
    "deformable_two_stage_r50": ("experiment=deformable_detr_two_stage_r50_50ep",),
    "detr_r50": ("experiment=detr_r50_500ep",),
    "detr_r50_dc5": ("experiment=detr_r50_dc5_500ep",),
    "dino_4scale_r50": ("experiment=dino_r50_12ep",),
    "dino_5scale_r50": ("experiment=dino_5scale_r50_12ep",),
    "dn_deformable_detr_encoder_only_r50": ("experiment=dn_deformable_detr_encoder_only_r50_50ep",),
    "dn_deformable_detr_r50": ("experiment=dn_deformable_detr_r50_50ep",),
    "dn_detr_r50": ("experiment=dn_detr_r50_50ep",),
    "dn_detr_r50_dc5": ("experiment=dn_detr_r50_50ep", DC5),
    "dn_detr_r50_dc5_3pat": ("experiment=dn_detr_r50_50ep", DC5, PATTERNS),
    "fqdet_r50_defenc": ("experiment=fqdet_r50_encoder_12ep", "num_classes=80"),
    "fqdet_r50_fpn": ("experiment=fqdet_r50_12ep", "num_classes=80"),
    "group_detr_r50": ("experiment=group_detr_r50_12ep",),
    "hdetr_r50": ("experiment=h_detr_r50_12ep",),
    "hdetr_r50_deformable_baseline": ("experiment=h_detr_r50_12ep", *WITHOUT_TRICKS),
}
"""What to give ``deta`` for the published model of a query system of a file."""
STATISTICS = "backbone@model.backbone=resnet50_statistics"
DENSE: Mapping[str, tuple[str, ...]] = {
    "retinanet_r50_fpn_torchvision": ("system=retinanet", "+model.backbone.norm_eps=0"),
    "retinanet_r50_fpn_v2_torchvision": ("system=retinanet_v2", "backbone@model.backbone=resnet50_live"),
    "fcos_r50_fpn_torchvision": ("system=fcos",),
    "retinanet_r50_fpn_mmdet": ("system=retinanet", "model=retinanet_mmdet_r50", "num_classes=80"),
    "fcos_r50_fpn_mmdet": ("system=fcos", "model=fcos_mmdet_r50", "num_classes=80"),
    "atss_r50_fpn_mmdet": ("system=atss", STATISTICS, "num_classes=80"),
    "gfl_r50_fpn_mmdet": ("system=gfl", STATISTICS, "num_classes=80"),
    "tood_r50_fpn_mmdet": ("system=tood", STATISTICS, "num_classes=80"),
    "centernet_r18_mmdet": ("system=centernet", "model=centernet_r18", "num_classes=80"),
    "centernet_r18_dcnv2_mmdet": (
        "system=centernet",
        "model=centernet_r18",
        "neck@model.neck=deconv_deformable",
        "num_classes=80",
    ),
    "yolox_s": ("system=yolox", "model=yolox_s", "num_classes=80"),
    "faster_rcnn_r50_fpn_torchvision": ("system=faster_rcnn", "+model.backbone.norm_eps=0", "num_classes=90"),
    "faster_rcnn_r50_fpn_v2_torchvision": (
        "system=faster_rcnn_v2",
        "backbone@model.backbone=resnet50_c2_live",
        "num_classes=90",
    ),
    "tsp_rcnn_r50": ("system=tsp_rcnn", "model=tsp_rcnn_caffe_r50", "num_classes=80"),
    "yolox_l": ("system=yolox", "model=yolox_l", "num_classes=80"),
    "yolox_s_mmdet": ("system=yolox", "model=yolox_s", "num_classes=80"),
}
"""The same of systems of dense heads and of regions."""
TWINS = {"retinanet_r50_fpn_mmdet": "RetinaNet of mmdetection", "yolox_s_mmdet": "YOLOX of mmdetection"}
"""The layout of a model that an earlier one of ``RELEASES`` fits too, and that is to be named therefore."""
EFFICIENT_DETR = Release(
    "Efficient DETR",
    (
        *TWO_STAGE[: TWO_STAGE.index(head("class_embed.{layers}", "", "body.source.head")[0])],
        *(
            pair
            for number in ("#", "{layers}")
            for begin in ("", "transformer.decoder.")
            for pair in head(f"{begin}class_embed.{number}", f"{begin}bbox_embed.{number}", "body.source.head")
        ),
    ),
)
"""Its weights were not published; the reference cases store its one head for the first stage and for every layer."""
SAME_TIES = {
    "deformable_single_scale_dc5_r50": "deformable_r50",
    "deformable_single_scale_r50": "deformable_r50",
    "deformable_refine_r50": "deformable_two_stage_r50",
    "hdetr_r50_deformable_baseline": "deformable_two_stage_r50",
    "dino_5scale_r50": "dino_4scale_r50",
}
"""Models without a file of their groups, and one that has the same parameters under several names."""


def stems(
    kind: str, where: Callable[[Path, str], object] | None = None, among: Iterable[str] = WORDS
) -> list[ParameterSet]:
    """The models of which there is a file ``<stem>_<kind>.json``; one that is skipped where there are none.

    Args:
        kind: End of the file's name.
        among: The models to look for.
        where: Given the folder and a stem, whether to take it; None takes all.
    """
    folder = systems_folder()
    found = [stem for stem in among if (folder / f"{stem}_{kind}.json").is_file()]
    found = [stem for stem in found if where is None or where(folder, stem)]
    absent = f"no file of {kind} in {folder} (set DETA_SYSTEMS_DIR)"
    return [pytest.param(stem, id=stem) for stem in found] or [skipped(absent)]


def read(folder: Path, stem: str, kind: str) -> dict[str, Any]:
    """The content of one of these files."""
    content: dict[str, Any] = json.loads((folder / f"{stem}_{kind}.json").read_text())
    return content


def recipe_of(folder: Path, stem: str) -> dict[str, Any]:
    """What the file of a model's groups tells beside them; nothing in some."""
    recipe: dict[str, Any] = read(folder, stem, "param_groups").get("recipe", {})
    return recipe


def ties(folder: Path, stem: str) -> dict[str, str]:
    """Further names of parameters of a published state dict, and the first one of each."""
    names = read(folder, stem, "state_dict_keys")
    tied = dict(read(folder, SAME_TIES.get(stem, stem), "param_groups")["tied_keys"])
    return {copy: first for copy, first in tied.items() if copy in names and first in names}


@cache
def numbered(folder: Path, stem: str) -> Mapping[str, Tensor]:
    """A published state dict in which every parameter has a number of its own everywhere."""
    keys = read(folder, stem, "state_dict_keys")
    aliases = ties(folder, stem)
    numbers = {name: float(number) for number, name in enumerate(keys)}
    constants = {name: torch.tensor(values) for release in RELEASES for name, values in release.constants.items()}
    return {
        name: constants.get(name, torch.tensor(numbers[aliases.get(name, name)])).expand(shape)
        for name, shape in keys.items()
    }


@cache
def composed(stem: str) -> DictConfig:
    """The configuration of the published model; not to be changed."""
    words = (*({**WORDS, **DENSE}[stem]), "source=none", "target=none", "name=test", "run_dir=.")
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("convert", list(words))


@cache
@cache
def published_detector(stem: str) -> Detector:
    """The published model, without storage; not to be changed."""
    cfg = composed(stem)
    with torch.device("meta"):
        detector = make_detector(published_model(cfg), cfg.num_classes)
    assert isinstance(detector, Detector)
    return detector
