import re
from pathlib import Path

import pytest

from deta.data.formats.voc import read_voc
from tests.data.formats.sources import faults, read, write_files

SIZE = "<size><width>40</width><height>30</height><depth>3</depth></size>"


def box(xmin: object = 1, ymin: object = 1, xmax: object = 40, ymax: object = 30) -> str:
    """A ``bndbox``."""
    return f"<bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox>"


def thing(name: str = "cat", inner: str = "", where: str = "") -> str:
    """An ``object``."""
    return f"<object><name>{name}</name>{inner}{where or box()}</object>"


def annotation(*objects: str, size: str = SIZE, filename: str = "a.png", inner: str = "") -> str:
    """An annotation file."""
    return f"<annotation><filename>{filename}</filename>{size}{inner}{''.join(objects)}</annotation>"


def source(root: Path, *objects: str) -> Path:
    """One annotated image without a split."""
    files = {"Annotations/a.xml": annotation(*objects or (thing(),))}
    return write_files(root, files, images=("JPEGImages/a.png",))


def test_pixels_are_counted_from_1_and_a_box_has_its_last_ones(tmp_path: Path) -> None:
    dataset, told = read(read_voc, source(tmp_path, thing(), thing("ant", where=box(3, 5, 3, 5))))
    (image,) = dataset.splits["all"]
    assert [(each.category, each.box, each.area) for each in image.objects] == [
        ("cat", (0, 0, 40, 30), 1200),
        ("ant", (2, 4, 1, 1), 1),
    ]
    assert dataset.categories == {"ant": {"id": 1, "name": "ant"}, "cat": {"id": 2, "name": "cat"}}
    assert (
        told == "pixels are counted from 1 and boxes include their last ones, as in VOC (first_pixel=0 counts from 0)"
    )


def test_a_box_that_begins_at_0_says_that_pixels_are_counted_from_0(tmp_path: Path) -> None:
    root = source(tmp_path, thing(where=box(0, 2, 40, 30)), thing(where=box(3, 5, 13, 15)))
    dataset, told = read(read_voc, root)
    assert [each.box for each in dataset.splits["all"][0].objects] == [(0, 2, 40, 28), (3, 5, 10, 10)]
    assert "counted from 0, as 1 of 2 boxes begin there" in told
    dataset, _ = read(read_voc, root, first_pixel=1)
    assert [each.box for each in dataset.splits["all"][0].objects] == [(-1, 1, 41, 29), (2, 4, 11, 11)]


def test_difficult_objects_are_crowds_and_all_marks_are_kept(tmp_path: Path) -> None:
    marks = "<pose>Left</pose><truncated>1</truncated><occluded>0</occluded><difficult>1</difficult>"
    part = f"<part><name>head</name>{box(2, 2, 5, 5)}</part>"
    root = source(tmp_path, thing(inner=f"{marks}{part}{part}"), thing(inner="<truncated>1</truncated>"))
    dataset, _ = read(read_voc, root)
    difficult, truncated = dataset.splits["all"][0].objects
    head = {"name": "head", "bndbox": {"xmin": "2", "ymin": "2", "xmax": "5", "ymax": "5"}}
    assert difficult.attributes == {"pose": "Left", "truncated": 1, "occluded": 0, "difficult": 1, "part": [head, head]}
    assert (difficult.is_crowd, truncated.is_crowd) == (True, False)
    as_objects, _ = read(read_voc, root, difficult="object")
    assert not any(each.is_crowd for each in as_objects.splits["all"][0].objects)


def test_what_is_said_of_the_image_is_kept(tmp_path: Path) -> None:
    inner = "<source><database>VOC</database></source><segmented>0</segmented>"
    files = {"a.xml": annotation(thing(), filename="C:\\old\\b.jpg", inner=inner)}
    dataset, told = read(read_voc, write_files(tmp_path, files, images=("a.png",)))
    (image,) = dataset.splits["all"]
    assert image.attributes == {
        "filename": "C:\\old\\b.jpg",
        "source": {"database": "VOC"},
        "segmented": "0",
        "depth": "3",
    }
    assert "1 x annotation that calls its image otherwise: a.xml: C:\\old\\b.jpg" in told


def test_polygons_are_outlines_in_the_pixels_of_the_boxes(tmp_path: Path) -> None:
    points = "".join(f"<x{k}>{x}</x{k}><y{k}>{y}</y{k}>" for k, (x, y) in enumerate(((1, 1), (11, 1), (11, 6)), 1))
    dataset, _ = read(read_voc, source(tmp_path, thing(inner=f"<polygon>{points}</polygon>")))
    (each,) = dataset.splits["all"][0].objects
    assert (each.outline, each.area, each.box) == ([[0, 0, 10, 0, 10, 5]], 25, (0, 0, 40, 30))


def kit(root: Path) -> Path:
    """Two years of the development kit, with an image of the same name in both."""
    names = [f"VOC2007/{name}" for name in "abc"] + ["VOC2012/a"]
    files: dict[str, object] = {
        f"{name.replace('/', '/Annotations/')}.xml": annotation(thing(), filename=f"{name[-1]}.png") for name in names
    }
    files |= {
        "VOC2007/ImageSets/Main/train.txt": "a\n",
        "VOC2007/ImageSets/Main/val.txt": "b\nlost\n",
        "VOC2007/ImageSets/Main/trainval.txt": "a\nb\n",
        "VOC2007/ImageSets/Main/cat_train.txt": "a  1\n",
        "VOC2007/ImageSets/Segmentation/train.txt": "c\n",
        "VOC2012/ImageSets/Main/train.txt": "a\n",
    }
    images = [f"{name.replace('/', '/JPEGImages/')}.png" for name in names]
    return write_files(root, files, images=(*images, "VOC2007/SegmentationClass/a.png"))


def test_lists_say_which_split_an_image_is_in(tmp_path: Path) -> None:
    dataset, told = read(read_voc, kit(tmp_path))
    assert {name: [image.name for image in images] for name, images in dataset.splits.items()} == {
        "train": ["VOC2007/JPEGImages/a.png", "VOC2012/JPEGImages/a.png"],
        "val": ["VOC2007/JPEGImages/b.png"],
    }
    assert "1 x name in a list that has neither annotation nor image, left out: VOC2007/ImageSets/Main/val.txt" in told
    assert "1 x list of the images of a class, which is not needed: VOC2007/ImageSets/Main/cat_train.txt" in told
    assert "1 x image in no list, left out: VOC2007/JPEGImages/c.png" in told
    assert "1 x folder of masks, which are not read" in told


def test_names_with_a_number_behind_a_blank_are_no_list_of_a_class(tmp_path: Path) -> None:
    files = {"ImageSets/Main/train.txt": "photo 1\nphoto 0\n"}
    files |= {f"Annotations/photo {k}.xml": annotation(thing(), filename=f"photo {k}.png") for k in (0, 1)}
    images = ("JPEGImages/photo 0.png", "JPEGImages/photo 1.png")
    dataset, _ = read(read_voc, write_files(tmp_path, files, images=images))
    assert [image.name for image in dataset.splits["train"]] == [images[1], images[0]]


def test_splits_are_chosen_and_named_on_request(tmp_path: Path) -> None:
    dataset, _ = read(read_voc, kit(tmp_path), splits={"train": "trainval", "val": "train"})
    assert {name: len(images) for name, images in dataset.splits.items()} == {"train": 2, "val": 2}
    with pytest.raises(ValueError, match=r"splits: the source has no 'test'; it has train, trainval, val"):
        read(read_voc, tmp_path, splits={"val": "test"})


def test_folders_called_like_splits_are_splits(tmp_path: Path) -> None:
    files = {f"{split}/a.xml": annotation(thing()) for split in ("train", "valid")}
    root = write_files(tmp_path, files, images=("train/a.png", "valid/a.png", "valid/bare.png"))
    dataset, told = read(read_voc, root)
    assert {name: [image.name for image in images] for name, images in dataset.splits.items()} == {
        "train": ["train/a.png"],
        "val": ["valid/a.png"],
    }
    assert "left out (unlabelled=true takes it as one without objects): valid/bare.png" in told
    with_bare, _ = read(read_voc, root, unlabelled=True)
    assert [len(image.objects) for image in with_bare.splits["val"]] == [1, 0]


def test_a_size_that_is_not_said_is_that_of_the_image(tmp_path: Path) -> None:
    zero = "<size><width>0</width><height>0</height></size>"
    files = {
        "a.xml": annotation(thing(), size=zero),
        "lost.xml": annotation(filename="lost.png"),
        "pom.xml": "<project/>",
    }
    dataset, told = read(read_voc, write_files(tmp_path, files, images=("a.png",)))
    assert [image.size for image in dataset.splits["all"]] == [(30, 40)]
    assert "annotation without the size of its image, that of the upright image is taken: a.png" in told
    assert "1 x annotation without an image, left out: lost.xml" in told
    assert "1 x XML that is no annotation of VOC, left out: pom.xml" in told


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (annotation(thing(where=box(5, 1, 3, 9))), "xmax is below xmin, or ymax below ymin: a.xml, object 1 (cat)"),
        (annotation(thing(where=box("x"))), "bndbox is not four numbers xmin, ymin, xmax, ymax: a.xml, object 1 (cat)"),
        (annotation(thing(where=box("nan"))), "bndbox is not four numbers"),
        (annotation(thing(where=box("1e400"))), "bndbox is not four numbers"),
        (annotation("<object><name>cat</name></object>"), "object without bndbox: a.xml, object 1 (cat)"),
        (annotation(thing(where=2 * box())), "object with more than one bndbox: a.xml, object 1 (cat)"),
        (
            annotation(thing(inner="<difficult>2</difficult>")),
            "difficult that is neither 0 nor 1: a.xml, object 1 (cat): 2",
        ),
        (annotation(thing(" ")), "object without a name: a.xml, object 1"),
        (annotation(thing(inner="<polygon><x1>1</x1><y1>1</y1></polygon>")), "not at least three points"),
        (
            annotation(size="<size><width>41</width><height>30</height></size>"),
            "a.png has 30 x 40, its",
        ),
        ("<annotation><object></annotation>", "file that is not XML: a.xml: mismatched tag"),
        (
            '<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>',
            "a document type or entities",
        ),
        ("<annotation>" + "<a>" * 60 + "</a>" * 60 + "</annotation>", "XML of more than 50 levels: a.xml"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_fault(tmp_path: Path, text: str, fault: str) -> None:
    assert fault in faults(read_voc, write_files(tmp_path, {"a.xml": text}, images=("a.png",)))


def test_an_image_that_cannot_be_told_is_a_fault(tmp_path: Path) -> None:
    root = write_files(tmp_path, {"xml/a.xml": annotation(thing(), filename="a")}, images=("u/a.png", "v/a.png"))
    assert "annotation that several images fit: xml/a.xml: u/a.png, v/a.png" in faults(read_voc, root)
    root = write_files(tmp_path / "2", {"a.xml": annotation(), "xml/a.xml": annotation()}, images=("a.png",))
    assert "image with two annotation files: a.png: a.xml and xml/a.xml" in faults(read_voc, root)


def test_only_0_and_1_are_first_pixels(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape("first_pixel must be auto, 0 or 1, got 2")):
        read(read_voc, tmp_path, first_pixel=2)
