"""Dense detectors of torchvision and of mmdetection.

RetinaNet: arXiv:1708.02002. FCOS: arXiv:1904.01355. ATSS: arXiv:1912.02424. GFL: arXiv:2006.04388.
"""

from deta.models.releases.layout import Pair, Release

_MOST_CONVOLUTIONS = 16
_TOWERS = (
    ("head.classification_head.conv.", "body.head.class_tower."),
    ("head.regression_head.conv.", "body.head.box_tower."),
)
_AFFINE = ("weight", "bias")


def _flat(layers: int, parts: int) -> tuple[Pair, ...]:
    """Pairs of towers that are published in one row, ``layers`` to a convolution, the first ``parts`` with weights."""
    return tuple(
        (f"{published}{layers * number + part}.{name}", f"{ours}{number}.{part}.{name}")
        for published, ours in _TOWERS
        for number in range(_MOST_CONVOLUTIONS)
        for part in range(parts)
        for name in _AFFINE
    )


_EXTRAS: tuple[Pair, ...] = (
    ("backbone.fpn.extra_blocks.p6.", "neck.extras.0."),
    ("backbone.fpn.extra_blocks.p7.", "neck.extras.1."),
)
PYRAMID: tuple[Pair, ...] = (
    ("backbone.fpn.inner_blocks.#.0.", "neck.laterals.#."),
    ("backbone.fpn.layer_blocks.#.0.", "neck.outputs.#."),
)
OLDER_PYRAMID: tuple[Pair, ...] = (
    *((f"backbone.fpn.inner_blocks.#.{name}", f"neck.laterals.#.{name}") for name in _AFFINE),
    *((f"backbone.fpn.layer_blocks.#.{name}", f"neck.outputs.#.{name}") for name in _AFFINE),
)
"""As convolutions were named while no norm could follow them."""
_LEVELS: tuple[Pair, ...] = (*PYRAMID, *_EXTRAS)
_OLDER_LEVELS: tuple[Pair, ...] = (*OLDER_PYRAMID, *_EXTRAS)
_OUTPUTS: tuple[Pair, ...] = (
    ("head.classification_head.cls_logits.", "body.head.class_logits."),
    ("head.regression_head.bbox_reg.", "body.head.box_code."),
)
_BACKBONE: tuple[Pair, ...] = (("backbone.body.", "backbone.body."),)
RETINANET = Release(
    "RetinaNet of torchvision",
    (*_LEVELS, *_OUTPUTS, *((f"{published}#.#.", f"{ours}#.#.") for published, ours in _TOWERS)),
    optional=_BACKBONE,
)
"""Its second version too."""
OLDER_RETINANET = Release(
    "RetinaNet of an older torchvision",
    (*_OLDER_LEVELS, *_OUTPUTS),
    optional=(*_BACKBONE, *_flat(2, 1)),
)
_CENTERNESS: tuple[Pair, ...] = (("head.regression_head.bbox_ctrness.", "body.head.quality."),)
FCOS = Release(
    "FCOS of torchvision",
    (*_LEVELS, *_OUTPUTS, *_CENTERNESS),
    optional=(*_BACKBONE, *_flat(3, 2)),
)
OLDER_FCOS = Release(
    "FCOS of an older torchvision",
    (*_OLDER_LEVELS, *_OUTPUTS, *_CENTERNESS),
    optional=(*_BACKBONE, *_flat(3, 2)),
)

_FPN: tuple[Pair, ...] = (
    ("neck.lateral_convs.#.conv.", "neck.laterals.#."),
    ("neck.fpn_convs.3.conv.", "neck.extras.0."),
    ("neck.fpn_convs.4.conv.", "neck.extras.1."),
    ("neck.fpn_convs.#.conv.", "neck.outputs.#."),
)
_NORMS: tuple[Pair, ...] = (
    ("bbox_head.cls_convs.#.gn.", "body.head.class_tower.#.1."),
    ("bbox_head.reg_convs.#.gn.", "body.head.box_tower.#.1."),
)
_SCALES: tuple[Pair, ...] = (("bbox_head.scales.#.scale", "body.head.level_scale.#"),)
_MMDETECTION_BACKBONE: tuple[Pair, ...] = (("backbone.", "backbone.body."),)


def _mmdetection(name: str, head: str, *others: Pair, bias: bool = True) -> Release:
    """A detector whose outputs begin with ``head``, and whose convolutions of towers have a bias or none."""
    return Release(
        f"{name} of mmdetection",
        (
            *_FPN,
            *(
                (f"bbox_head.{published}_convs.#.conv.{part}", f"body.head.{ours}_tower.#.0.{part}")
                for published, ours in (("cls", "class"), ("reg", "box"))
                for part in (_AFFINE if bias else _AFFINE[:1])
            ),
            (f"bbox_head.{head}_cls.", "body.head.class_logits."),
            (f"bbox_head.{head}_reg.", "body.head.box_code."),
            *others,
        ),
        optional=_MMDETECTION_BACKBONE,
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
        *_SCALES,
    ),
    optional=_MMDETECTION_BACKBONE,
)
RETINANET_MMDETECTION = _mmdetection("RetinaNet", "retina")
FCOS_MMDETECTION = _mmdetection("FCOS", "conv", *_NORMS, *_SCALES, ("bbox_head.conv_centerness.", "body.head.quality."))
ATSS = _mmdetection("ATSS", "atss", *_NORMS, *_SCALES, ("bbox_head.atss_centerness.", "body.head.quality."), bias=False)
GFL = _mmdetection("GFL", "gfl", *_NORMS, *_SCALES, bias=False)
