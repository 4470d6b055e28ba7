"""``deta data assign``: the assignment laboratory."""

import re
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from torch import Generator

from deta.analysis.candidates import AnchorGrid, Size
from deta.analysis.laboratory import Contender, Laboratory
from deta.analysis.laboratory_charts import laboratory_figure, rules_figure
from deta.analysis.laboratory_picture import laboratory_picture
from deta.building.build import make, plain
from deta.commands.data_stats import read_split
from deta.console.rule_words import ON_ANCHORS
from deta.console.terminal import reports_errors
from deta.data.coco import CocoAnnotations
from deta.data.datamodule import CocoDataModule
from deta.data.sample import Sample, unlabelled_sample
from deta.drawing.style import draw, save_figure
from deta.runs.table import aligned, terminal_width
from deta.structures import SIZE_NAMES
from deta.utils.checks import require_int, require_number
from deta.utils.tables import write_csv
from deta.utils.wording import counted

Setting = dict[str, Any]
"""What tells a contender from the others, by name of the column."""
_SHOWN = ("positives_per_object", "unmatched_share", "mean_iou", "rescued_share", "shared_share", "shared_iou_other")


@reports_errors
def run(cfg: DictConfig) -> None:
    """Assign every image of a split by every rule; write ``assignment.csv``, ``assignment.png`` and a ``picture``."""
    compare = cfg.get("compare")
    grid = _grid(cfg) if compare is None else {}
    entries = _swept(cfg, grid) if compare is None else _compared(compare)
    settings, contenders = zip(*entries, strict=True)
    shared_iou = None if cfg.shared_iou is None else require_number("shared_iou", cfg.shared_iou, low=0, high=1)
    datamodule = make(cfg.data)
    datamodule.prepare_data()
    annotations = read_split(datamodule, cfg.split)
    if cfg.num_images is not None:
        annotations = annotations.select(range(min(require_int("num_images", cfg.num_images, low=1), len(annotations))))
    laboratory = Laboratory(
        annotations=annotations,
        input_sizes=_input_sizes(cfg, annotations),
        contenders=contenders,
        shared_iou=shared_iou,
        seed=require_int("seed", cfg.seed, low=0),
    )
    image_id = None if cfg.picture is None else require_int("picture", cfg.picture, low=0)
    pictured = (
        None if image_id is None else (_position(annotations, image_id), _sample(cfg.split, datamodule, image_id))
    )
    start = time.perf_counter()
    outcomes = laboratory.run(num_workers=cfg.num_workers)
    seconds = time.perf_counter() - start
    rows = [{**chosen, **row} for chosen, outcome in zip(settings, outcomes, strict=True) for row in outcome.rows()]
    folder = Path(cfg.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "assignment.csv", rows)
    name = datamodule.splits[cfg.split].annotation_file.name
    if compare is None:
        title = f"{HydraConfig.get().runtime.choices['assigner']} on the anchors of {name}"
        draw(partial(laboratory_figure, rows, grid, title=title), folder / "assignment.png")
        print(_table(rows, list(grid)))
    else:
        draw(partial(rules_figure, rows, title=f"Rules of assignment on {name}"), folder / "assignment.png")
        print(_rules_table(rows))
    if pictured is not None:
        names = [
            chosen.get("rule", ", ".join(f"{name}={value}" for name, value in chosen.items())) for chosen in settings
        ]
        save_figure(laboratory_picture(laboratory, *pictured, names), folder / "picture.png")
    if bare := _on_anchors():
        print(f"\nOn anchors with equal scores, as before any training: {', '.join(bare)}")
    print(f"\n{counted(len(settings), 'rule')} on {counted(len(annotations), 'image')} in {seconds:.0f} s")
    print(f"Table and chart lie in {folder.resolve()}")


def _swept(cfg: DictConfig, grid: Mapping[str, Sequence[Any]]) -> list[tuple[Setting, Contender]]:
    """The one rule in every combination of settings, on the anchors."""
    settings = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    base, anchors = plain(cfg.assigner), AnchorGrid(**plain(cfg.anchors))
    return [(chosen, Contender(make({**base, **chosen}), anchors)) for chosen in settings]


def _compared(compare: DictConfig) -> list[tuple[Setting, Contender]]:
    """Every rule on its own candidates."""
    words = [word for word in HydraConfig.get().overrides.task if re.match(r"[+~]*(assigner\.|grid\b)", word)]
    if words:
        raise ValueError(
            f"{words[0]} is of one rule alone: beside assigner=[...] give assigner.<rule>.<setting>=<value>, with the "
            f"name of one of {', '.join(map(str, compare))}"
        )
    return [({"rule": str(name)}, Contender(**make(node))) for name, node in compare.items()]


def _on_anchors() -> list[str]:
    """Rules side by side that have no candidates of their own."""
    words = (word for word in HydraConfig.get().overrides.task if word.startswith(ON_ANCHORS))
    return [word.removeprefix(ON_ANCHORS).partition("=")[0] for word in words]


def _grid(cfg: DictConfig) -> dict[str, Sequence[Any]]:
    """Values of every setting that is swept; of the default grid those that the rule has."""
    words = [word.lstrip("+").partition("=")[0] for word in HydraConfig.get().overrides.task]
    swept = {} if cfg.grid is None else {name: values for name, values in plain(cfg.grid).items() if values is not None}
    settings = [str(key) for key in cfg.assigner if not str(key).startswith("_")]
    grid = {name: values for name, values in swept.items() if name in settings or {"grid", f"grid.{name}"} & {*words}}
    rule = HydraConfig.get().runtime.choices["assigner"]
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"grid.{name} must be a list of values such as [0.5,0.7], or null, got {values!r}")
        if name not in settings:
            raise ValueError(
                f"grid.{name} is no setting of assigner={rule}: sweep {', '.join(settings) or 'nothing'} by "
                "+grid.<setting>=[...], which the YAML of the rule must name"
            )
    return grid


def _input_sizes(cfg: DictConfig, annotations: CocoAnnotations) -> dict[Size, Size]:
    """The size that the validation images of each original size have behind ``data.val_transform``."""
    transform = make(cfg.data.val_transform)
    sizes = {annotations.size(index) for index in range(len(annotations))}
    return {
        size: transform(unlabelled_sample(torch.zeros(3, *size, dtype=torch.uint8), image_id=0), Generator()).size
        for size in sorted(sizes)
    }


def _position(annotations: CocoAnnotations, image_id: int) -> int:
    """Of an image among those that are assigned."""
    found = (annotations.image_ids == image_id).nonzero()[0]
    if len(found) == 0:
        raise ValueError(f"picture must be the id of an image of the split that is assigned, got {image_id}")
    return int(found[0])


def _sample(split: str, datamodule: CocoDataModule, image_id: int) -> Sample:
    """An image as its file gives it."""
    is_train = split == "train"
    datamodule.setup("fit" if is_train else "validate")
    dataset = datamodule.train_dataset if is_train else datamodule.val_dataset
    return dataset.untransformed(_position(dataset.annotations, image_id))


def _table(rows: Sequence[Mapping[str, object]], names: Sequence[str]) -> str:
    """One line per setting and object size."""
    columns = [*names, "size", *_SHOWN]
    cells = [[*columns, ""], *([*(_cell(row[name]) for name in columns), ""] for row in rows)]
    return "\n".join(aligned(cells, range(len(columns)), terminal_width(), num_names=len(names) + 1))


def _rules_table(rows: Sequence[Mapping[str, object]]) -> str:
    """One line per rule: positives per object of every size, and shares of all."""
    per_object = ("all", *SIZE_NAMES)
    cells = [["rule", *(f"positives {size}" for size in per_object), "unmatched_share", "contested_share", ""]]
    for rule in dict.fromkeys(str(row["rule"]) for row in rows):
        own = {row["size"]: row for row in rows if row["rule"] == rule}
        numbers = [own[size]["positives_per_object"] for size in per_object]
        numbers += [own["all"][name] for name in ("unmatched_share", "contested_share")]
        cells.append([rule, *map(_cell, numbers), ""])
    return "\n".join(aligned(cells, range(1, len(cells[0])), terminal_width()))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
