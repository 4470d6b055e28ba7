"""YOLOX: arXiv:2107.08430, github.com/Megvii-BaseDetection/YOLOX, and as in mmdetection."""

from deta.models.releases.layout import Pair, Release

_STAGES = 4


def _block(published: str, ours: str) -> tuple[Pair, ...]:
    """Pairs of a convolution and its norm."""
    return ((f"{published}.conv.", f"{ours}.0."), (f"{published}.bn.", f"{ours}.1."))


def _partial(published: str, ours: str, parts: tuple[str, str, str, str]) -> tuple[Pair, ...]:
    """Pairs of a partial block; ``parts`` are the published names of its convolutions and of its bottlenecks."""
    through, past, output, blocks = parts
    return (
        *_block(f"{published}.{through}", f"{ours}.through"),
        *_block(f"{published}.{past}", f"{ours}.past"),
        *_block(f"{published}.{output}", f"{ours}.output"),
        *(
            pair
            for number in range(2)
            for pair in _block(f"{published}.{blocks}.#.conv{number + 1}", f"{ours}.blocks.#.{number}")
        ),
    )


def _backbone(stem: str, stage: str, first: int, parts: tuple[str, str, str, str]) -> tuple[Pair, ...]:
    """Pairs of the backbone, whose stages are published as ``stage`` with a number, from ``first`` on."""
    pairs = _block(f"{stem}.conv", "backbone.body.stem")
    for number in range(_STAGES):
        theirs, ours = f"{stage}{first + number}", f"backbone.body.stages.{number}"
        pairs += _block(f"{theirs}.0", f"{ours}.0")
        place = 1
        if number == _STAGES - 1:
            pairs += _block(f"{theirs}.1.conv1", f"{ours}.1.first") + _block(f"{theirs}.1.conv2", f"{ours}.1.last")
            place = 2
        pairs += _partial(f"{theirs}.{place}", f"{ours}.{place}", parts)
    return pairs


_PARTS = ("conv1", "conv2", "conv3", "m")
YOLOX = Release(
    "YOLOX",
    (
        *_block("backbone.lateral_conv0", "neck.from_coarse"),
        *_partial("backbone.C3_p4", "neck.middle_down", _PARTS),
        *_block("backbone.reduce_conv1", "neck.from_middle"),
        *_partial("backbone.C3_p3", "neck.fine", _PARTS),
        *_block("backbone.bu_conv2", "neck.to_middle"),
        *_partial("backbone.C3_n3", "neck.middle", _PARTS),
        *_block("backbone.bu_conv1", "neck.to_coarse"),
        *_partial("backbone.C3_n4", "neck.coarse", _PARTS),
        *_block("head.stems.#", "body.head.stems.#"),
        *_block("head.cls_convs.#.#", "body.head.class_towers.#.#"),
        *_block("head.reg_convs.#.#", "body.head.box_towers.#.#"),
        ("head.cls_preds.#.", "body.head.class_logits.#."),
        ("head.reg_preds.#.", "body.head.box_code.#."),
        ("head.obj_preds.#.", "body.head.quality.#."),
    ),
    optional=_backbone("backbone.backbone.stem", "backbone.backbone.dark", 2, _PARTS),
)
_MMDETECTION_PARTS = ("main_conv", "short_conv", "final_conv", "blocks")
YOLOX_MMDETECTION = Release(
    "YOLOX of mmdetection",
    (
        *_block("neck.reduce_layers.0", "neck.from_coarse"),
        *_partial("neck.top_down_blocks.0", "neck.middle_down", _MMDETECTION_PARTS),
        *_block("neck.reduce_layers.1", "neck.from_middle"),
        *_partial("neck.top_down_blocks.1", "neck.fine", _MMDETECTION_PARTS),
        *_block("neck.downsamples.0", "neck.to_middle"),
        *_partial("neck.bottom_up_blocks.0", "neck.middle", _MMDETECTION_PARTS),
        *_block("neck.downsamples.1", "neck.to_coarse"),
        *_partial("neck.bottom_up_blocks.1", "neck.coarse", _MMDETECTION_PARTS),
        *_block("neck.out_convs.#", "body.head.stems.#"),
        *_block("bbox_head.multi_level_cls_convs.#.#", "body.head.class_towers.#.#"),
        *_block("bbox_head.multi_level_reg_convs.#.#", "body.head.box_towers.#.#"),
        ("bbox_head.multi_level_conv_cls.#.", "body.head.class_logits.#."),
        ("bbox_head.multi_level_conv_reg.#.", "body.head.box_code.#."),
        ("bbox_head.multi_level_conv_obj.#.", "body.head.quality.#."),
    ),
    optional=_backbone("backbone.stem", "backbone.stage", 1, _MMDETECTION_PARTS),
)
