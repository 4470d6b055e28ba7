"""``deta data split``: training and validation from one annotation file."""

import re
import shlex
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from deta.console.terminal import reports_errors
from deta.data.checks import check_dataset
from deta.data.coco import CocoAnnotations, read_coco
from deta.data.coco_subset import image_fields, parted_documents
from deta.data.division import divide
from deta.data.files import path_inside
from deta.data.formats.layout import TRANSFERS, SplitFiles, require_free, write_layout
from deta.data.images import ImageRules
from deta.data.kinship import near_name, units_of
from deta.data.problems import MAX_EXAMPLES
from deta.utils.checks import require_bool, require_choice, require_int, require_number
from deta.utils.names import shown
from deta.utils.wording import counted


@reports_errors
def run(cfg: DictConfig) -> None:
    """Check the images, part them, show what each part has of each class, and write the parts."""
    file, folder, target = Path(cfg.annotations), Path(cfg.images), Path(cfg.target)
    if not file.is_file():
        raise FileNotFoundError(f"annotations={file} does not exist: give the annotation file that is to be parted")
    if not folder.is_dir():
        raise FileNotFoundError(f"images={folder} is no folder: give the one that the file names start from")
    shares = _shares(cfg)
    require_int("seed", cfg.seed, low=0)
    require_bool("stratify", cfg.stratify)
    require_choice("transfer", cfg.transfer, TRANSFERS)
    require_free(target, list(shares))
    annotations = read_coco(file)
    names = [annotations.file_name(index) for index in range(len(annotations))]
    groups = _groups(cfg, file, annotations, names)
    follow_links = require_bool("follow_links", cfg.follow_links)
    digests = _checked_pictures(cfg, file, folder, follow_links=follow_links)
    units = units_of([digests[name] for name in names], [near_name(name) for name in names], *groups)
    counts = _counts(annotations)
    parts = _parts(cfg, units, counts, shares)
    print(_told_units(units, has_groups=bool(groups)))
    print("\n".join((*_table(annotations, counts, parts), *_lacking(annotations, counts, parts))))
    of_image = {int(annotations.image_ids[i]): name for name, chosen in parts.items() for i in np.flatnonzero(chosen)}
    documents = parted_documents(file, of_image)
    files = {}
    for name, chosen in parts.items():
        own = dict.fromkeys(names[i] for i in np.flatnonzero(chosen))
        paths = [(image, path_inside(folder, image, follow_links=follow_links)) for image in own]
        files[name] = SplitFiles(documents[name], paths)
    write_layout(target, files, transfer=cfg.transfer)
    links = " data.follow_links=true" if cfg.transfer == "symlink" else ""
    print(f"Every command reads it by data=coco data.root={shlex.quote(str(target))}{links}")


def _checked_pictures(cfg: DictConfig, file: Path, folder: Path, *, follow_links: bool) -> Mapping[str, bytes]:
    """A digest of the pixels of every image, by name; prints the report of ``deta data check``."""
    rules = ImageRules(max_pixels=cfg.max_image_pixels, scale_16bit=cfg.scale_16bit)
    num_workers = require_int("num_workers", cfg.num_workers, low=1)
    report = check_dataset(file, folder, num_workers=num_workers, rules=rules, follow_links=follow_links)
    print("\n".join(shown(line) for line in report.lines()))
    if not report.is_usable:
        raise ValueError(f"{file} has errors, which are listed above: nothing was written")
    return report.digests


def _parts(
    cfg: DictConfig, units: NDArray[np.int64], counts: NDArray[np.int64], shares: Mapping[str, float]
) -> dict[str, NDArray[np.bool_]]:
    """Which images each part has, by name."""
    chosen = divide(units, counts, list(shares.values()), seed=cfg.seed, stratify=cfg.stratify)
    parts = {name: np.asarray(chosen == place) for place, name in enumerate(shares)}
    for name, is_in in parts.items():
        if not is_in.any():
            sets = counted(len(np.unique(units)), "image or set of images", "images or sets of images")
            raise ValueError(f"{name} gets none of {sets} that stay together, with a share of {shares[name]:g}")
    return parts


def _shares(cfg: DictConfig) -> dict[str, float]:
    val, test = require_number("val", cfg.val, low=0, high=1), require_number("test", cfg.test, low=0, high=1)
    if val == 0 or val + test >= 1:
        raise ValueError(f"val must be above 0, and val and test together below 1, got val={val:g} and test={test:g}")
    shares = {"train": 1 - val - test, "val": val, "test": test}
    return {name: share for name, share in shares.items() if share}


def _groups(
    cfg: DictConfig, file: Path, annotations: CocoAnnotations, names: Sequence[str]
) -> list[Sequence[Hashable]]:
    """The group of every image, once for each way of grouping that is asked for."""
    groups: list[Sequence[Hashable]] = []
    if cfg.group_pattern is not None:
        groups.append([_first_group(str(cfg.group_pattern), name) for name in names])
    if cfg.group_field is not None:
        of_image = image_fields(file, str(cfg.group_field))
        groups.append([repr(of_image[image_id]) for image_id in annotations.image_ids.tolist()])
    return groups


def _first_group(pattern: str, name: str) -> str:
    try:
        found = re.search(pattern, name)
    except re.error as error:
        raise ValueError(f"group_pattern={pattern} is no regular expression: {error}") from error
    if found is None:
        raise ValueError(f"group_pattern={pattern} does not fit the file name {name}")
    return str(found[1] if found.re.groups else found[0])


def _counts(annotations: CocoAnnotations) -> NDArray[np.int64]:
    """``[N, C]`` objects of every image by class, crowds left out."""
    counts = np.zeros((len(annotations), len(annotations.categories)), dtype=np.int64)
    images = np.repeat(np.arange(len(annotations)), np.diff(annotations.offsets))
    is_object = ~annotations.is_crowd
    np.add.at(counts, (images[is_object], annotations.labels[is_object]), 1)
    return counts


def _told_units(units: NDArray[np.int64], *, has_groups: bool) -> str:
    sizes = np.bincount(units)
    tied = sizes[sizes > 1]
    why = "the same picture, copies by their names" + (", or of one group" if has_groups else "")
    if not len(tied):
        return f"All {counted(len(sizes), 'image')} stand alone ({why})"
    return f"{counted(int(tied.sum()), 'image')} in {counted(len(tied), 'set')} stay together ({why})"


def _table(
    annotations: CocoAnnotations, counts: NDArray[np.int64], parts: Mapping[str, NDArray[np.bool_]]
) -> list[str]:
    """Objects of every class in every part, with their share, and the images."""
    names = [shown(name) for name in annotations.categories.names]
    rows = [(name, [int(counts[is_in, k].sum()) for is_in in parts.values()]) for k, name in enumerate(names)]
    rows.append(("all objects", [int(counts[is_in].sum()) for is_in in parts.values()]))
    rows.append(("images", [int(is_in.sum()) for is_in in parts.values()]))
    width = max(len(name) for name, _ in rows)
    lines = [f"{'':<{width}}" + "".join(f"{name:>17}" for name in parts)]
    for name, numbers in rows:
        cells = [f"{number} {number / max(1, sum(numbers)):>6.1%}".rjust(17) for number in numbers]
        lines.append(f"{name:<{width}}" + "".join(cells))
    return lines


def _lacking(
    annotations: CocoAnnotations, counts: NDArray[np.int64], parts: Mapping[str, NDArray[np.bool_]]
) -> Iterator[str]:
    """One line for each part that has no object of some classes."""
    for part, is_in in parts.items():
        none = np.flatnonzero(~counts[is_in].any(axis=0))
        first = ", ".join(shown(annotations.categories.names[k]) for k in none[:MAX_EXAMPLES])
        if len(none):
            more = " ..." if len(none) > MAX_EXAMPLES else ""
            yield f"warning: {part} has no object of {counted(len(none), 'class', 'classes')}: {first}{more}"
