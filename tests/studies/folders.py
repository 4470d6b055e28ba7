"""Run directories as trainings leave them, without a training."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.studies.declared import CONTENT

DEFAULT: dict[str, Any] = {
    "seed": 0,
    "run_dir": "/somewhere",
    "paths": {"data": "/data"},
    "data": {"seed": 0, "batch_size": 2},
    "criterion": {
        "rules": {
            "layers": {
                "assigner": {"_target_": "deta.assign.IoUAssigner", "tau": 0.6, "gamma": 0.25},
                "rematch": "once",
            }
        }
    },
    "postprocess": {"_target_": "deta.models.postprocess.NMS", "iou_threshold": 0.7},
    "trainer": {"accelerator": "cpu", "devices": "auto"},
}
HUNGARIAN = {"_target_": "deta.assign.HungarianAssigner", "class_weight": 2.0}
TOPK = {"_target_": "deta.models.postprocess.TopK"}


def config(*, seed: int = 0, postprocess: Mapping[str, Any] | None = None, **rule: Any) -> dict[str, Any]:  # noqa: ANN401
    """A resolved configuration; ``rule`` replaces keys of the rule of the layers, and of its assigner."""
    layers = DEFAULT["criterion"]["rules"]["layers"]
    assigner = {**layers["assigner"], **{name: rule.pop(name) for name in ("tau", "gamma") if name in rule}}
    return {
        **DEFAULT,
        "seed": seed,
        "data": {**DEFAULT["data"], "seed": seed},
        "criterion": {"rules": {"layers": {**layers, "assigner": assigner, **rule}}},
        "postprocess": dict(postprocess or DEFAULT["postprocess"]),
    }


def write_run(
    folder: Path,
    content: Mapping[str, Any],
    *,
    ap: float | None,
    scores: Mapping[str, float] | None = None,
    **environment: Any,  # noqa: ANN401
) -> Path:
    """A run directory.

    Args:
        folder: Made by this.
        content: Its configuration.
        ap: AP of its last validation; None leaves it unfinished.
        scores: AP of the final weights by selection.
        environment: Replaces what the record of the environment holds.
    """
    folder.mkdir(parents=True)
    (folder / ".hydra").mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(content)))
    record = {"started": 100.0, "devices": ["cpu: x86_64"], "num_threads": 1, "git": None, "versions": {"torch": "2"}}
    (folder / "environment.json").write_text(json.dumps({**record, **environment}))
    rows = [{"step": 9, "epoch": 0.0, "time": 130.0, "train/loss": 1.0}]
    if ap is not None:
        rows.append({"step": 9, "epoch": 0.0, "time": 150.0, "val/loss": 2.0, "val/AP": ap})
        (folder / "done.json").write_text(json.dumps({"step": 10, "epoch": 1, "AP": ap}))
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for name, value in (scores or {}).items():
        place = folder / "evaluations" / name
        place.mkdir(parents=True)
        (place / "metrics.json").write_text(json.dumps({"AP": value, "APl": float("nan")}))
    return folder


def write_plan(folder: Path, **changes: Any) -> None:  # noqa: ANN401
    """The plan of a study of ``tau``, 0.6 and 0.5, seeds 0 and 1, whose runs are named ``<tau>-<seed>``."""
    axes = {"tau": {"keys": ["criterion.rules.layers.assigner.tau"], "levels": [0.5, 0.6]}}
    study = {**CONTENT, "axes": axes, "base_cell": {"tau": 0.6}, "seeds": [0, 1], **changes}
    runs = [
        {"folder": f"{tau}-{seed}", "factors": {"tau": tau}, "seed": seed, "words": []}
        for tau in ("0.6", "0.5")
        for seed in study["seeds"]
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps({"study": study, "runs": runs}))
