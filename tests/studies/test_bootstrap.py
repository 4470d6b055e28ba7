"""The bootstrap over images against COCO's program on the images that were drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch

from deta.evaluation import StoredEvaluation, read_evaluation, write_evaluation
from deta.studies.bootstrap import ImageBootstrap
from deta.studies.statistics import draw_images, percentile_interval
from tests.evaluation.test_evaluation import Row, batch, evaluator, random_scene, score
from tests.evaluation.test_resampling import written_out


def store(folder: Path, path: Path, detections: dict[int, list[Row]]) -> StoredEvaluation:
    metric = evaluator(path)
    metric.update(batch(list(detections.values())), torch.tensor(list(detections)))
    write_evaluation(folder, metric, metric.compute())
    stored = read_evaluation(folder)
    assert stored is not None
    return stored


def test_the_interval_is_that_of_images_written_out(tmp_path: Path) -> None:
    """Two seeds: the mean of two paired differences on the same draws."""
    path, good = random_scene(tmp_path, 3, num_images=4)
    worse = {image: rows[::2] for image, rows in good.items()}
    models = {"good": good, "worse": worse, "first": {image: rows[:1] for image, rows in good.items()}}
    stored = {name: store(tmp_path / name, path, detections) for name, detections in models.items()}
    pairs = [("good", "worse"), ("first", "worse")]
    draws, place = np.unique(draw_images(4, 100), axis=0, return_inverse=True)
    aps = {
        name: np.array(
            [
                score(*written_out(tmp_path / f"{name}-{number}", path, detections, row)).ap
                for number, row in enumerate(draws.tolist())
            ]
        )[place]
        for name, detections in models.items()
    }
    means = np.mean([np.subtract(aps[first], aps[second]) for first, second in pairs], axis=0)
    interval = ImageBootstrap(num_samples=100).interval([(stored[first], stored[second]) for first, second in pairs])
    expected = percentile_interval(means)
    assert interval is not None
    assert expected is not None
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)  # order of sums
    assert interval.high - interval.low > 0.01


def test_a_model_does_not_differ_from_itself(tmp_path: Path) -> None:
    path, detections = random_scene(tmp_path, 6)
    stored = store(tmp_path / "nms", path, detections)
    interval = ImageBootstrap(num_samples=100).interval([(stored, stored)])
    assert interval is not None
    assert (interval.low, interval.high) == (0.0, 0.0)


def test_other_images_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = store(tmp_path / "a" / "nms", *random_scene(tmp_path / "a", 1))
    second = store(tmp_path / "b" / "nms", *random_scene(tmp_path / "b", 2))
    with pytest.raises(ValueError, match="were evaluated on different images"):
        ImageBootstrap(num_samples=100).interval([(first, second)])


def test_few_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="bootstrap must be at least 100, got 10"):
        ImageBootstrap(num_samples=10)
