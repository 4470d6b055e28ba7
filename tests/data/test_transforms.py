from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Generator, Tensor
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms import v2

from deta.data import (
    Compose,
    LargeScaleJitter,
    RandomChoice,
    RandomHorizontalFlip,
    RandomSizeCrop,
    ResizeShortSide,
    Sample,
    read_image,
)
from deta.data.transforms import crop, flip, floored_size, resize, scaled_size
from tests.data.folders import sample


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def detr_pipeline() -> Compose:
    short_sides = range(480, 801, 32)
    multi_scale = ResizeShortSide(short_sides=short_sides, max_long_side=1333)
    cropped = Compose(
        transforms=[
            ResizeShortSide(short_sides=[400, 500, 600]),
            RandomSizeCrop(min_side=384, max_side=600),
            multi_scale,
        ]
    )
    return Compose(transforms=[RandomHorizontalFlip(), RandomChoice(transforms=[multi_scale, cropped])])


class _Fixed:
    """A transform that marks a sample by its image id."""

    def __init__(self, mark: int) -> None:
        self._mark = mark

    def __call__(self, sample: Sample, generator: Generator) -> Sample:
        return resize(sample, (self._mark, self._mark))


def test_flip_mirrors_image_and_boxes() -> None:
    before = sample(20, 30, [[2, 3, 10, 9]], ignore_boxes=torch.tensor([[0.0, 0, 30, 5]]))
    after = flip(before)
    assert torch.equal(after.image, before.image.flip(2))
    assert after.boxes.tolist() == [[20, 3, 28, 9]]
    assert after.ignore_boxes.tolist() == [[0, 0, 30, 5]]


def test_flipping_twice_changes_nothing() -> None:
    before = sample(20, 31, [[2, 3, 10, 9], [0, 0, 31, 20]])
    after = flip(flip(before))
    assert torch.equal(after.image, before.image)
    assert torch.equal(after.boxes, before.boxes)


def test_flip_probability_is_kept() -> None:
    before, source = sample(), generator()
    flips = [not torch.equal(RandomHorizontalFlip()(before, source).image, before.image) for _ in range(400)]
    assert 160 < sum(flips) < 240  # four standard deviations of a fair coin


@pytest.mark.parametrize("probability", [0, 1])
def test_flip_of_certain_outcome(probability: int) -> None:
    before = sample()
    after = RandomHorizontalFlip(probability=probability)(before, generator())
    assert torch.equal(after.image, before.image.flip(2) if probability else before.image)


@pytest.mark.parametrize(
    ("size", "short_side", "limit", "expected"),
    [
        ((480, 640), 800, 1333, (800, 1066)),  # the limit does not bind, 1066.67 rounds down
        ((640, 480), 800, 1333, (1066, 800)),
        ((300, 900), 800, 1333, (444, 1332)),  # 444.33 rounds to 444, then 444 * 3
        ((100, 100), 77, None, (77, 77)),
        ((800, 1333), 800, 1333, (800, 1333)),
        ((1, 5000), 800, 1333, (2, 10000)),  # never less than two pixels; the limit gives way
    ],
)
def test_size_follows_the_rounding_of_detr(
    size: tuple[int, int], short_side: int, limit: int | None, expected: tuple[int, int]
) -> None:
    assert scaled_size(size, short_side, limit) == expected


@pytest.mark.parametrize("short_side", [150, 320, 800])
def test_sizes_and_pixels_in_the_style_of_torchvision_are_those_that_its_detectors_see(
    short_side: int, shared: Path
) -> None:
    theirs = GeneralizedRCNNTransform(short_side, 1333, [0.0] * 3, [1.0] * 3)
    ours = ResizeShortSide(short_sides=[short_side], max_long_side=1333, style="torchvision")
    for path in sorted((shared / "data/coco_sample/val2017").glob("*.jpg"))[:6]:
        image = read_image(path)
        boxes = torch.tensor([[3.0, 5.0, 80.0, 60.0]])
        before = sample(image.shape[1], image.shape[2], boxes.tolist(), image=image)
        after = ours(before, generator())
        pixels, targets = theirs.resize(image / 255, {"boxes": boxes})
        assert after.size == tuple(pixels.shape[1:])
        difference = (after.image / 255 - pixels).abs().max() * 255
        assert difference < 0.501  # ours are whole grey levels
        torch.testing.assert_close(after.boxes, targets["boxes"])


def test_sizes_in_the_style_of_torchvision_are_its_own_for_all_shapes() -> None:
    theirs = GeneralizedRCNNTransform(60, 100, [0.0] * 3, [1.0] * 3).eval()
    for height in range(20, 220, 7):
        for width in range(20, 220, 3):
            pixels, _ = theirs.resize(torch.zeros(1, height, width))
            assert floored_size((height, width), 60, 100) == tuple(pixels.shape[1:])


def test_resize_scales_boxes_with_the_image() -> None:
    after = resize(sample(20, 30, [[3, 2, 30, 20]], ignore_boxes=torch.tensor([[0.0, 0, 15, 10]])), (40, 90))
    assert after.size == (40, 90)
    assert after.boxes.tolist() == [[9, 4, 90, 40]]
    assert after.ignore_boxes.tolist() == [[0, 0, 45, 20]]


def test_transforms_keep_area_and_original_size() -> None:
    before = sample(20, 30, [[3, 2, 30, 20]])
    after = crop(flip(resize(before, (40, 60))), top=0, left=0, size=(20, 30))
    assert torch.equal(after.areas, before.areas)
    assert after.original_size == (20, 30)


def test_crop_cuts_boxes_and_drops_those_left_outside() -> None:
    boxes = [[0, 0, 10, 10], [12, 4, 20, 12], [15, 15, 25, 19], [10, 0, 12, 5]]
    areas_to_ignore = torch.tensor([[0.0, 0, 4, 4], [8, 8, 30, 20]])
    after = crop(sample(20, 30, boxes, ignore_boxes=areas_to_ignore), top=5, left=10, size=(10, 8))
    # Relative to (10, 5): the first touches the border alone, the third keeps x 5..8 but y 10..14 is cut away.
    assert after.boxes.tolist() == [[2, 0, 8, 7]]
    assert after.labels.tolist() == [1]
    assert after.areas.tolist() == [101]
    assert after.ignore_boxes.tolist() == [[0, 3, 8, 10]]


def test_crop_takes_the_pixels_of_the_rectangle() -> None:
    before = sample(20, 30)
    assert torch.equal(crop(before, top=5, left=10, size=(10, 8)).image, before.image[:, 5:15, 10:18])


def test_random_crop_stays_inside_its_limits_and_reaches_them() -> None:
    transform, source = RandomSizeCrop(min_side=5, max_side=9), generator()
    sizes = [transform(sample(7, 30), source).size for _ in range(300)]
    assert {height for height, _ in sizes} == {5, 6, 7}
    assert {width for _, width in sizes} == {5, 6, 7, 8, 9}


def test_crop_of_an_image_below_the_shortest_side_keeps_that_side_whole() -> None:
    assert RandomSizeCrop(min_side=50, max_side=60)(sample(20, 30), generator()).size == (20, 30)


@pytest.mark.parametrize("seed", range(8))
def test_large_scales_are_those_of_torchvision_cut_to_the_square(seed: int) -> None:
    before = sample(40, 64, [[0, 0, 64, 40]])
    after = LargeScaleJitter(size=48, scale=[0.1, 2.0])(before, generator(seed))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        jittered = v2.ScaleJitter((48, 48), (0.1, 2.0))(before.image)
    expected = [min(side, 48) for side in jittered.shape[1:]]
    assert after.size == pytest.approx(expected, abs=1)  # its factor is of single precision
    assert after.boxes.tolist() == [[0, 0, after.size[1], after.size[0]]]


def test_what_is_larger_than_the_square_is_cut_anywhere_and_what_is_smaller_stays() -> None:
    transform, source, before = LargeScaleJitter(size=10, scale=[2.0, 2.0]), generator(), sample(10, 20)
    cuts = [before.image[:, :, left : left + 10] for left in range(10)]
    found = [transform(before, source).image for _ in range(200)]
    assert {next(left for left, cut in enumerate(cuts) if torch.equal(cut, image)) for image in found} == set(range(10))
    assert LargeScaleJitter(size=10, scale=[0.5, 0.5])(before, source).size == (2, 5)


def test_choice_is_even() -> None:
    transform = RandomChoice(transforms=[_Fixed(2), _Fixed(3), _Fixed(4)])
    source, small = generator(), sample(4, 4)
    counts = np.bincount([transform(small, source).size[0] for _ in range(600)], minlength=5)
    assert (abs(counts[2:] - 200) < 47).all()  # four standard deviations


def test_image_without_objects_goes_through_the_whole_pipeline() -> None:
    for seed in range(4):
        after = detr_pipeline()(sample(60, 80), generator(seed))
        assert after.boxes.shape == (0, 4)
        assert after.labels.shape == (0,)


def test_same_generator_state_gives_the_same_sample_and_global_state_is_untouched() -> None:
    before, state = sample(60, 80, [[5, 5, 60, 50]]), torch.random.get_rng_state()
    first, second = (detr_pipeline()(before, generator(3)) for _ in range(2))
    assert torch.equal(first.image, second.image)
    assert torch.equal(first.boxes, second.boxes)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_boxes_stay_inside_the_image_with_an_area() -> None:
    before = sample(60, 80, [[0, 0, 80, 60], [79, 59, 80, 60], [0, 0, 0.5, 60]])
    for seed in range(12):
        after = detr_pipeline()(before, generator(seed))
        height, width = after.size
        assert (after.boxes >= 0).all()
        assert (after.boxes <= torch.tensor([width, height, width, height])).all()
        assert (after.boxes[:, 2:] > after.boxes[:, :2]).all()


def _pil_reference(pixels: Tensor, seed: int) -> np.ndarray:
    """The pipeline of the paper on Pillow images, with the same random plan."""
    source = generator(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=source))

    def resized(image: Image.Image, choices: list[int], limit: int | None) -> Image.Image:
        wanted = choices[draw(0, len(choices) - 1)]
        height, width = scaled_size((image.height, image.width), wanted, limit)
        return image.resize((width, height), Image.Resampling.BILINEAR)

    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    short_sides = list(range(480, 801, 32))
    if float(torch.rand((), generator=source)) < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if draw(0, 1) == 1:
        image = resized(image, [400, 500, 600], None)
        height, width = (draw(384, min(600, side)) for side in (image.height, image.width))
        top, left = draw(0, image.height - height), draw(0, image.width - width)
        image = image.crop((left, top, left + width, top + height))
    return np.asarray(resized(image, short_sides, 1333))


def _difference_to_pillow(pixels: Tensor, seed: int) -> np.ndarray:
    before = sample(pixels.shape[1], pixels.shape[2], image=pixels)
    after = detr_pipeline()(before, generator(seed)).image.permute(1, 2, 0).numpy()
    reference = _pil_reference(pixels, seed)
    assert after.shape == reference.shape
    return np.asarray(np.abs(after.astype(int) - reference.astype(int)))


@pytest.mark.parametrize("seed", range(4))
def test_pixels_equal_those_of_pillow(seed: int) -> None:
    # Both compute with 8-bit weights and round on their own; noise has the steepest edges.
    difference = _difference_to_pillow(sample(300, 420).image, seed)
    assert difference.max() <= 2
    assert difference.mean() < 0.02


def test_pixels_of_photographs_equal_those_of_pillow(shared: Path) -> None:
    # Over 60 photographs a mean difference of 0.001 and a largest one of 2 were measured.
    paths = sorted((shared / "data/coco_sample/train2017").glob("*.jpg"))[:6]
    differences = [_difference_to_pillow(read_image(path), seed) for seed, path in enumerate(paths)]
    assert max(difference.max() for difference in differences) <= 2
    assert np.mean([difference.mean() for difference in differences]) < 0.002


@pytest.mark.parametrize(
    "build",
    [
        lambda: RandomChoice(transforms=[]),
        lambda: RandomHorizontalFlip(probability=1.5),
        lambda: ResizeShortSide(short_sides=[]),
        lambda: ResizeShortSide(short_sides=float("inf")),  # type: ignore[arg-type]  # what a command line may give
        lambda: ResizeShortSide(short_sides=[0]),
        lambda: ResizeShortSide(short_sides=[5], max_long_side=0),
        lambda: ResizeShortSide(short_sides=[5], style="pillow"),
        lambda: RandomSizeCrop(min_side=5, max_side=4),
        lambda: LargeScaleJitter(size=1),
        lambda: LargeScaleJitter(size=32, scale=[0.0, 1.0]),
        lambda: LargeScaleJitter(size=32, scale=[2.0, 1.0]),
        lambda: LargeScaleJitter(size=32, scale=[1.0]),
    ],
)
def test_arguments_out_of_range_are_refused(build: type) -> None:
    with pytest.raises(ValueError, match="must"):
        build()
