"""``deta data import``: a data set of another format as a folder in COCO's layout."""

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from deta.console.terminal import reports_errors
from deta.data.checks import check_dataset, shared_pictures
from deta.data.formats.labelme import read_labelme
from deta.data.formats.layout import TRANSFERS, annotation_file, coco_splits, image_folder, require_free, write_layout
from deta.data.formats.recognise import LABELME, TITLES, VOC, YOLO, recognised_format
from deta.data.formats.records import ALL, ForeignDataset, ImportOptions
from deta.data.formats.source import SourceFolder
from deta.data.formats.voc import read_voc
from deta.data.formats.yolo import read_yolo
from deta.data.images import ImageRules
from deta.utils.checks import require_bool, require_choice
from deta.utils.names import shown

_READERS: dict[str, Callable[[SourceFolder, ImportOptions], ForeignDataset]] = {
    YOLO: read_yolo,
    VOC: read_voc,
    LABELME: read_labelme,
}


@reports_errors
def run(cfg: DictConfig) -> None:
    """Read all, say what is left out, write images and annotations, and check them; exit with 1 if there are errors."""
    (folder, given), target = _source(cfg), Path(cfg.target)
    if target.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"target={target} lies in the folder that is read: name one beside it")
    options = ImportOptions(
        splits=None if cfg.splits is None else _split_names(cfg.splits),
        unlabelled=cfg.unlabelled,
        difficult=cfg.difficult,
        first_pixel=cfg.first_pixel,
        max_pixels=cfg.max_image_pixels,
        num_workers=cfg.num_workers,
    )
    require_choice("transfer", cfg.transfer, TRANSFERS)
    rules = ImageRules(max_pixels=cfg.max_image_pixels, scale_16bit=cfg.scale_16bit)
    source = SourceFolder(folder, follow_links=require_bool("follow_links", cfg.follow_links))
    kind = _kind(given, folder)
    dataset = _READERS[kind](source, options)
    print(f"{shown(folder)}: read as {TITLES[kind]}")
    print("".join(f"  {shown(line)}\n" for line in (*dataset.decisions, *source.notes.lines())), end="")
    source.problems.raise_if_any()
    require_free(target, list(dataset.splits))
    write_layout(target, coco_splits(dataset, source, TITLES[kind]), transfer=cfg.transfer)
    is_linked = cfg.transfer == "symlink"
    is_usable = _check(target, list(dataset.splits), rules, cfg.num_workers, follow_links=is_linked)
    print("The data set is usable." if is_usable else "The data set has errors.")
    if not is_usable:
        sys.exit(1)
    print(_next_step(target, list(dataset.splits), is_linked=is_linked))


def _split_names(splits: object) -> dict[str, str]:
    plain = OmegaConf.to_container(splits) if isinstance(splits, DictConfig) else splits
    if not isinstance(plain, dict) or not plain:
        raise ValueError(f"splits must be a mapping such as {{train: trainval, val: test}}, got {splits!r}")
    return {str(name): str(of) for name, of in plain.items()}


def _source(cfg: DictConfig) -> tuple[Path, str]:
    """The folder to read, and its format or ``auto``; without ``folder`` the source itself is the folder."""
    is_format = cfg.source in ("auto", *_READERS)
    if cfg.folder is None and is_format:
        raise ValueError("folder has no value yet: deta data import <folder> target=<folder>")
    if cfg.folder is None:
        return Path(str(cfg.source)), "auto"
    if not is_format:
        raise ValueError(f"source must be auto or one of {', '.join(_READERS)} beside folder=, got {cfg.source!r}")
    return Path(str(cfg.folder)), str(cfg.source)


def _kind(given: str, folder: Path) -> str:
    found = recognised_format(folder) if given == "auto" else given
    if found is None:
        raise ValueError(
            f"{folder} looks like none of {', '.join(_READERS)}: say which it is by source= beside folder="
        )
    return found


def _check(target: Path, splits: Sequence[str], rules: ImageRules, num_workers: int, *, follow_links: bool) -> bool:
    reports = {}
    for split in splits:
        reports[split] = check_dataset(
            annotation_file(target, split),
            image_folder(target, split),
            num_workers=num_workers,
            rules=rules,
            follow_links=follow_links,
        )
        print("\n".join(shown(line) for line in reports[split].lines()))
    if {"train", "val"} <= reports.keys():
        lines = shared_pictures(reports["train"], reports["val"])
        print("".join(f"warning: {shown(line)}\n" for line in lines), end="")
    return all(report.is_usable for report in reports.values())


def _next_step(target: Path, splits: Sequence[str], *, is_linked: bool) -> str:
    place = shlex.quote(str(target))
    if {"train", "val"} <= set(splits):
        links = " data.follow_links=true" if is_linked else ""
        return f"Every command reads it by data=coco data.root={place}{links}"
    split = ALL if ALL in splits else splits[0]
    file, folder = (shlex.quote(str(find(target, split))) for find in (annotation_file, image_folder))
    return f"Part it into training and validation: deta data split {file} images={folder} target={place}"
