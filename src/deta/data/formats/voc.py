"""Pascal VOC: an XML file for every image, and lists of names in ``ImageSets/Main``.

Source: the development kits of 2007 to 2012, and the folders that labelImg, CVAT and Roboflow write.

- Pixels are counted from 1 and a box includes its last ones, so that ``xmin, ymin, xmax, ymax`` is the box from
  ``xmin - 1`` to ``xmax``. Many tools count from 0 instead and mean the edges of the box; where any box of the source
  begins at 0, the whole of it is read so, unless ``first_pixel`` says which.
- An object marked ``difficult`` counts neither as found nor as missed. In COCO ``iscrowd`` of 1 comes nearest to that,
  and mmdetection's converter writes it; ``ignore`` has no effect in COCO's evaluation. Objects marked ``truncated`` or
  ``occluded`` count as others do. All marks are kept as attributes.
- Categories are numbered from 1 by name. Masks of classes and objects (``SegmentationClass``) are not read.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath

from deta.data.decoding import ImageSizes
from deta.data.formats.pairs import image_of, pair_keys
from deta.data.formats.records import (
    ForeignDataset,
    ForeignImage,
    ForeignObject,
    ImportOptions,
    images_of_all,
    numbered,
    outline_area,
    splits_by_folder,
)
from deta.data.formats.source import SourceFolder, parts_of, stem_of
from deta.data.formats.voc_xml import VocFile, VocObject, read_voc_xml
from deta.utils.wording import counted

_LISTS = "ImageSets/Main"
_MASKS = ("SegmentationClass", "SegmentationObject")
_OF_CLASSES = ("-1", "0", "1")
"""Second words in the lists of a class, which say whether an image has it."""


def read_voc(folder: SourceFolder, options: ImportOptions) -> ForeignDataset:
    """Images and objects of a folder; faults and what is left out are noted there."""
    files = _read_files(folder)
    images = _images_of_files(folder, files)
    found = _splits(folder, images)
    chosen = options.chosen_splits(found)
    wanted = images_of_all(chosen)
    sizes = folder.sizes(wanted, max_pixels=options.max_pixels, num_workers=options.num_workers)
    origin, decision = _origin(options, files.values())
    read = {
        image: made
        for image in wanted
        if image in sizes and (made := _image(folder, image, files.get(images[image]), sizes[image], origin, options))
    }
    splits = {split: [read[name] for name in names if name in read] for split, names in chosen.items()}
    return ForeignDataset(numbered(read.values()), splits, decisions=[decision] if decision else [])


def _read_files(folder: SourceFolder) -> dict[str, VocFile]:
    """Annotations by the name of their file."""
    fault = folder.problems.add
    found = {name: read_voc_xml(folder.read_text(name), name=name, fault=fault) for name in folder.with_suffix(".xml")}
    for name, file in found.items():
        if file is None:
            folder.notes.add("XML that is no annotation of VOC, left out", name)
    return {name: file for name, file in found.items() if file is not None}


def _images_of_files(folder: SourceFolder, files: Mapping[str, VocFile]) -> dict[str, str]:
    """Name of the annotation file of every image that is taken; empty for an image without one."""
    images = [name for name in folder.images if not set(_MASKS) & set(parts_of(name))]
    num_masks = len(folder.images) - len(images)
    if num_masks:
        folder.notes.add("folder of masks, which are not read", f"{num_masks} images below {' and '.join(_MASKS)}")
    keys = pair_keys(images)
    taken: dict[str, str] = {}
    for name, file in files.items():
        image = image_of(name, file.filename, keys, fault=folder.problems.add)
        if image is None:
            folder.notes.add("annotation without an image, left out", name)
        elif image in taken:
            folder.problems.add("image with two annotation files", f"{image}: {taken[image]} and {name}")
        else:
            taken[image] = name
            if file.filename and file.filename != PurePosixPath(image).name:
                folder.notes.add("annotation that calls its image otherwise", f"{name}: {file.filename}")
    return taken | {image: "" for image in images if image not in taken}


def _splits(folder: SourceFolder, images: Mapping[str, str]) -> dict[str, list[str]]:
    """Names of images by the name of their split in the source."""
    found: dict[str, list[str]] = {}
    of_stem: dict[tuple[str, str], str] = {}
    for image, file in images.items():
        of_stem[_root_of(file or image), stem_of(file or image)] = image
    for name in folder.with_suffix(".txt"):
        if f"/{_LISTS}/" not in f"/{name}":
            continue
        root = f"/{name}".partition(f"/{_LISTS}/")[0].strip("/")
        stems = _listed(folder, name, {stem for of_root, stem in of_stem if of_root == root})
        if stems is None:
            folder.notes.add("list of the images of a class, which is not needed", name)
            continue
        for stem in stems:
            image = of_stem.get((root, stem)) or of_stem.get((root, PurePosixPath(stem).stem), "")
            if not image:
                folder.notes.add("name in a list that has neither annotation nor image, left out", f"{name}: {stem}")
            else:
                found.setdefault(stem_of(name), []).append(image)
    if found:
        listed = {image for names in found.values() for image in names}
        folder.notes.add_all(("image in no list, left out", image) for image in images if image not in listed)
        return {name: list(dict.fromkeys(names)) for name, names in found.items()}
    return splits_by_folder(images)


def _root_of(name: str) -> str:
    """The folder above ``Annotations`` or ``JPEGImages``, where lists have their names."""
    parent = PurePosixPath(name).parent.parent
    return "" if str(parent) == "." else str(parent)


def _listed(folder: SourceFolder, name: str, known: Collection[str]) -> list[str] | None:
    """The names in a list; None if it is that of a class."""
    lines = [line.strip() for line in folder.read_text(name).splitlines() if line.strip()]
    has_flags = all(line.split()[-1] in _OF_CLASSES and len(line.split()) == 2 for line in lines)
    return None if lines and has_flags and not any(line in known for line in lines) else lines


def _origin(options: ImportOptions, files: Iterable[VocFile]) -> tuple[int, str]:
    """The number of the first pixel, and one sentence on how it was found."""
    if options.first_pixel != "auto":
        return int(options.first_pixel), ""
    lowest = [min(each.corners[:2]) for file in files for each in file.objects]
    num = sum(value < 1 for value in lowest)
    if num:
        return 0, (
            f"pixels are counted from 0, as {num} of {counted(len(lowest), 'box begins', 'boxes begin')} there: boxes "
            "are taken from edge to edge (first_pixel=1 counts from 1, as VOC does)"
        )
    return 1, "pixels are counted from 1 and boxes include their last ones, as in VOC (first_pixel=0 counts from 0)"


def _image(
    folder: SourceFolder, name: str, file: VocFile | None, sizes: ImageSizes, origin: int, options: ImportOptions
) -> ForeignImage | None:
    if file is None:
        folder.notes.add(options.of_unlabelled(default=False), name)
        return ForeignImage(name, sizes.upright, []) if options.unlabelled else None
    size = file.size
    if size is None:
        folder.notes.add("annotation without the size of its image, that of the upright image is taken", name)
        size = sizes.upright
    elif size not in (sizes.stored, sizes.upright):
        folder.problems.add(
            "annotation whose size is not that of the image: correct height and width, and boxes if they belong to "
            "another size",
            f"{name} has {sizes.stored[0]} x {sizes.stored[1]}, its annotation says {size[0]} x {size[1]}",
        )
    objects = [_object(each, origin, options) for each in file.objects]
    attributes = file.attributes
    if file.filename and file.filename != PurePosixPath(name).name:
        attributes = {"filename": file.filename, **attributes}
    return ForeignImage(name, size, objects, attributes)


def _object(each: VocObject, origin: int, options: ImportOptions) -> ForeignObject:
    xmin, ymin, xmax, ymax = each.corners
    box = (xmin - origin, ymin - origin, xmax - xmin + origin, ymax - ymin + origin)
    outline = [[value - origin for value in polygon] for polygon in each.polygons]
    return ForeignObject(
        category=each.name,
        box=box,
        area=outline_area(outline) if outline else box[2] * box[3],
        outline=outline,
        is_crowd=options.difficult == "crowd" and each.attributes.get("difficult") == 1,
        attributes=each.attributes,
    )
