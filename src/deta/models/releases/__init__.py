"""Published checkpoints of the detectors: one layout for each publication, chosen by the names of the parameters."""

import logging
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from deta.models.detector import Detector
from deta.models.releases.centernet import CENTERNET
from deta.models.releases.dab_deformable_detr import DAB_DEFORMABLE_DETR
from deta.models.releases.dab_detr import DAB_DETR
from deta.models.releases.deformable_detr import DEFORMABLE_TWO_STAGE, PLAIN, REFINE
from deta.models.releases.dense import (
    ATSS,
    FCOS,
    FCOS_MMDETECTION,
    GFL,
    OLDER_FCOS,
    OLDER_RETINANET,
    RETINANET,
    RETINANET_MMDETECTION,
    TOOD,
)
from deta.models.releases.deta import DETA
from deta.models.releases.detr import DETR
from deta.models.releases.dino import DINO, DINO_SWIN
from deta.models.releases.dn_deformable_detr import DN_DEFORMABLE_DETR, ENCODER_ONLY
from deta.models.releases.dn_detr import DN_DETR
from deta.models.releases.faster_rcnn import FASTER_RCNN, FASTER_RCNN_V2, OLDER_FASTER_RCNN
from deta.models.releases.fqdet import FQDET, FQDET_ENCODER
from deta.models.releases.group_detr import GROUP_DETR
from deta.models.releases.h_detr import H_DETR
from deta.models.releases.layout import OURS, PUBLISHED, Release
from deta.models.releases.tsp_rcnn import TSP_RCNN
from deta.models.releases.yolox import YOLOX, YOLOX_MMDETECTION
from deta.models.weights import read_state_dict, require_fit
from deta.utils.checks import require_choice

__all__ = [
    "RELEASES",
    "Release",
    "from_release",
    "layout_of",
    "layouts_of",
    "published_layout",
    "read_release",
    "to_release",
]

_log = logging.getLogger(__name__)

RELEASES = (
    DETA,
    PLAIN,
    REFINE,
    DEFORMABLE_TWO_STAGE,
    DETR,
    DAB_DETR,
    DAB_DEFORMABLE_DETR,
    DN_DETR,
    DN_DEFORMABLE_DETR,
    ENCODER_ONLY,
    DINO_SWIN,  # before the other one, which has some name for every backbone
    DINO,
    GROUP_DETR,
    H_DETR,
    FQDET,
    FQDET_ENCODER,
    RETINANET,
    OLDER_RETINANET,
    RETINANET_MMDETECTION,
    FCOS,
    OLDER_FCOS,
    FCOS_MMDETECTION,
    ATSS,
    GFL,
    TOOD,
    YOLOX,
    YOLOX_MMDETECTION,
    CENTERNET,
    FASTER_RCNN,
    OLDER_FASTER_RCNN,
    FASTER_RCNN_V2,
    TSP_RCNN,
)
"""Of several for one detector, the first one is written where none is chosen."""


def layouts_of(names: Iterable[str]) -> list[Release]:
    """All layouts in which a detector is published that has parameters and buffers of these names.

    Raises:
        ValueError: There is none; the message says what the nearest one lacks or has beside.
    """
    return list(_layouts_of(tuple(names)))


@lru_cache(maxsize=8)
def _layouts_of(names: tuple[str, ...]) -> tuple[Release, ...]:
    """``layouts_of`` in moments for names that were asked for before, as a detector that is read and written is."""
    misfits = {release.name: release.misfits(names, OURS) for release in RELEASES}
    fitting = tuple(release for release in RELEASES if not misfits[release.name])
    if not fitting:
        nearest = min(RELEASES, key=lambda release: len(misfits[release.name]))
        differences = misfits[nearest.name]
        some = ", ".join(differences[:5]) + (", ..." if len(differences) > 5 else "")
        raise ValueError(f"model: no such detector was published; from the nearest, {nearest.name}, differ: {some}")
    return fitting


def layout_of(names: Iterable[str], name: str | None = None) -> Release:
    """The layout of that name in which a detector with these names is published; None takes the first one.

    Raises:
        ValueError: There is none.
    """
    fitting = {release.name: release for release in layouts_of(names)}
    return fitting[next(iter(fitting)) if name is None else require_choice("layout", name, fitting)]


def published_layout(names: Iterable[str]) -> Release | None:
    """The layout of a file with these names; None if it is none of a publication that is known."""
    names = list(names)
    return next((release for release in RELEASES if not release.misfits(names, PUBLISHED)), None)


def from_release(state: Mapping[str, Tensor], detector: Detector) -> dict[str, Tensor]:
    """A published state dict under the names of ``detector``; numbers of layers, levels, queries and classes are free.

    Raises:
        ValueError: No such detector was published, the state is of another one, a name has no counterpart, or what
            should be one parameter differs.
    """
    own = detector.state_dict()
    return _layout_for(state, own).from_release(state, own)


def _layout_for(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Release:
    """Of the layouts of a detector the one nearest to a published state dict."""
    layout = min(layouts_of(own), key=lambda release: len(release.misfits(state, PUBLISHED)))
    found = published_layout(state)
    if found is not None and layout.misfits(state, PUBLISHED):
        raise ValueError(f"weights: they are of {found.name}, the detector is {layout.name}: choose its system")
    return layout


def to_release(detector: Detector, layout: str | None = None) -> dict[str, Tensor]:
    """State dict of ``detector`` under the published names, each parameter as often as it is published.

    Args:
        detector: Of a published architecture.
        layout: Name of the layout where several publications have this detector; None is the first one.

    Raises:
        ValueError: No such detector was published, or not in that layout.
    """
    state = detector.state_dict()
    return layout_of(state, layout).to_release(state)


def read_release(detector: Detector, path: Path | str, *, averaged: bool = False) -> dict[str, Tensor]:
    """The weights of a published checkpoint file under the names of ``detector``, all of it.

    A published first stage has as many class outputs as there are categories: ``source.num_classes`` must
    say so, and ``num_classes`` is 91 for COCO.

    Args:
        detector: Of the same architecture; may be without content.
        path: The file.
        averaged: See ``read_state_dict``.

    Returns:
        Name to tensor in the order and types of the detector.

    Raises:
        ValueError: Anything missing, unexpected or of another shape.
    """
    state, own = read_state_dict(path, averaged=averaged), detector.state_dict()
    layout = _layout_for(state, own)
    weights = layout.from_release(state, own)
    require_fit(detector, weights, str(path))
    _log.info("%s: the layout of %s", path, layout.name)
    return {name: weights[name].to(value.dtype) for name, value in own.items()}
