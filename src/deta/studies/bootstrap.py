"""The bootstrap over validation images: how much of a difference depends on which images are scored."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deta.evaluation import StoredEvaluation, average_precision
from deta.studies.results import Interval
from deta.studies.statistics import draw_images, percentile_interval
from deta.utils.checks import require_int


class ImageBootstrap:
    """Draws images with replacement and scores models on them; every model is given the same draws.

    Args:
        num_samples: Draws, at least 100.
        seed: Of the draws.
    """

    def __init__(self, *, num_samples: int = 1000, seed: int = 0) -> None:
        self._num_samples = require_int("bootstrap", num_samples, low=100)
        self._seed = seed
        self._samples: dict[Path, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}

    def interval(self, pairs: Sequence[tuple[StoredEvaluation, StoredEvaluation]]) -> Interval | None:
        """Interval of the mean difference in AP, first less second, over pairs of models.

        Args:
            pairs: Evaluations of two models each, such as those of one seed.

        Returns:
            The interval; None if no sample has an object.

        Raises:
            ValueError: They were made on different images.
        """
        differences = []
        for first, second in pairs:
            (first_ids, first_scores), (second_ids, second_scores) = self._scores(first), self._scores(second)
            if not np.array_equal(first_ids, second_ids):
                raise ValueError(f"{first.folder} and {second.folder} were evaluated on different images")
            differences.append(first_scores - second_scores)
        return percentile_interval(np.mean(differences, axis=0))

    def _scores(self, evaluation: StoredEvaluation) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Ids of the images, and AP on every draw."""
        if evaluation.folder not in self._samples:
            matches = evaluation.matches()
            draws = draw_images(len(matches.image_ids), self._num_samples, seed=self._seed)
            self._samples[evaluation.folder] = matches.image_ids, average_precision(matches, draws)
        return self._samples[evaluation.folder]
