"""From pictures to results."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from deta.data.decoding import ImageError
from deta.inference import Picture, given_picture, open_source, picture_of_file
from tests.inference.simple import grey, predictor


def test_boxes_are_told_from_the_score_on_and_lie_inside_the_image(tmp_path: Path) -> None:
    (result,) = predictor().stream([picture_of_file(grey(tmp_path / "a.png", 204))], min_score=0.5)
    (box,) = result
    assert (box.name, box.label, box.category_id, round(box.score, 4)) == ("cat", 0, 3, 0.8)
    assert box.xyxy == pytest.approx((0, 0, 20, 20))
    assert box.xywh == pytest.approx((0, 0, 20, 20))
    both = result.at(0.1)
    assert [found.name for found in both] == ["cat", "../dog"]
    assert both[1].xyxy == pytest.approx((0, 0, 40, 20)), "the box leaves the image on all sides"
    assert both.to_coco(5)[1]["bbox"] == pytest.approx([-4, -2, 48, 24]), "as the evaluation takes it"
    assert result.summary() == "1 of 2 boxes reach 0.5"
    assert result.at(0.9).summary() == "0 of 2 boxes reach 0.9, best 0.8"


def test_results_print_and_become_plain_values(tmp_path: Path) -> None:
    (result,) = predictor().stream([picture_of_file(grey(tmp_path / "a.png", 204))], min_score=0.5)
    assert str(result).splitlines() == [f"{tmp_path}/a.png: 1 of 2 boxes reach 0.5", "cat 0.80  0.0 0.0 20.0 20.0"]
    plain = result.to_dict()
    assert {name: plain[name] for name in ("image", "height", "width")} == {
        "image": f"{tmp_path}/a.png",
        "height": 20,
        "width": 40,
    }
    assert plain["boxes"][0]["xyxy"] == pytest.approx([0, 0, 20, 20])
    assert [crop.size for crop in result.crops()] == [(20, 20)]
    assert result.draw().size == (720, 360), "small images are enlarged"


def test_images_of_one_size_share_a_batch_and_no_other_do(tmp_path: Path) -> None:
    shapes: list[tuple[int, ...]] = []
    sizes = [(20, 40), (20, 40), (30, 40), (20, 40), (30, 40)]
    paths = [grey(tmp_path / f"{k}.png", 50 * k, height=h, width=w) for k, (h, w) in enumerate(sizes)]
    results = list(predictor(lambda images: shapes.append(tuple(images.shape))).stream(map(picture_of_file, paths)))
    assert [result.path for result in results] == paths
    assert [result.size for result in results] == sizes
    assert sum(shape[0] for shape in shapes) == 5
    assert {shape[2:] for shape in shapes} == {(20, 40), (30, 40)}


def test_a_batch_has_at_most_as_many_images_as_asked_for(tmp_path: Path) -> None:
    counts: list[int] = []
    pictures = [picture_of_file(grey(tmp_path / "a.png", 9))] * 7
    assert len(list(predictor(lambda images: counts.append(len(images))).stream(pictures, batch_size=2))) == 7
    assert max(counts) <= 2


@pytest.mark.parametrize("kind", ["file", "pillow", "array", "uint8 tensor", "float tensor"])
def test_an_image_in_any_form_gives_the_same(tmp_path: Path, kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "a.png")
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    forms = {
        "file": tmp_path / "a.png",
        "pillow": image,
        "array": pixels,
        "uint8 tensor": tensor,
        "float tensor": tensor / 255,
    }
    found = open_source(forms[kind])
    assert found.is_single
    (result,) = predictor().stream(found.pictures, min_score=0, is_single=True)
    assert result.size == (20, 40)
    assert result.scores[0].item() == pytest.approx(pixels[..., 0].mean() / 255, abs=1e-5)
    assert np.array_equal(result.pixels().permute(1, 2, 0).numpy(), pixels)


def test_one_image_of_pillow_may_be_given_many_times(tmp_path: Path) -> None:
    for _ in range(5):
        image = Image.open(grey(tmp_path / "a.png", 204, height=500, width=500))
        results = list(predictor().stream(open_source([image] * 8).pictures))
        assert [len(result) for result in results] == [2] * 8


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 20, 40, 3), np.uint8), "give list"),
        (np.zeros((20, 40, 3), np.float32), "of uint8 in the order red, green, blue, got float32"),
        (torch.zeros(20, 40, 3), r"must be a tensor \[3, height, width\]"),
        (torch.full((3, 20, 40), 200.0), "must have numbers in 0..1, got 200 to 200: 0..255 are of dtype uint8"),
    ],
)
def test_an_array_that_is_no_image_is_refused(image: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        given_picture(image, "image")


def test_unusable_images_stop_or_are_told(tmp_path: Path) -> None:
    good, bad = grey(tmp_path / "a.png", 9), tmp_path / "b.png"
    bad.write_bytes(b"nothing")
    pictures = [picture_of_file(path) for path in (good, bad, good)]
    with pytest.raises(ImageError, match=f"image {bad} cannot be decoded"):
        list(predictor().stream(pictures))
    skipped: list[Picture] = []
    assert len(list(predictor().stream(pictures, skip=lambda picture, _: skipped.append(picture)))) == 2
    assert [picture.path for picture in skipped] == [bad]


def test_a_large_image_that_pillow_holds_is_refused_as_in_a_file() -> None:
    with pytest.raises(ImageError, match="image has 800 pixels, at most 700 are accepted"):
        list(predictor(max_pixels=700).stream([given_picture(Image.new("RGB", (40, 20)), "image")]))


def test_what_is_no_number_is_an_error_that_names_the_image(tmp_path: Path) -> None:
    broken = predictor()

    def break_it(module: object, inputs: object, output: object) -> None:
        prediction = next(iter(output.stages.values()))  # type: ignore[attr-defined]  # of a stage, which a module does not tell
        object.__setattr__(prediction, "boxes", prediction.boxes * float("nan"))

    broken.detector.register_forward_hook(break_it)
    with pytest.raises(ValueError, match=r"those in .*a.png have not; the model has probably diverged"):
        list(broken.stream([picture_of_file(grey(tmp_path / "a.png", 9))]))


def test_the_number_of_threads_is_what_it_was_afterwards(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    seen: list[Tensor] = []
    list(predictor(seen.append).stream([picture_of_file(grey(tmp_path / "a.png", 9))] * 9, batch_size=1))
    assert len(seen) == 9
    assert torch.get_num_threads() == before
