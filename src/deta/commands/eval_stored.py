"""``deta eval --from FILE``: evaluate and analyse stored predictions, without a model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from deta.building.build import make, plain
from deta.data.datamodule import CocoDataModule
from deta.data.image_rows import Layout
from deta.drawing.style import draw
from deta.evaluation import (
    CocoDetections,
    CocoEvaluator,
    CocoRules,
    GroundTruth,
    LvisEvaluator,
    LvisRules,
    Rules,
    read_ground_truth,
)
from deta.evaluation.charts import sweep_figure
from deta.evaluation.raw import RawPredictions
from deta.evaluation.report import report
from deta.evaluation.result_file import read_results
from deta.models.postprocess import NMS, TopK
from deta.utils.checks import require_int, require_number
from deta.utils.files import write_json, write_text
from deta.utils.tables import write_csv
from deta.utils.wording import counted, points

NOTE = "evaluation.json"
"""File beside stored predictions that names the annotation file they belong to."""
_LONGEST_NOTE = 2**16
"""Bytes."""
RAW_SUFFIX = ".npz"
_RULES: Mapping[type[Any], type[Rules[Any]]] = {CocoEvaluator: CocoRules, LvisEvaluator: LvisRules}


class _Note(msgspec.Struct):
    annotations: str
    layout: Layout = "coco"


def evaluate_stored(cfg: DictConfig) -> None:
    """Write tables and charts of stored predictions; sweep selections of raw ones."""
    path = Path(cfg.from_file)
    if path.is_dir():
        path = path / "predictions.json"
    annotations, layout = _annotations(cfg, path)
    rules = _rules(cfg, layout)
    ground_truth = read_ground_truth(annotations, layout=rules.layout)
    folder = Path(cfg.run_dir)
    if path.suffix == RAW_SUFFIX:
        _evaluate_raw(cfg, RawPredictions.load(path), ground_truth, rules, folder)
    else:
        if cfg.nms_thresholds is not None or cfg.top_k is not None or cfg.get("postprocess") is not None:
            raise ValueError(
                f"{path} holds final detections: postprocess, nms_thresholds and top_k need raw predictions, which "
                "deta eval ckpt=... save_raw=true writes to raw_predictions.npz"
            )
        _report(ground_truth, read_results(path, ground_truth), rules, folder)
    print(f"Evaluated {path} on {ground_truth.path}; results lie in {folder.resolve()}")


def write_note(folder: Path, annotations: Path, *, layout: Layout = "coco") -> None:
    """Name the annotation file and its layout beside the predictions in ``folder``."""
    content = {"annotations": str(annotations.resolve()), "layout": layout}
    write_json(folder / NOTE, content)


def _rules(cfg: DictConfig, layout: Layout) -> Rules[Any]:
    """Those of the evaluator chosen, or without a choice those of the layout, with the values that are not null."""
    config = plain(cfg.evaluator)
    if "_target_" in config:
        kind = _RULES.get(get_class(config["_target_"]))
        if kind is None:
            raise ValueError(f"--from knows the rules of evaluator=coco and evaluator=lvis, got {config['_target_']}")
    else:
        kind = next(kind for kind in _RULES.values() if kind.layout == layout)
    given = {name: value for name, value in config.items() if not name.startswith("_") and value is not None}
    foreign = sorted(given.keys() - {field.name for field in fields(kind)})
    if foreign:
        raise ValueError(f"evaluator.{foreign[0]} is no value of the rules of {kind.layout.upper()}")
    return kind(**given)


def _annotations(cfg: DictConfig, path: Path) -> tuple[Path, Layout]:
    """The annotation file and its layout: of the data set chosen, as given, or as noted beside the predictions."""
    config = plain(cfg.data)
    if "_target_" in config:
        datamodule: CocoDataModule = make(config)
        datamodule.prepare_data()
        return datamodule.val_annotations, datamodule.layout
    if config.get("val_annotations") is not None:
        return Path(config.get("root") or ".") / str(config["val_annotations"]), "coco"
    note = path.parent / NOTE
    if not note.is_file():
        raise ValueError(
            f"{note} does not exist, so that the annotations of {path} are not known: give "
            "data.val_annotations=<file>, or a data set such as data=coco data.root=..."
        )
    with note.open("rb") as file:
        text = file.read(_LONGEST_NOTE)
    try:
        content = msgspec.json.decode(text, type=_Note)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{note} does not name the annotations of {path} ({error}): give data.val_annotations=<file>"
        ) from error
    return Path(content.annotations), content.layout


def _evaluate_raw(
    cfg: DictConfig, raw: RawPredictions, ground_truth: GroundTruth, rules: Rules[Any], folder: Path
) -> None:
    config = cfg.get("postprocess")
    if config is None and cfg.nms_thresholds is None:
        raise ValueError(
            "raw predictions need a selection: postprocess=nms or postprocess=topk, or a sweep such as "
            "nms_thresholds=[0.5,0.7,null]"
        )
    _require_fit(raw, ground_truth)
    if cfg.nms_thresholds is not None:
        _sweep(cfg, raw, ground_truth, rules, folder)
    if config is not None:
        selection = OmegaConf.to_container(config, resolve=True)
        assert isinstance(selection, dict)
        if "pre_topk" in selection:
            selection["pre_topk"] = min(selection["pre_topk"], int(raw.num_pairs.max()))
        flat, num_uncertain = raw.select(make(selection))
        if num_uncertain:
            print(_uncertain(num_uncertain))
        detections = flat.to_categories(raw.classes())
        _report(ground_truth, detections, rules, folder)
        write_text(folder / "predictions.json", json.dumps(detections.records(), allow_nan=False))
        write_note(folder, ground_truth.path, layout=rules.layout)


def _require_fit(raw: RawPredictions, ground_truth: GroundTruth) -> None:
    if len(np.unique(raw.image_ids)) != len(raw.image_ids):
        raise ValueError("the raw predictions list an image twice: write them with deta eval save_raw=true")
    for name, found, listed in (
        ("images", set(raw.image_ids.tolist()), set(ground_truth.image_ids.tolist())),
        (
            "categories",
            {identity for identity in raw.classes() if identity is not None},
            set(ground_truth.category_ids),
        ),
    ):
        foreign, missing = sorted(found - listed), sorted(listed - found)
        if foreign or (missing and name == "images"):
            raise ValueError(
                f"the raw predictions are not those of {ground_truth.path}: {len(foreign)} of their {name} are not in "
                f"the file {foreign[:3]}, {len(missing)} of the file are not predicted {missing[:3]}"
            )


def _report(ground_truth: GroundTruth, detections: CocoDetections, rules: Rules[Any], folder: Path) -> None:
    made = report(ground_truth, detections, rules=rules)
    made.write(folder)
    result = made.evaluation.result
    print(f"\n{result.table()}\n\n{result.class_table()}\n\n{made.error_table()}\n")


def _sweep(cfg: DictConfig, raw: RawPredictions, ground_truth: GroundTruth, rules: Rules[Any], folder: Path) -> None:
    """Every threshold with every number of detections, as a table, ``sweep.csv`` and a chart."""
    thresholds = [
        None if value is None else require_number("nms_thresholds", value, low=0, high=1)
        for value in _listed("nms_thresholds", cfg.nms_thresholds)
    ]
    limits = [require_int("top_k", value, low=1) for value in _listed("top_k", cfg.top_k or [rules.max_detections])]
    pre_topk = int(raw.num_pairs.max())
    rows: list[dict[str, object]] = []
    for limit in limits:
        for threshold in thresholds:
            selection = (
                TopK(max_detections=limit)
                if threshold is None
                else NMS(iou_threshold=threshold, pre_topk=pre_topk, max_detections=limit)
            )
            flat, num_uncertain = raw.select(selection)
            detections = flat.to_categories(raw.classes())
            metrics = rules.evaluate(ground_truth, detections).result.metrics()
            values = {name: None if value != value else value for name, value in metrics.items()}
            shown = {name: value for name, value in metrics.items() if name.startswith("AP")}
            if not rows:
                print(f"\n{'NMS':>5} {'top k':>6} " + " ".join(f"{name:>7}" for name in shown) + " uncertain")
            row = {"nms_threshold": threshold, "top_k": limit, "detections": len(detections)}
            rows.append({**row, "uncertain_images": num_uncertain, **values})
            cells = " ".join(f"{points(value):>7}" for value in shown.values())
            print(f"{'off' if threshold is None else f'{threshold:g}':>5} {limit:>6} {cells} {num_uncertain:>9}")
    if any(row["uncertain_images"] for row in rows):
        print(_uncertain(max(int(str(row["uncertain_images"])) for row in rows)))
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "sweep.csv", rows)
    draw(partial(sweep_figure, rows), folder / "figures" / "sweep.png")


def _uncertain(count: int) -> str:
    return (
        f"In up to {counted(count, 'image')} the stored pairs ran out before there were as many detections as "
        "allowed: there the result may differ from that of the network. deta eval save_raw=true raw_pairs=null stores "
        "all."
    )


def _listed(name: str, value: Any) -> Sequence[Any]:  # noqa: ANN401 - a value from the command line, which may be wrong
    if not OmegaConf.is_list(value) and not isinstance(value, list):
        raise ValueError(f"{name} must be a list such as [100,300], got {value!r}")
    return list(value)
