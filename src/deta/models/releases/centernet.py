"""CenterNet: arXiv:1904.07850, as in mmdetection, with deformable convolutions or without."""

from deta.models.releases.layout import Pair, Release

_BRANCHES = (("heatmap_head", "class_logits"), ("offset_head", "offset"), ("wh_head", "size"))
_HEAD: tuple[Pair, ...] = tuple((f"bbox_head.{theirs}.#.", f"body.head.{ours}.#.") for theirs, ours in _BRANCHES)
CENTERNET = Release(
    "CenterNet of mmdetection",
    (
        ("neck.deconv_layers.#.conv.", "neck.layers.#.0."),
        ("neck.deconv_layers.#.bn.", "neck.layers.#.1."),
        *_HEAD,
    ),
    optional=(("backbone.", "backbone.body."),),
)
