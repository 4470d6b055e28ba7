"""TSP-RCNN: arXiv:2011.10881, github.com/Edward-Sun/TSP-Detection, on detectron2."""

from deta.models.releases.layout import Pair, Release, below

_HEAD, _ENCODER = "roi_heads.box_head.", "roi_heads.box_head.transformer_encoder.layers.#."
_LAYER: tuple[Pair, ...] = (
    ("self_attn.", "attention."),
    ("norm1.", "attention_norm."),
    *((f"linear{number}.", f"ffn.linear{number}.") for number in (1, 2)),
    ("norm2.", "ffn.norm."),
)
_LEVELS: tuple[Pair, ...] = tuple(
    (f"backbone.fpn_{theirs}{level + 2}.", f"neck.{ours}.{level}.")
    for theirs, ours in (("lateral", "laterals"), ("output", "outputs"))
    for level in range(4)
)
_EXTRAS: tuple[Pair, ...] = tuple(
    (f"backbone.top_block.p{level + 6}.{part}.", f"neck.extras.{level}.{number}.")
    for level in range(2)
    for number, part in enumerate(("conv", "bn"))
)
_FIRST: tuple[Pair, ...] = tuple(
    pair
    for theirs, ours in (("obj", "class"), ("anchor", "box"))
    for pair in (
        (f"proposal_generator.rpn_head.{theirs}_conv.#.conv.", f"body.first.head.{ours}_tower.convs.#."),
        (f"proposal_generator.rpn_head.{theirs}_bn_list.#.#.", f"body.first.head.{ours}_tower.norms.#.#."),
    )
)
_STAGES: tuple[Pair, ...] = tuple(
    (f"backbone.bottom_up.res{stage + 1}.#.{theirs}.", f"backbone.body.layer{stage}.#.{ours}.")
    for stage in range(1, 5)
    for theirs, ours in (
        ("shortcut.norm", "downsample.1"),
        ("shortcut", "downsample.0"),
        *((f"conv{number}.norm", f"bn{number}") for number in (1, 2, 3)),
        *((f"conv{number}", f"conv{number}") for number in (1, 2, 3)),
    )
)
TSP_RCNN = Release(
    "TSP-RCNN",
    (
        *_LEVELS[:1],
        *_FIRST,
        ("proposal_generator.rpn_head.objectness_logits.", "body.first.head.class_logits."),
        ("proposal_generator.rpn_head.anchor_deltas.", "body.first.head.box_code."),
        (f"{_HEAD}input_proj.", "body.head.projection."),
        (f"{_HEAD}post_input_proj_norm.", "body.head.projection_norm."),
        (f"{_HEAD}dec_pos_embed_proj.", "body.head.position."),
        *below(_ENCODER, "body.head.layers.#.", _LAYER),
        (f"{_HEAD}transformer_encoder.norm.", "body.head.norm."),
        ("roi_heads.box_predictor.cls_score.", "body.head.class_logits."),
        ("roi_heads.box_predictor.bbox_pred.layers.#.", "body.head.box_code.layers.#."),
    ),
    optional=(
        *_LEVELS[1:],
        *_EXTRAS,
        ("backbone.bottom_up.stem.conv1.norm.", "backbone.body.bn1."),
        ("backbone.bottom_up.stem.conv1.", "backbone.body.conv1."),
        *_STAGES,
        ("backbone.bottom_up.#.", "backbone.body.#."),  # of another backbone than a ResNet
    ),
)
