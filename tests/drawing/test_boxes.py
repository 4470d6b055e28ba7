"""What is drawn, seen through single pixels."""

import itertools
import math
import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from deta.drawing.boxes import class_colour, compare, contact_sheet, draw_boxes, from_pil, save_picture, to_pil
from deta.structures import Batch, Detections, Targets

NAMES = ["cat", "dog", "a class with a long name"]
GREY = 90
NO_BOXES, NO_LABELS = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)


def grey(height: int, width: int) -> Tensor:
    return torch.full((3, height, width), GREY, dtype=torch.uint8)


def pixel(picture: Tensor, x: int, y: int) -> tuple[int, ...]:
    return tuple(picture[:, y, x].tolist())


def has_colour(picture: Tensor, colour: tuple[int, ...]) -> bool:
    return bool((picture == torch.tensor(colour, dtype=torch.uint8)[:, None, None]).all(dim=0).any())


def scene() -> tuple[Batch, Detections]:
    """A padded 400 x 500 image at half its original size, one object, one crowd, three detections."""
    images = torch.zeros(1, 3, 450, 600, dtype=torch.uint8)
    images[:, :, :400, :500] = GREY
    is_padding = torch.ones(1, 450, 600, dtype=torch.bool)
    is_padding[:, :400, :500] = False
    targets = Targets(
        boxes=torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0, 0, 0, 0]]]),
        labels=torch.tensor([[1, 0]]),
        is_object=torch.tensor([[True, False]]),
        areas=torch.tensor([[8000.0, 0]]),
        ignore_boxes=torch.tensor([[[0.1, 0.85, 0.2, 0.3]]]),
        is_ignore=torch.tensor([[True]]),
        sizes=torch.tensor([[400.0, 500.0]]),
        most_objects=1,
    )
    batch = Batch(images, is_padding, targets, torch.tensor([7]), torch.tensor([[800, 1000]]))
    boxes = torch.tensor([[[400.0, 320, 600, 480], [20, 20, 60, 60], [0, 0, 0, 0]]])
    scores, labels = torch.tensor([[0.9, 0.1, 0.0]]), torch.tensor([[1, 0, 0]])
    return batch, Detections(boxes, scores, labels, torch.tensor([[True, True, False]]))


def test_a_box_has_the_colour_of_its_class_and_an_empty_inside() -> None:
    picture = draw_boxes(grey(400, 400), torch.tensor([[100.0, 150, 300, 350]]), torch.tensor([1]), names=NAMES)
    assert picture.shape == (3, 400, 400)
    for x, y in ((100, 250), (300, 250), (200, 350)):
        assert pixel(picture, x, y) == class_colour(1)
    assert pixel(picture, 200, 250) == (GREY, GREY, GREY)


def test_the_image_itself_is_not_changed() -> None:
    image = grey(400, 400)
    draw_boxes(image, torch.tensor([[10.0, 10, 300, 350]]), torch.tensor([0]), names=NAMES)
    assert (image == GREY).all()


def test_drawing_twice_gives_the_same_picture() -> None:
    boxes, labels = torch.tensor([[10.0, 10, 300, 350], [20, 30, 90, 80]]), torch.tensor([0, 2])
    scores = torch.tensor([0.5, 0.6])
    first, second = (draw_boxes(grey(400, 400), boxes, labels, names=NAMES, scores=scores) for _ in range(2))
    assert torch.equal(first, second)


def test_the_score_is_written() -> None:
    box, label = torch.tensor([[100.0, 150, 300, 350]]), torch.tensor([0])
    pictures = [
        draw_boxes(grey(400, 400), box, label, names=NAMES, scores=torch.tensor([score]))
        for score in (0.5, 0.504, 0.51)
    ]
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])


@pytest.mark.parametrize("reverse", [False, True])
def test_the_best_box_lies_on_top_whatever_the_order(reverse: bool) -> None:
    boxes, labels = torch.tensor([[100.0, 100, 300, 300], [100, 100, 300, 300]]), torch.tensor([0, 1])
    scores = torch.tensor([0.2, 0.8])
    if reverse:
        boxes, labels, scores = boxes.flip(0), labels.flip(0), scores.flip(0)
    picture = draw_boxes(grey(400, 400), boxes, labels, names=NAMES, scores=scores)
    assert pixel(picture, 300, 250) == class_colour(1)


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (37, 1000), (2, 3000), (1200, 900)])
def test_labels_are_written_at_any_image_size(size: tuple[int, int]) -> None:
    height, width = size
    box = torch.tensor([[0.0, 0, width, height]])
    picture = draw_boxes(grey(height, width), box, torch.tensor([0]), names=NAMES)
    assert 360 <= max(picture.shape[1:]) <= 4000
    is_label = (picture == torch.tensor(class_colour(0), dtype=torch.uint8)[:, None, None]).all(dim=0)
    assert int(is_label.sum(dim=1).max()) >= 20  # a filled row of the label, at least as wide as its text


def test_boxes_that_leave_the_image_are_drawn_at_its_border() -> None:
    picture = draw_boxes(grey(400, 400), torch.tensor([[-50.0, 200, 900, 5000]]), torch.tensor([2]), names=NAMES)
    assert pixel(picture, 0, 300) == pixel(picture, 399, 300) == pixel(picture, 200, 399) == class_colour(2)


def test_areas_to_ignore_are_hatched() -> None:
    picture = draw_boxes(
        grey(400, 400), NO_BOXES, NO_LABELS, names=NAMES, ignore_xyxy=torch.tensor([[100.0, 100, 300, 300]])
    )
    inside = picture[:, 110:290, 110:290].float().mean(dim=0)
    assert 0.02 < float((inside > GREY).float().mean()) < 0.4
    border = picture[0, 100, 100:300]
    assert 0.3 < float((border > 200).float().mean()) < 0.7  # dashed
    assert (picture[:, :95] == GREY).all()


def test_colours_of_many_classes_differ() -> None:
    colours = [class_colour(label) for label in range(100)]
    assert len(set(colours)) == 100
    assert all(max(map(abs, (a - b for a, b in zip(*pair, strict=True)))) > 60 for pair in itertools.pairwise(colours))


def test_a_comparison_shows_detections_left_and_truth_right() -> None:
    picture = compare(*scene(), 0, names=NAMES)
    _, height, width = picture.shape
    assert width == 2 * 500 + 8
    strip = height - 400
    assert 10 < strip < 40
    left, right = picture[:, strip:, :500], picture[:, strip:, 508:]
    for panel in (left, right):  # the same box, found at twice the size
        assert pixel(panel, 200, 200) == pixel(panel, 299, 210) == class_colour(1)
    assert not has_colour(picture, class_colour(0))
    pale = left[:, 11:30, 10]  # of the detection below the score limit
    assert not (pale == GREY).all()
    assert (left[:, 2:8, 2:8] == GREY).all()  # padding, which is no detection
    assert (left[:, 300:, :90] == GREY).all()
    assert not (right[:, 300:, :90] == GREY).all()  # the crowd
    lower = compare(*scene(), 0, names=NAMES, min_score=0.05)
    assert has_colour(lower[:, :, :500], class_colour(0))


def test_an_image_without_anything_is_drawn() -> None:
    batch, detections = scene()
    targets = replace(batch.targets, is_object=torch.zeros(1, 2, dtype=torch.bool))
    nothing = replace(detections, is_detection=torch.zeros(1, 3, dtype=torch.bool))
    picture = compare(replace(batch, targets=targets), nothing, 0, names=NAMES)
    assert not has_colour(picture, class_colour(1))


def test_a_box_without_a_name_is_a_thin_line() -> None:
    boxes, labels = torch.tensor([[100.0, 150, 300, 350], [50, 50, 350, 390]]), torch.tensor([1, 1])
    picture = draw_boxes(grey(400, 400), boxes, labels, names=NAMES, is_named=torch.tensor([True, False]))
    assert pixel(picture, 101, 250) == pixel(picture, 50, 200) == class_colour(1)
    assert pixel(picture, 51, 200) == (GREY, GREY, GREY)
    assert (picture[:, :48] == GREY).all()  # no label above


def test_a_contact_sheet_holds_all_pictures_in_reading_order() -> None:
    pictures = [torch.full((3, 10 * n, 20), n, dtype=torch.uint8) for n in (1, 2, 3)]
    sheet = contact_sheet(pictures, columns=2, gap=4)
    assert sheet.shape == (3, 20 + 4 + 30, 44)
    assert [pixel(sheet, 5, 5), pixel(sheet, 30, 15), pixel(sheet, 5, 50)] == [(n,) * 3 for n in (1, 2, 3)]
    scaled = contact_sheet(pictures[:1], columns=4, cell_width=60)
    assert scaled.shape == (3, 30, 60)
    with pytest.raises(ValueError, match="0 pictures"):
        contact_sheet([], columns=2)


def test_pictures_survive_a_file(tmp_path: Path) -> None:
    picture = draw_boxes(grey(400, 400), torch.tensor([[9.0, 9, 99, 99]]), torch.tensor([0]), names=NAMES)
    save_picture(picture, tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as image:
        assert torch.equal(from_pil(image), picture)
    assert torch.equal(from_pil(to_pil(picture)), picture)


def test_a_picture_of_which_a_part_fits_on_the_disk_is_not_kept(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = torch.randint(256, (3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as a full disk does, the system writes a part
    try:
        with pytest.raises(OSError, match=r"picture\.jpg"):
            save_picture(noise, tmp_path / "picture.jpg")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_drawn_is_named() -> None:
    box, label = torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([0])
    with pytest.raises(ValueError, match=r"uint8 \[3, H, W\], got torch.float32"):
        draw_boxes(grey(9, 9).float(), box, label, names=NAMES)
    with pytest.raises(ValueError, match="1 of 1 are not"):
        draw_boxes(grey(9, 9), box * math.nan, label, names=NAMES)
    with pytest.raises(ValueError, match=r"indices of the 3 names, got \[3\]"):
        draw_boxes(grey(9, 9), box, label + 3, names=NAMES)
