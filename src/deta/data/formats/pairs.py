"""Which image an annotation file belongs to, where both lie in folders of their own."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from deta.data.formats.records import Fault

_OF_IMAGES = ("image", "images", "img", "imgs", "jpegimages")
_OF_ANNOTATIONS = ("annotation", "annotations", "json", "jsons", "labels", "xml", "xmls")
_ROLES = frozenset((*_OF_IMAGES, *_OF_ANNOTATIONS))
"""Folders that part images from annotations and say nothing else."""


@dataclass(frozen=True)
class PairKeys:
    """Images by what their annotation file has in common with them.

    Attributes:
        by_path: By folders and stem, without the folders that part images from annotations.
        by_stem: By stem alone.
    """

    by_path: Mapping[str, Sequence[str]]
    by_stem: Mapping[str, Sequence[str]]


def pair_keys(images: Iterable[str]) -> PairKeys:
    """Index the images of a source by name."""
    by_path: dict[str, list[str]] = {}
    by_stem: dict[str, list[str]] = {}
    for name in images:
        by_path.setdefault(_path_key(name), []).append(name)
        by_stem.setdefault(PurePosixPath(name).stem, []).append(name)
    return PairKeys(by_path, by_stem)


def image_of(annotation: str, said: str, keys: PairKeys, *, fault: Fault) -> str | None:
    """The image of an annotation file: that of its name, else that which the file names.

    Args:
        annotation: Name of the file.
        said: Name of the image as the file has it; may be out of date, empty, or a path of another machine.
        keys: Of all images.
        fault: Told if several images fit.
    """
    said = said.replace("\\", "/").rpartition("/")[2]
    beside = str(PurePosixPath(annotation).with_name(said)) if said not in ("", ".", "..") else annotation
    found = (
        keys.by_path.get(_path_key(annotation))
        or keys.by_path.get(_path_key(beside))
        or keys.by_stem.get(PurePosixPath(annotation).stem)
        or keys.by_stem.get(PurePosixPath(beside).stem)
        or ()
    )
    exact = [image for image in found if PurePosixPath(image).name == said] or found
    if len(exact) > 1:
        fault("annotation that several images fit", f"{annotation}: {', '.join(exact)}")
    return exact[0] if len(exact) == 1 else None


def _path_key(name: str) -> str:
    path = PurePosixPath(name)
    return "/".join([part for part in path.parts[:-1] if part.casefold() not in _ROLES] + [path.stem])
