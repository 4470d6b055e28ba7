"""``deta eval --from FILE``: evaluate and analyse stored predictions, without a model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from deta.commands.build import make, plain
from deta.data.datamodule import CocoDataModule
from deta.data.image_rows import Layout
from deta.engine.evaluation import CocoDetections, CocoEvaluator, GroundTruth, evaluate, read_ground_truth
from deta.engine.evaluation.raw import RawPredictions
from deta.engine.evaluation.result import CocoResult
from deta.engine.evaluation.result_file import read_results
from deta.engine.evaluation_figures import sweep_figure
from deta.engine.evaluation_report import report
from deta.engine.figure_style import save_figure
from deta.engine.tracking import write_csv
from deta.models.postprocess import NMS, TopK
from deta.utils.checks import require_int, require_number

NOTE = "evaluation.json"
"""File beside stored predictions that names the annotation file they belong to."""
RAW_SUFFIX = ".npz"
_ENGINE, _MAX_DETECTIONS = "pycocotools", 100
"""Of an evaluation without a choice: predictions do not say by which evaluator they were scored."""
_COCO_ALONE = (
    "--from evaluates and analyses by COCO's rules alone; for those of LVIS give deta eval ckpt=... evaluator=lvis"
)
_SHOWN = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def evaluate_stored(cfg: DictConfig) -> None:
    """Write tables and charts of stored predictions; sweep selections of raw ones."""
    _require_coco_rules(cfg)
    path = Path(cfg.from_file)
    if path.is_dir():
        path = path / "predictions.json"
    ground_truth = read_ground_truth(_annotations(cfg, path))
    folder = Path(cfg.run_dir)
    if path.suffix == RAW_SUFFIX:
        _evaluate_raw(cfg, RawPredictions.load(path), ground_truth, folder)
    else:
        if cfg.nms_thresholds is not None or cfg.top_k is not None or cfg.get("postprocess") is not None:
            raise ValueError(
                f"{path} holds final detections: postprocess, nms_thresholds and top_k need raw predictions, which "
                "deta eval ckpt=... save_raw=true writes to raw_predictions.npz"
            )
        _report(cfg, ground_truth, read_results(path, ground_truth), folder)
    print(f"Evaluated {path} on {ground_truth.path}; results lie in {folder.resolve()}")


def write_note(folder: Path, annotations: Path, *, layout: Layout = "coco") -> None:
    """Name the annotation file and its layout beside the predictions in ``folder``."""
    content = {"annotations": str(annotations.resolve()), "layout": layout}
    (folder / NOTE).write_text(json.dumps(content, indent=2) + "\n")


def _require_coco_rules(cfg: DictConfig) -> None:
    target = cfg.evaluator.get("_target_")
    if target is not None and get_class(target) is not CocoEvaluator:
        raise ValueError(f"evaluator._target_={target}: {_COCO_ALONE}")


def _require_coco_layout(layout: Layout) -> None:
    if layout != "coco":
        raise ValueError(f"the annotations have the layout of {layout.upper()}: {_COCO_ALONE}")


def _rules(cfg: DictConfig) -> dict[str, Any]:
    """Engine and largest number of detections, as ``evaluate`` takes them."""
    defaults = {"engine": _ENGINE, "max_detections": _MAX_DETECTIONS}
    return {name: value if cfg.evaluator[name] is None else cfg.evaluator[name] for name, value in defaults.items()}


def _annotations(cfg: DictConfig, path: Path) -> Path:
    """The annotation file: of the data set chosen, as given, or as noted beside the predictions."""
    config = plain(cfg.data)
    if "_target_" in config:
        datamodule: CocoDataModule = make(config)
        _require_coco_layout(datamodule.layout)
        datamodule.prepare_data()
        return datamodule.val_annotations
    if config.get("val_annotations") is not None:
        return Path(config.get("root") or ".") / str(config["val_annotations"])
    note = path.parent / NOTE
    if not note.is_file():
        raise ValueError(
            f"{note} does not exist, so that the annotations of {path} are not known: give "
            "data.val_annotations=<file>, or a data set such as data=coco data.root=..."
        )
    content = json.loads(note.read_text())
    _require_coco_layout(content.get("layout", "coco"))
    return Path(str(content["annotations"]))


def _evaluate_raw(cfg: DictConfig, raw: RawPredictions, ground_truth: GroundTruth, folder: Path) -> None:
    config = cfg.get("postprocess")
    if config is None and cfg.nms_thresholds is None:
        raise ValueError(
            "raw predictions need a selection: postprocess=nms or postprocess=topk, or a sweep such as "
            "nms_thresholds=[0.5,0.7,null]"
        )
    _require_fit(raw, ground_truth)
    if cfg.nms_thresholds is not None:
        _sweep(cfg, raw, ground_truth, folder)
    if config is not None:
        selection = OmegaConf.to_container(config, resolve=True)
        assert isinstance(selection, dict)
        if "pre_topk" in selection:
            selection["pre_topk"] = min(selection["pre_topk"], int(raw.num_pairs.max()))
        flat, num_uncertain = raw.select(make(selection))
        if num_uncertain:
            print(_uncertain(num_uncertain))
        detections = flat.to_categories(raw.classes())
        _report(cfg, ground_truth, detections, folder)
        (folder / "predictions.json").write_text(json.dumps(detections.records()))
        write_note(folder, ground_truth.path)


def _require_fit(raw: RawPredictions, ground_truth: GroundTruth) -> None:
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


def _report(cfg: DictConfig, ground_truth: GroundTruth, detections: CocoDetections, folder: Path) -> None:
    made = report(ground_truth, detections, **_rules(cfg))
    made.write(folder)
    print(f"\n{made.result.table()}\n\n{made.result.class_table()}\n\n{made.error_table()}\n")


def _sweep(cfg: DictConfig, raw: RawPredictions, ground_truth: GroundTruth, folder: Path) -> None:
    """Every threshold with every number of detections, as a table, ``sweep.csv`` and a chart."""
    thresholds = [
        None if value is None else require_number("nms_thresholds", value, low=0, high=1)
        for value in _listed("nms_thresholds", cfg.nms_thresholds)
    ]
    limits = [require_int("top_k", value, low=1) for value in _listed("top_k", cfg.top_k or [100])]
    pre_topk = int(raw.num_pairs.max())
    rows: list[dict[str, object]] = []
    print(f"\n{'NMS':>5} {'top k':>6} " + " ".join(f"{name:>7}" for name in _SHOWN) + " uncertain")
    for limit in limits:
        for threshold in thresholds:
            selection = (
                TopK(max_detections=limit)
                if threshold is None
                else NMS(iou_threshold=threshold, pre_topk=pre_topk, max_detections=limit)
            )
            flat, num_uncertain = raw.select(selection)
            detections = flat.to_categories(raw.classes())
            metrics = _score(cfg, ground_truth, detections).metrics()
            values = {name: None if value != value else value for name, value in metrics.items()}
            row = {"nms_threshold": threshold, "top_k": limit, "detections": len(detections)}
            rows.append({**row, "uncertain_images": num_uncertain, **values})
            shown = " ".join(f"{metrics[name]:>7.4f}" for name in _SHOWN)
            print(f"{'off' if threshold is None else f'{threshold:g}':>5} {limit:>6} {shown} {num_uncertain:>9}")
    if any(row["uncertain_images"] for row in rows):
        print(_uncertain(max(int(str(row["uncertain_images"])) for row in rows)))
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "sweep.csv", rows)
    save_figure(sweep_figure(rows), folder / "figures" / "sweep.png")


def _score(cfg: DictConfig, ground_truth: GroundTruth, detections: CocoDetections) -> CocoResult:
    rules = _rules(cfg)
    return CocoResult.from_curves(
        evaluate(ground_truth, detections, **rules),
        ground_truth,
        num_detections=len(detections),
        num_unmapped=detections.num_unmapped,
        num_repeats=0,
        max_detections=rules["max_detections"],
    )


def _uncertain(count: int) -> str:
    return (
        f"In up to {count} images the stored pairs ran out before there were as many detections as allowed: there "
        "the result may differ from that of the network. deta eval save_raw=true raw_pairs=null stores all."
    )


def _listed(name: str, value: Any) -> Sequence[Any]:  # noqa: ANN401
    if not OmegaConf.is_list(value) and not isinstance(value, list):
        raise ValueError(f"{name} must be a list such as [100,300], got {value!r}")
    return list(value)
