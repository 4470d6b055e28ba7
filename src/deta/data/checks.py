"""Looking at a whole data set before hours of training depend on it."""

import hashlib
import posixpath
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from deta.data.categories import Categories
from deta.data.coco import AnnotationReport, CocoAnnotations, read_coco
from deta.data.decoding import ImageError
from deta.data.files import missing_files, path_inside, with_similar
from deta.data.image_rows import Layout
from deta.data.images import DecodedImage, ImageRules, decode_image
from deta.data.problems import Problems
from deta.structures import LARGE_AREA, SIZE_NAMES, SMALL_AREA
from deta.utils.files import write_text
from deta.utils.terminal import progress
from deta.utils.wording import counted


@dataclass(frozen=True)
class DatasetReport:
    """What is wrong with a data set, and what it holds.

    Attributes:
        annotation_file: The file that was checked.
        errors: Faults that stop or spoil a training, one line for each kind; empty if there is none.
        warnings: What is repaired or ignored while reading, one line for each kind.
        annotations: Counts of the annotation file, None if it could not be read.
        categories: Its categories, None if it could not be read.
        objects_per_class: Objects of every category name, crowds left out; names that are not unique carry the id.
        objects_per_size: Objects by COCO's area limits: small, medium, large.
        num_decoded: Images decoded without error.
        pictures: Path of the image of every picture, by a digest of its pixels.
        digests: That digest of every image that could be decoded, by its file name.
    """

    annotation_file: Path
    errors: list[str]
    warnings: list[str] = field(default_factory=list)
    annotations: AnnotationReport | None = None
    categories: Categories | None = None
    objects_per_class: dict[str, int] = field(default_factory=dict)
    objects_per_size: dict[str, int] = field(default_factory=dict)
    num_decoded: int = 0
    pictures: dict[bytes, Path] = field(default_factory=dict)
    digests: dict[str, bytes] = field(default_factory=dict)

    @property
    def is_usable(self) -> bool:
        """Whether there is no error."""
        return not self.errors

    def lines(self) -> list[str]:
        """The report as text."""
        lines = [str(self.annotation_file)]
        if self.annotations is not None:
            lines.append(f"  {self.annotations.summary()}")
            lines.append(f"  {counted(self.num_decoded, 'image')} decoded")
            lines.append(f"  objects by size: {_counts(self.objects_per_size)}")
            lines.append(f"  objects by class: {_counts(self.objects_per_class)}")
        lines += [f"  warning: {line}" for line in self.warnings]
        lines += [f"  {line}" for error in self.errors for line in f"error: {error}".split("\n")]
        return lines


def check_dataset(
    annotation_file: Path,
    image_folder: Path,
    *,
    categories: Categories | None = None,
    checksums: Path | None = None,
    num_workers: int = 1,
    rules: ImageRules | None = None,
    follow_links: bool = False,
    layout: Layout = "coco",
    allow_unlabelled: bool = False,
) -> DatasetReport:
    """Check the annotations, the presence of every image, and decode every image.

    Args:
        annotation_file: JSON in the layout of COCO or LVIS.
        image_folder: Where its file names start.
        categories: The list it must have, such as the training split's; None accepts any.
        checksums: File of ``write_checksums``; images whose bytes differ are errors. Damage inside the pixel data
            of a JPEG decodes without complaint, only this finds it.
        num_workers: Threads that decode, from 1.
        rules: Which images are accepted and how they are read; None is the defaults.
        follow_links: Whether links in the folder may lead out of it.
        layout: ``coco`` or ``lvis``.
        allow_unlabelled: Accept a file without ``annotations``, such as that of test images.
    """
    try:
        annotations = read_coco(
            annotation_file, categories=categories, layout=layout, allow_unlabelled=allow_unlabelled
        )
    except (ValueError, FileNotFoundError) as error:
        return DatasetReport(annotation_file, errors=[str(error)])
    errors, warnings = Problems(str(image_folder)), Problems(str(image_folder))
    if not allow_unlabelled and not annotations.num_objects().any():
        errors.add("split without one object: every annotation is a crowd or was left out", annotation_file.name)
    _find_names_listed_twice(annotations, warnings)
    missing = set(missing_files(annotations, image_folder))
    absent = (with_similar(image_folder, name) for name in sorted(missing))
    errors.add_all(("image file that does not exist", shown) for shown in absent)
    expected = None if checksums is None else _read_checksums(checksums)
    present = [index for index in range(len(annotations)) if annotations.file_name(index) not in missing]
    check = partial(_check_file, annotations, image_folder, expected, rules, follow_links)
    findings = _in_threads(check, present, num_workers)
    for finding in findings:
        errors.add_all(finding.errors)
        warnings.add_all(finding.warnings)
    names = [annotations.file_name(index) for index in present]
    pictures = _distinct_pictures(image_folder, names, findings, warnings)
    return DatasetReport(
        annotation_file,
        errors=errors.lines(),
        warnings=[*annotations.report.doubts, *warnings.lines()],
        annotations=annotations.report,
        categories=annotations.categories,
        objects_per_class=_objects_per_class(annotations),
        objects_per_size=_objects_per_size(annotations),
        num_decoded=sum(finding.picture is not None for finding in findings),
        pictures=pictures,
        digests={name: each.picture for name, each in zip(names, findings, strict=True) if each.picture is not None},
    )


def doubts_of(annotations: CocoAnnotations) -> list[str]:
    """What is odd about annotations without looking at a picture, one line for each kind."""
    problems = Problems("")
    _find_names_listed_twice(annotations, problems)
    return [*annotations.report.doubts, *problems.lines()]


def shared_pictures(train: DatasetReport, val: DatasetReport) -> list[str]:
    """One line if pictures of the training occur in the validation too, by their pixels, with the first names."""
    problems = Problems("")
    for picture in sorted(train.pictures.keys() & val.pictures.keys(), key=lambda key: train.pictures[key]):
        seen, again = train.pictures[picture], val.pictures[picture]
        problems.add(
            "picture of the training that is in the validation too: its score is not that of unseen images",
            str(seen) if seen == again else f"{seen} and {again}",
        )
    return problems.lines()


def write_checksums(annotations: CocoAnnotations, image_folder: Path, path: Path) -> None:
    """Write the SHA-256 of every image file, in the layout of ``sha256sum``.

    Raises:
        FileNotFoundError: If an image is missing.
    """
    names = [annotations.file_name(index) for index in range(len(annotations))]
    write_text(path, "".join(f"{_sha256(image_folder / name)}  {name}\n" for name in names))


@dataclass(frozen=True)
class _Finding:
    """What one image showed: pairs of kind and example, and a digest of the pixels if it could be decoded."""

    errors: list[tuple[str, str]]
    warnings: list[tuple[str, str]]
    picture: bytes | None


def _in_threads(check: Callable[[int], _Finding], indexes: Sequence[int], num_workers: int) -> list[_Finding]:
    with ThreadPoolExecutor(max_workers=num_workers) as pool:
        checked = pool.map(check, indexes)
        return list(progress(checked, total=len(indexes), what="images decoded"))


def _check_file(
    annotations: CocoAnnotations,
    folder: Path,
    expected: dict[str, str] | None,
    rules: ImageRules | None,
    follow_links: bool,
    index: int,
) -> _Finding:
    try:
        path = path_inside(folder, annotations.file_name(index), follow_links=follow_links)
    except ValueError as error:
        return _Finding([("image outside of its folder", str(error))], [], picture=None)
    return _check_image(annotations, index, path, expected, rules)


def _check_image(
    annotations: CocoAnnotations,
    index: int,
    path: Path,
    expected: dict[str, str] | None,
    rules: ImageRules | None,
) -> _Finding:
    name = annotations.file_name(index)
    errors: list[tuple[str, str]] = []
    if expected is not None and name not in expected:
        errors.append(("image without checksum", name))
    elif expected is not None and _sha256(path) != expected[name]:
        errors.append(("image whose checksum differs", name))
    try:
        decoded = decode_image(path, name=str(path), expected_size=annotations.size(index), rules=rules)
    except ImageError as error:
        return _Finding([*errors, ("image that cannot be used", str(error))], [], picture=None)
    digest = hashlib.blake2b(repr(tuple(decoded.pixels.shape)).encode(), digest_size=16)
    digest.update(decoded.pixels.contiguous().numpy().data)
    return _Finding(errors, [(kind, name) for kind in _oddities(decoded)], picture=digest.digest())


def _oddities(decoded: DecodedImage) -> list[str]:
    """What reading a usable image silently settles."""
    kinds = []
    if decoded.has_transparency:
        kinds.append("image with transparency, which is dropped")
    elif decoded.mode != "RGB":
        kinds.append(f"image of mode {decoded.mode}, which is converted to RGB")
    if decoded.orientation == "undecided":
        kinds.append(
            "image with an EXIF orientation, which is ignored, although the annotated size fits the turned image as "
            "well (data.exif=apply turns it)"
        )
    elif decoded.orientation != "none":
        kinds.append(f"image with an EXIF orientation, which is {decoded.orientation} to match the annotations")
    return kinds


def _distinct_pictures(
    folder: Path, names: Sequence[str], findings: Sequence[_Finding], warnings: Problems
) -> dict[bytes, Path]:
    """Path of the first image of every picture; another path with the same pixels is a warning."""
    pictures: dict[bytes, Path] = {}
    for name, finding in zip(names, findings, strict=True):
        path = folder / name
        if finding.picture is not None and (first := pictures.setdefault(finding.picture, path)) != path:
            warnings.add("image with the same pixels as another", f"{name} as {first.name}")
    return pictures


def _find_names_listed_twice(annotations: CocoAnnotations, warnings: Problems) -> None:
    ids_of_name: dict[str, list[int]] = {}
    for index in range(len(annotations)):
        name = posixpath.normpath(annotations.file_name(index))
        ids_of_name.setdefault(name, []).append(int(annotations.image_ids[index]))
    for name, ids in ids_of_name.items():
        if len(ids) > 1:
            warnings.add("image file listed under several ids", f"{name} (ids {', '.join(map(str, ids))})")


def _objects_per_class(annotations: CocoAnnotations) -> dict[str, int]:
    counts = Counter(annotations.labels[~annotations.is_crowd].tolist())
    categories = annotations.categories
    num_of_name = Counter(categories.names)
    return {
        name if num_of_name[name] == 1 else f"{name} (id {identity})": counts[index]
        for index, (name, identity) in enumerate(zip(categories.names, categories.ids, strict=True))
    }


def _objects_per_size(annotations: CocoAnnotations) -> dict[str, int]:
    areas = annotations.areas[~annotations.is_crowd]
    num_small, num_large = int((areas < SMALL_AREA).sum()), int((areas >= LARGE_AREA).sum())
    return dict(zip(SIZE_NAMES, (num_small, len(areas) - num_small - num_large, num_large), strict=True))


def _read_checksums(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{path} must have lines of checksum and file name, as sha256sum writes them")
    return {name.removeprefix("*"): digest for digest, name in pairs}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
