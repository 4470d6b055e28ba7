"""Dense detectors of torchvision and of mmdetection.

RetinaNet: arXiv:1708.02002. FCOS: arXiv:1904.01355. ATSS: arXiv:1912.02424. GFL: arXiv:2006.04388.
"""

from deta.models.releases.layout import Pair, Release

_TORCHVISION: tuple[Pair, ...] = (
    ("backbone.fpn.inner_blocks.#.0.", "neck.laterals.#."),
    ("backbone.fpn.layer_blocks.#.0.", "neck.outputs.#."),
    ("backbone.fpn.extra_blocks.p6.", "neck.extras.0."),
    ("backbone.fpn.extra_blocks.p7.", "neck.extras.1."),
    ("head.classification_head.cls_logits.", "body.head.class_logits."),
    ("head.regression_head.bbox_reg.", "body.head.box_code."),
)
_TORCHVISION_BACKBONE: tuple[Pair, ...] = (("backbone.body.", "backbone.body."),)
RETINANET = Release(
    "RetinaNet of torchvision",
    (
        *_TORCHVISION,
        ("head.classification_head.conv.#.#.", "body.head.class_tower.#.#."),
        ("head.regression_head.conv.#.#.", "body.head.box_tower.#.#."),
    ),
    optional=_TORCHVISION_BACKBONE,
)
_MOST_CONVOLUTIONS = 16
_FLAT: tuple[Pair, ...] = tuple(
    (f"head.{published}_head.conv.{3 * number + part}.", f"body.head.{ours}_tower.{number}.{part}.")
    for published, ours in (("classification", "class"), ("regression", "box"))
    for number in range(_MOST_CONVOLUTIONS)
    for part in range(2)
)
"""Convolution, norm and activation one after the other: the numbers of a tower count all three."""
FCOS = Release(
    "FCOS of torchvision",
    (*_TORCHVISION, ("head.regression_head.bbox_ctrness.", "body.head.quality.")),
    optional=(*_TORCHVISION_BACKBONE, *_FLAT),
)


_FPN: tuple[Pair, ...] = (
    ("neck.lateral_convs.#.conv.", "neck.laterals.#."),
    ("neck.fpn_convs.3.conv.", "neck.extras.0."),
    ("neck.fpn_convs.4.conv.", "neck.extras.1."),
    ("neck.fpn_convs.#.conv.", "neck.outputs.#."),
)


def _mmdetection(name: str, head: str, *others: Pair) -> Release:
    return Release(
        f"{name} of mmdetection",
        (
            *_FPN,
            ("bbox_head.cls_convs.#.conv.", "body.head.class_tower.#.0."),
            ("bbox_head.cls_convs.#.gn.", "body.head.class_tower.#.1."),
            ("bbox_head.reg_convs.#.conv.", "body.head.box_tower.#.0."),
            ("bbox_head.reg_convs.#.gn.", "body.head.box_tower.#.1."),
            (f"bbox_head.{head}_cls.", "body.head.class_logits."),
            (f"bbox_head.{head}_reg.", "body.head.box_code."),
            ("bbox_head.scales.#.scale", "body.head.level_scale.#"),
            *others,
        ),
        optional=(("backbone.", "backbone.body."),),
        constants={"bbox_head.integral.project": tuple(map(float, range(17)))} if head == "gfl" else {},
    )


TOOD = Release(
    "TOOD of mmdetection",
    (
        *_FPN,
        ("bbox_head.inter_convs.#.conv.", "body.head.tower.#.0."),
        ("bbox_head.inter_convs.#.gn.", "body.head.tower.#.1."),
        *(
            pair
            for published, ours in (("cls", "class"), ("reg", "box"))
            for pair in (
                (f"bbox_head.{published}_decomp.layer_attention.#.", f"body.head.{ours}_layers.attention.#."),
                (f"bbox_head.{published}_decomp.reduction_conv.conv.", f"body.head.{ours}_layers.reduction."),
                (f"bbox_head.{published}_decomp.reduction_conv.gn.", f"body.head.{ours}_layers.norm."),
            )
        ),
        ("bbox_head.tood_cls.", "body.head.class_logits."),
        ("bbox_head.tood_reg.", "body.head.box_code."),
        ("bbox_head.cls_prob_module.#.", "body.head.quality.#."),
        ("bbox_head.reg_offset_module.#.", "body.head.offsets.#."),
        ("bbox_head.scales.#.scale", "body.head.level_scale.#"),
    ),
    optional=(("backbone.", "backbone.body."),),
)
ATSS = _mmdetection("ATSS", "atss", ("bbox_head.atss_centerness.", "body.head.quality."))
GFL = _mmdetection("GFL", "gfl")
