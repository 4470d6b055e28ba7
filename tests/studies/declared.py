"""A study of two axes, as plain data."""

from typing import Any

from deta.studies.plan import Study

CONTENT: dict[str, Any] = {
    "name": "small",
    "title": "Does it matter?",
    "base": ["experiment=deta_shapes"],
    "fixed": ["criterion.rules.layers.rematch=per_layer"],
    "budget": ["trainer.max_epochs=1"],
    "axes": {
        "tau": {"keys": ["criterion.rules.layers.assigner.tau"], "levels": [0.5, 0.6]},
        "rule": {
            "keys": ["criterion.rules.first.assigner"],
            "levels": {"many": ["assigner@criterion.rules.first.assigner=iou"], "one": []},
        },
    },
    "base_cell": {"tau": 0.6, "rule": "many"},
    "seeds": [0, 3],
    "postprocess": ["nms", "topk"],
}


def study(**changes: Any) -> Study:  # noqa: ANN401
    """The study with other values of some keys."""
    return Study.from_config({**CONTENT, **changes})
