"""``deta data stats``: what a data set holds, as tables and a chart for each split."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from deta.analysis.data_charts import statistics_figure
from deta.building.build import make
from deta.console.terminal import reports_errors
from deta.data.coco import CocoAnnotations, read_coco
from deta.data.datamodule import CocoDataModule
from deta.data.statistics import DatasetStatistics, dataset_statistics
from deta.drawing.style import draw
from deta.utils.tables import write_csv


@reports_errors
def run(cfg: DictConfig) -> None:
    """Write ``summary.csv``, ``categories_<split>.csv`` and ``statistics_<split>.png``; no image is opened."""
    datamodule: CocoDataModule = make(cfg.data)
    datamodule.prepare_data()
    folder = Path(cfg.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    found = {split: dataset_statistics(read_split(datamodule, split)) for split in _splits(cfg, datamodule)}
    for split, statistics in found.items():
        write_csv(folder / f"categories_{split}.csv", statistics.category_rows())
    summaries = {split: statistics.summary() for split, statistics in found.items()}
    names = next(iter(summaries.values()))
    write_csv(folder / "summary.csv", [{"quantity": n, **{s: v[n] for s, v in summaries.items()}} for n in names])
    print("\n".join(_table(found)))
    for split, statistics in found.items():
        title = f"{split}: {datamodule.splits[split].annotation_file.name}"
        draw(partial(statistics_figure, statistics, title=title), folder / f"statistics_{split}.png")
    print(f"\nTables and charts lie in {folder.resolve()}")


def read_split(datamodule: CocoDataModule, split: str) -> CocoAnnotations:
    """The annotations of a split.

    Raises:
        ValueError: The data set has no such split.
    """
    if split not in datamodule.splits:
        raise ValueError(f"split must be one of {', '.join(datamodule.splits)}, got {split!r}")
    return read_coco(datamodule.splits[split].annotation_file, layout=datamodule.layout)


def _splits(cfg: DictConfig, datamodule: CocoDataModule) -> Sequence[str]:
    return list(datamodule.splits) if cfg.split is None else [cfg.split]


def _table(found: dict[str, DatasetStatistics]) -> list[str]:
    summaries = {split: statistics.summary() for split, statistics in found.items()}
    lines = [f"{'':<34}" + "".join(f"{split:>12}" for split in summaries)]
    for name in next(iter(summaries.values())):
        cells = [_number(summary[name]).rjust(12) for summary in summaries.values()]
        lines.append(f"{name.replace('_', ' '):<34}" + "".join(cells))
    return lines


def _number(value: float) -> str:
    return "-" if value != value else f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
