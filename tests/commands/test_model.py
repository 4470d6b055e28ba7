"""``deta.load``: a trained detector in a program."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import deta
from deta.building.model import Model
from deta.data.images import ImageRules
from deta.models.postprocess import TopK
from deta.training.checkpoint import DETECTOR_PREFIX, read_checkpoint
from deta.training.module import CHECKPOINT_KEY
from deta.training.tensor_files import save_tensors
from tests.commands.conftest import Run
from tests.commands.running import succeed
from tests.commands.test_predict import photo
from tests.inference.test_video import video


@pytest.fixture(scope="module")
def model(trained: Run) -> Model:
    """The run's best model."""
    return deta.load(trained.folder, device="cpu")


def test_a_model_says_what_it_is(model: Model, trained: Run) -> None:
    assert model.path == trained.folder / "checkpoints" / "best.ckpt"
    assert len(model.names) == 6
    assert model.config["data"]["num_train"] == 8
    assert repr(model) == f"Model('{model.path}', 6 classes, cpu)"
    assert not model.detector.training


def test_one_image_gives_one_result_and_several_give_a_list(model: Model, tmp_path: Path) -> None:
    path = photo(tmp_path / "in" / "a.png")
    one = model.predict(path, min_score=0)
    assert isinstance(one, deta.Result)
    assert all(isinstance(box, deta.Box) and box.name in model.names for box in one)
    assert len(one) > 0
    for source in ([path, Image.open(path)], tmp_path / "in", str(tmp_path / "in" / "*.png")):
        many = model.predict(source, min_score=0)
        assert isinstance(many, list)
        np.testing.assert_allclose(many[0].boxes, one.boxes, atol=1e-3)  # float32 in another batch
        assert many[0].kept_pixels is None
        assert torch.equal(many[0].pixels(), one.pixels())


def test_frames_of_a_whole_video_are_not_kept_in_memory(model: Model, tmp_path: Path) -> None:
    results = model.predict([video(tmp_path / "clip.mp4", frames=2)])
    assert [result.picture.frame for result in results] == [0, 1]
    for read in (results[0].pixels, lambda: results[0].picture.read(ImageRules())):
        with pytest.raises(ValueError, match=r"clip\.mp4#0: the frames of a video are not kept: .* model\.stream"):
            read()


def test_a_stream_keeps_the_pixels_of_what_it_gives(model: Model, tmp_path: Path) -> None:
    paths = [photo(tmp_path / f"{name}.png") for name in "abc"]
    results = list(model.stream(paths))
    assert [result.path for result in results] == paths
    assert all(result.kept_pixels is not None for result in results)


def test_another_selection_takes_the_place_of_that_of_the_training(trained: Run, tmp_path: Path) -> None:
    chosen = deta.load(trained.folder, device="cpu", postprocess=TopK(max_detections=3))
    assert chosen.predict(photo(tmp_path / "a.png")).num_detections == 3


def test_the_numbers_of_an_evaluation_are_those_of_the_command(
    model: Model, trained: Run, workplace: Path, tmp_path: Path
) -> None:
    succeed("eval", f"ckpt={trained.folder}", f"hydra.run.dir={tmp_path}/eval")
    expected = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    own = model.evaluate()
    shared = {name: value for name, value in own.metrics().items() if name in expected}
    assert {"AP", "AP50", "AR100"} <= shared.keys()
    assert shared == {name: pytest.approx(expected[name], nan_ok=True) for name in shared}
    files = next((workplace / "cache").glob("shapes-8-4-*"))
    given = model.evaluate(files / "annotations" / "instances_val.json", images=files / "val", num_workers=0)
    assert given.num_images == 4
    assert given.metrics() == pytest.approx(own.metrics(), nan_ok=True)
    assert str(given).startswith("AP ")


def test_annotations_need_their_images(model: Model) -> None:
    with pytest.raises(ValueError, match="evaluate needs both annotations and images"):
        model.evaluate("instances.json")


def test_a_mistyped_option_is_named_with_the_one_that_was_meant(model: Model) -> None:
    with pytest.raises(TypeError, match=r"predict has no option min_scores: did you mean min_score\?"):
        model.predict("photo.jpg", min_scores=0.1)


def test_what_is_no_model_is_named_with_what_would_be(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"deta_r50 does not exist: .*, or a name of published weights"):
        deta.load("deta_r50")
    with pytest.raises(ValueError, match="device must be one of auto, cpu, cuda"):
        deta.load(tmp_path, device="gpu")


def test_a_published_file_needs_the_words_of_its_detector(trained: Run, tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "published.pth")
    with pytest.raises(ValueError, match=r"is not a deta checkpoint; deta convert and deta\.load"):
        deta.load(tmp_path / "published.pth")
    with pytest.raises(ValueError, match=r"did you mean system=dino\?"):
        deta.load(tmp_path / "published.pth", "system=dyno")
    with pytest.raises(ValueError, match=r"system=dino: .* is a checkpoint of deta, which says itself what it holds"):
        deta.load(trained.folder, "system=dino")


def test_a_checkpoint_builds_nothing_foreign_unless_it_is_trusted(trained: Run, tmp_path: Path) -> None:
    stored = read_checkpoint(trained.folder)
    hostile = json.loads(json.dumps(stored.config))
    hostile["model"]["neck"]["_target_"] = "subprocess.Popen"
    weights = {f"{DETECTOR_PREFIX}{name}": value for name, value in stored.weights.items()}
    metadata = {"config": hostile, "category_ids": [*stored.category_ids], "category_names": [*stored.category_names]}
    save_tensors({"state_dict": weights, CHECKPOINT_KEY: metadata}, tmp_path / "hostile.ckpt")
    for trusted in ((), ("mine.Neck",)):
        with pytest.raises(ValueError, match=r"wants to build 'subprocess\.Popen'"):
            deta.load(tmp_path / "hostile.ckpt", trusted=trusted)
    with pytest.raises(ValueError, match="belongs to Python's own library"):
        deta.load(tmp_path / "hostile.ckpt", trusted=["subprocess.Popen"])
