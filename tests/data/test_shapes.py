import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from deta.data import SHAPE_CATEGORIES, Compose, ShapesDataModule, ShapesRecipe, generate_shapes
from deta.data.shapes import run_lengths
from deta.data.shapes_drawing import SHAPES, draw_image
from deta.structures import LARGE_AREA, SMALL_AREA

# pycocotools 2.0.11 decodes masks through an array interface that NumPy calls outdated.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
RECIPE = ShapesRecipe(num_train=60, num_val=8, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_shapes(RECIPE, tmp_path_factory.mktemp("cache"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_recipe_gives_the_same_files(tmp_path: Path) -> None:
    recipe = ShapesRecipe(num_train=3, num_val=2)
    first, second = (generate_shapes(recipe, tmp_path / name) for name in ("a", "b"))
    assert first.name == second.name
    assert contents(first) == contents(second)
    assert len(contents(first)) == 7


def test_other_recipes_live_in_other_folders(tmp_path: Path) -> None:
    recipes = [ShapesRecipe(num_train=2, num_val=1, seed=seed) for seed in (0, 1)]
    folders = [generate_shapes(recipe, tmp_path) for recipe in recipes]
    assert folders[0] != folders[1]
    assert (folders[0] / "train/000001.jpg").read_bytes() != (folders[1] / "train/000001.jpg").read_bytes()


def test_validation_images_are_not_training_images(folder: Path) -> None:
    images = [path.read_bytes() for path in folder.rglob("*.jpg")]
    assert len(set(images)) == len(images) == 68


def test_existing_folder_is_not_written_again(tmp_path: Path) -> None:
    recipe = ShapesRecipe(num_train=1, num_val=1)
    mark = generate_shapes(recipe, tmp_path) / "mark"
    mark.touch()
    generate_shapes(recipe, tmp_path)
    assert mark.exists()
    assert len(list(tmp_path.iterdir())) == 1


def test_interrupted_generation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        generate_shapes(ShapesRecipe(num_train=1, num_val=1), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_annotations_agree_with_their_masks(folder: Path) -> None:
    coco = COCO(str(folder / "annotations/instances_train.json"))
    assert len(coco.anns) > 60
    for row in coco.anns.values():
        mask = coco.annToMask(row)
        size = coco.imgs[row["image_id"]]
        rows, columns = np.nonzero(mask)
        left, top = columns.min(), rows.min()
        assert mask.shape == (size["height"], size["width"])
        assert row["area"] == mask.sum() > 0
        assert row["bbox"] == [left, top, columns.max() + 1 - left, rows.max() + 1 - top]


def test_objects_of_an_image_do_not_share_pixels(folder: Path) -> None:
    coco = COCO(str(folder / "annotations/instances_train.json"))
    for image_id in coco.getImgIds():
        masks = [coco.annToMask(row) for row in coco.imgToAnns[image_id]]
        assert not masks or np.sum(masks, axis=0).max() == 1


def test_files_have_the_annotated_size(folder: Path) -> None:
    for row in json.loads((folder / "annotations/instances_val.json").read_text())["images"]:
        with Image.open(folder / "val" / row["file_name"]) as image:
            assert image.size == (row["width"], row["height"])


def test_classes_sizes_crowds_and_empty_images_all_occur() -> None:
    rng = np.random.default_rng(0)
    drawings = [draw_image((144, 160), rng) for _ in range(200)]
    areas = np.array([mask.sum() for drawing in drawings for _, mask in drawing.objects])
    labels = [label for drawing in drawings for label, _ in drawing.objects]
    shares = [(areas < SMALL_AREA).mean(), (areas >= LARGE_AREA).mean()]
    assert np.bincount(labels, minlength=6).min() > 40
    assert shares[0] > 0.2
    assert shares[1] > 0.03
    assert 3 < sum(bool(drawing.crowds) for drawing in drawings) < 25
    assert 1 < sum(not drawing.objects for drawing in drawings) < 25


@pytest.mark.parametrize(
    ("name", "share"),
    [("circle", 0.785), ("square", 0.64), ("ring", 0.548), ("cross", 0.482), ("triangle", 0.366), ("star", 0.309)],
)
def test_shapes_cover_the_area_of_their_geometry(name: str, share: float) -> None:
    # Of the square -1..1: pi / 4; 0.8^2; (1 - 0.55^2) pi / 4; (2 * 2 * 0.56 - 0.56^2) / 4;
    # base 2 * 1.6 / 1.75 and height 1.6; ten triangles of sides 1 and 0.42 with 36 degrees between them.
    x, y = np.meshgrid(*[np.linspace(-1, 1, 801, dtype=np.float32)] * 2)
    assert SHAPES[name](x, y).mean() == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize("seed", range(4))
def test_run_lengths_are_those_of_coco(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((5, 7)) < rng.random()
    mask[0, 0], mask[-1, -1] = seed & 1, seed & 2
    counts = run_lengths(mask)
    encoded = coco_mask.frPyObjects({"counts": counts, "size": [5, 7]}, 5, 7)
    np.testing.assert_array_equal(coco_mask.decode(encoded), mask)
    assert encoded == coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def test_data_module_generates_then_reads(tmp_path: Path) -> None:
    keep = Compose(transforms=[])
    module = ShapesDataModule(
        cache=tmp_path, num_train=4, num_val=2, train_transform=keep, val_transform=keep, num_workers=0
    )
    module.prepare_data()
    module.setup("fit")
    assert module.categories == SHAPE_CATEGORIES
    assert len(next(iter(module.val_dataloader()))) == 2
    assert len(module.train_dataset) == 4


def test_what_is_trained_on_can_be_validated_on(tmp_path: Path) -> None:
    keep: dict[str, Any] = {name: Compose(transforms=[]) for name in ("train_transform", "val_transform")}
    module = ShapesDataModule(cache=tmp_path, num_train=4, num_val=1, val_split="train", num_workers=0, **keep)
    module.prepare_data()
    module.setup("fit")
    pictures = [[split[index].image for index in range(4)] for split in (module.train_dataset, module.val_dataset)]
    assert all(torch.equal(*pair) for pair in zip(*pictures, strict=True))
    assert module.val_annotations.name == "instances_train.json"
    with pytest.raises(ValueError, match=r"data\.val_split must be one of train, val, got 'test'"):
        ShapesDataModule(cache=tmp_path, val_split="test", **keep)
    with pytest.raises(ValueError, match=r"data\.val_split=train needs data\.source=folder"):
        ShapesDataModule(cache=tmp_path, val_split="train", source="shards", shards=tmp_path, **keep)


def test_generated_pictures_have_no_other_place_than_the_cache(tmp_path: Path) -> None:
    keep = Compose(transforms=[])
    with pytest.raises(ValueError, match=r"data\.root is no setting of generated pictures, .* data\.cache"):
        ShapesDataModule(cache=tmp_path, root=tmp_path, train_transform=keep, val_transform=keep)


@pytest.mark.parametrize("options", [{"num_train": 0}, {"num_val": 0}, {"seed": -1}])
def test_impossible_recipes_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        ShapesRecipe(**options)
