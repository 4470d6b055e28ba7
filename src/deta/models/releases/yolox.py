"""YOLOX: arXiv:2107.08430, github.com/Megvii-BaseDetection/YOLOX."""

from deta.models.releases.layout import Pair, Release


def _block(published: str, ours: str) -> tuple[Pair, ...]:
    """Pairs of a convolution and its norm."""
    return ((f"{published}.conv.", f"{ours}.0."), (f"{published}.bn.", f"{ours}.1."))


def _partial(published: str, ours: str) -> tuple[Pair, ...]:
    parts = (("conv1", "through"), ("conv2", "past"), ("conv3", "output"))
    return (
        *(pair for theirs, own in parts for pair in _block(f"{published}.{theirs}", f"{ours}.{own}")),
        *(
            pair
            for number in range(2)
            for pair in _block(f"{published}.m.#.conv{number + 1}", f"{ours}.blocks.#.{number}")
        ),
    )


YOLOX = Release(
    "YOLOX",
    (
        *_block("backbone.lateral_conv0", "neck.from_coarse"),
        *_partial("backbone.C3_p4", "neck.middle_down"),
        *_block("backbone.reduce_conv1", "neck.from_middle"),
        *_partial("backbone.C3_p3", "neck.fine"),
        *_block("backbone.bu_conv2", "neck.to_middle"),
        *_partial("backbone.C3_n3", "neck.middle"),
        *_block("backbone.bu_conv1", "neck.to_coarse"),
        *_partial("backbone.C3_n4", "neck.coarse"),
        *_block("head.stems.#", "body.head.stems.#"),
        *_block("head.cls_convs.#.#", "body.head.class_towers.#.#"),
        *_block("head.reg_convs.#.#", "body.head.box_towers.#.#"),
        ("head.cls_preds.#.", "body.head.class_logits.#."),
        ("head.reg_preds.#.", "body.head.box_code.#."),
        ("head.obj_preds.#.", "body.head.quality.#."),
    ),
)
"""Without its backbone CSPDarknet."""
