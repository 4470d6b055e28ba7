"""LabelMe: a JSON file for every image, with polygons, rectangles, circles and masks in pixels.

Source: the files of labelme 3 to 5. Shapes of one label and one ``group_id`` are one object, as in labelme's own
converter to COCO. A shape without an area (``point``, ``points``, ``line``, ``linestrip``) is no object; it is counted,
and kept as it is among the attributes of its image. A picture inside of the JSON is taken where its file is not there.
Categories are numbered from 1 by name.
"""

import binascii
import io
from base64 import b64decode
from collections.abc import Mapping
from pathlib import PurePosixPath

import msgspec

from deta.data.decoding import ImageError, ImageSizes, read_sizes
from deta.data.formats.labelme_json import LabelMeFile, Shape, read_labelme_json
from deta.data.formats.labelme_shapes import objects_of
from deta.data.formats.pairs import PairKeys, image_of, pair_keys
from deta.data.formats.records import (
    ForeignDataset,
    ForeignImage,
    ImportOptions,
    images_of_all,
    numbered,
    splits_by_folder,
)
from deta.data.formats.source import SourceFolder, inside_name


def read_labelme(folder: SourceFolder, options: ImportOptions) -> ForeignDataset:
    """Images and objects of a folder; faults and what is left out are noted there."""
    files = _read_files(folder)
    taken, contents = _images_of_files(folder, files)
    unlabelled = [name for name in folder.images if name not in taken]
    folder.notes.add_all((options.of_unlabelled(default=False), name) for name in unlabelled)
    found = splits_by_folder([*taken, *(unlabelled if options.unlabelled else ())])
    chosen = options.chosen_splits(found)
    wanted = images_of_all(chosen)
    in_files = [name for name in wanted if name not in contents]
    sizes = dict(folder.sizes(in_files, max_pixels=options.max_pixels, num_workers=options.num_workers))
    sizes |= _sizes_of_contents(folder, {name: contents[name] for name in wanted if name in contents}, options)
    read = {
        name: _image(folder, name, taken.get(name), files, sizes[name], contents.get(name), options)
        for name in wanted
        if name in sizes
    }
    splits = {split: [read[name] for name in names if name in read] for split, names in chosen.items()}
    return ForeignDataset(numbered(read.values()), splits)


def _read_files(folder: SourceFolder) -> dict[str, LabelMeFile]:
    """Annotations by the name of their file."""
    found = {}
    for name in folder.with_suffix(".json"):
        file = read_labelme_json(folder.path(name), name=name, fault=folder.problems.add)
        if file is None:
            folder.notes.add("JSON that is no annotation of LabelMe, left out", name)
        else:
            found[name] = file
    return found


def _images_of_files(folder: SourceFolder, files: Mapping[str, LabelMeFile]) -> tuple[dict[str, str], dict[str, bytes]]:
    """Name of the annotation file of every image, and the images that are inside of theirs."""
    keys = pair_keys(folder.images)
    taken: dict[str, str] = {}
    contents: dict[str, bytes] = {}
    for name, file in files.items():
        image = _image_file(folder, name, file, keys)
        if image is None and file.picture is not None:
            image = str(PurePosixPath(name).with_name(PurePosixPath(file.path.replace("\\", "/")).name or "x"))
            contents[image] = _picture(folder, name, file)
            folder.notes.add("image that is inside of its JSON alone, taken from there", image)
        elif file.picture is not None:
            folder.notes.add("picture inside of the JSON beside the file of the image, which is taken", name)
        if image is None:
            folder.notes.add("annotation without an image, left out", f"{name}: {file.path}")
        elif image in taken:
            folder.problems.add("image with two annotation files", f"{image}: {taken[image]} and {name}")
        else:
            taken[image] = name
    return taken, contents


def _image_file(folder: SourceFolder, name: str, file: LabelMeFile, keys: PairKeys) -> str | None:
    """The image that the path in the file leads to, else that of the same name."""
    said = inside_name(f"{PurePosixPath(name).parent}/{file.path}") if inside_name(file.path) != "." else None
    if said in folder.known:
        return said
    return image_of(name, file.path, keys, fault=folder.problems.add)


def _picture(folder: SourceFolder, name: str, file: LabelMeFile) -> bytes:
    assert file.picture is not None
    try:
        return b64decode(msgspec.json.decode(file.picture, type=str), validate=True)
    except (binascii.Error, msgspec.DecodeError) as error:
        folder.problems.add("imageData that is not text in base 64", f"{name}: {error}")
        return b""


def _sizes_of_contents(
    folder: SourceFolder, contents: Mapping[str, bytes], options: ImportOptions
) -> dict[str, ImageSizes]:
    sizes = {}
    for name, content in contents.items():
        try:
            sizes[name] = read_sizes(io.BytesIO(content), name=name, max_pixels=options.max_pixels)
        except ImageError as error:
            folder.problems.add("image that cannot be used", str(error))
    return sizes


def _image(
    folder: SourceFolder,
    name: str,
    annotation: str | None,
    files: Mapping[str, LabelMeFile],
    sizes: ImageSizes,
    content: bytes | None,
    options: ImportOptions,
) -> ForeignImage:
    if annotation is None:
        return ForeignImage(name, sizes.upright, [])
    file = files[annotation]
    size = file.size or sizes.upright
    if size not in (sizes.stored, sizes.upright):
        folder.problems.add(
            "annotation whose size is not that of the image: correct imageHeight and imageWidth, and points if they "
            "belong to another size",
            f"{name} has {sizes.stored[0]} x {sizes.stored[1]}, its annotation says {size[0]} x {size[1]}",
        )
    objects, others = objects_of(
        file.shapes,
        size=size,
        place=annotation,
        difficult_is_crowd=options.difficult == "crowd",
        fault=folder.problems.add,
    )
    num_merged = len(file.shapes) - len(others) - len(objects)
    if num_merged:
        folder.notes.add("image in which shapes of one group_id are one object", annotation)
    folder.notes.add_all((_kind_of_other(shape), annotation) for shape in others)
    attributes = file.attributes | ({"shapes": [msgspec.to_builtins(shape) for shape in others]} if others else {})
    return ForeignImage(name, size, objects, attributes, content)


def _kind_of_other(shape: Shape) -> str:
    return f"shape of type {shape.shape_type} without an area, no object, kept among the attributes of its image"
