"""``deta data check``: check annotations, shards, and decode every image."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from deta.building.build import make
from deta.console.terminal import reports_errors
from deta.data.checks import check_dataset, doubts_of, shared_pictures
from deta.data.coco import read_coco
from deta.data.datamodule import CocoDataModule
from deta.data.streaming.checks import check_shards
from deta.data.streaming.split import ShardedSplit
from deta.utils.checks import require_bool
from deta.utils.names import shown, shown_lines


@reports_errors
def run(cfg: DictConfig) -> None:
    """Print a report of both splits; the exit code is 1 if there is an error in one of them."""
    checksums = None if cfg.checksums is None else Path(cfg.checksums)
    if checksums is not None and not checksums.is_file():
        raise FileNotFoundError(f"checksums={checksums} does not exist")
    datamodule: CocoDataModule = make(cfg.data)
    datamodule.prepare_data()
    if cfg.data.get("source") == "shards":
        _check_shards(cfg, datamodule)
        return
    categories = None
    is_usable = True
    reports = {}
    for split, files in datamodule.folders.items():
        report = check_dataset(
            files.annotation_file,
            files.folder,
            categories=categories,
            checksums=checksums,
            num_workers=cfg.num_workers,
            rules=datamodule.image_rules,
            follow_links=files.follow_links,
            layout=datamodule.layout,
            allow_unlabelled=require_bool("allow_unlabelled", cfg.allow_unlabelled),
        )
        print("\n".join(shown(line) for line in report.lines()))
        reports[split] = report
        is_usable = is_usable and report.is_usable
        if split == "train" and report.annotations is not None:
            categories = report.categories
    print("".join(f"warning: {shown(line)}\n" for line in shared_pictures(reports["train"], reports["val"])), end="")
    _finish(is_usable)


def _check_shards(cfg: DictConfig, datamodule: CocoDataModule) -> None:
    is_usable = True
    for split in datamodule.splits.values():
        assert isinstance(split, ShardedSplit)
        annotations = read_coco(split.annotation_file, layout=datamodule.layout)
        faults = check_shards(split, annotations, num_workers=cfg.num_workers, rules=datamodule.image_rules)
        print(shown_lines(f"{split.address}\n  {annotations.report.summary()}, {split.summary()}"))
        print("".join(f"  warning: {shown(line)}\n" for line in doubts_of(annotations)), end="")
        print("".join(f"  error: {shown(line)}\n" for line in faults), end="")
        is_usable = is_usable and not faults
    print("Not looked for in shards: pictures of equal pixels, which data.source=folder finds.")
    _finish(is_usable)


def _finish(is_usable: bool) -> None:
    print("The data set is usable." if is_usable else "The data set has errors.")
    if not is_usable:
        sys.exit(1)
