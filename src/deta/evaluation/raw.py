"""Predictions of the last layer before any selection, kept so that other selections need no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deta.evaluation.arrays import read_arrays
from deta.evaluation.detections import FlatDetections
from deta.models.postprocess import OnePerQuery, PerLevelNMS, Postprocess, ScoredSelection
from deta.structures import Detections, Prediction, Score, SigmoidScore
from deta.utils.files import replacing

_VERSION = 2
_SINCE = {"levels": 2, "has_own_boxes": 2}
"""Arrays that came with a later version than the first."""
_REMEDY = "write it with deta eval save_raw=true"
_KINDS = {
    **dict.fromkeys(("image_ids", "sizes", "num_queries", "num_pairs", "queries", "labels", "category_ids"), "i"),
    **dict.fromkeys(("boxes", "logits"), "f"),
    **dict.fromkeys(("is_cut", "has_own_boxes"), "b"),
    "levels": "i",
}
"""Kind of the numbers of every array, by numpy's letters."""
_NO_CATEGORY = -1
_NO_LEVEL = -1


@dataclass(frozen=True)
class RawPredictions:
    """The best (query, class) pairs of every image: those of the first image, then of the next, best first.

    A greedy selection looks at the best pairs first, so a limited number of pairs gives its result, up to the rounding
    of scores, wherever it yields as many detections as it may; ``select`` counts the images where it might go on.

    Attributes:
        image_ids: ``[I]`` int64.
        sizes: ``[I, 2]`` int64 ``(height, width)`` in pixels of the image files.
        num_queries: ``[I]`` int64 queries with a pair; their sum is M.
        num_pairs: ``[I]`` int64; their sum is N.
        is_cut: ``[I]`` bool, whether pairs were left out.
        has_own_boxes: ``[I]`` bool, whether every pair has a box of its own and counts as a query.
        boxes: ``[M, 4]`` float32 ``cxcywh`` in 0..1.
        levels: ``[M]`` int8 feature level, -1 for none.
        logits: ``[N]`` float32 logits of the scores.
        queries: ``[N]`` int32 query inside the image, among those with a pair.
        labels: ``[N]`` int32 class index of the model.
        category_ids: ``[C]`` int64 category of every class, -1 for none.
    """

    image_ids: NDArray[np.int64]
    sizes: NDArray[np.int64]
    num_queries: NDArray[np.int64]
    num_pairs: NDArray[np.int64]
    is_cut: NDArray[np.bool_]
    has_own_boxes: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    levels: NDArray[np.int8]
    logits: NDArray[np.float32]
    queries: NDArray[np.int32]
    labels: NDArray[np.int32]
    category_ids: NDArray[np.int64]

    @classmethod
    def from_prediction(
        cls,
        prediction: Prediction,
        original_sizes: Tensor,
        image_ids: Tensor,
        *,
        category_ids: Sequence[int | None],
        max_pairs: int | None,
        score: Score | None = None,
    ) -> Self:
        """Keep the best pairs of a batch; synchronises.

        Args:
            prediction: Of B images.
            original_sizes: ``[B, 2]`` ``(height, width)`` in pixels.
            image_ids: ``[B]`` ids in the annotation file.
            category_ids: Category of every class of the model, None for none.
            max_pairs: Most pairs of an image; None keeps all.
            score: Of every query and class; None takes the sigmoid of every output.
        """
        logits = (score or SigmoidScore())(prediction.detach())
        if prediction.exists is not None:
            logits = logits.masked_fill(~prediction.exists[..., None], -torch.inf)
        num_images, num_queries, num_classes = logits.shape
        flat = logits.flatten(1)  # [B, Q * C]
        count = flat.shape[1] if max_pairs is None else min(max_pairs, flat.shape[1])
        # Which of equal logits comes first depends on the device.
        best = flat.topk(count, dim=1)
        queries, labels = best.indices // num_classes, best.indices % num_classes  # [B, K]
        has_own_boxes = prediction.boxes.dim() == 4
        per_query = (
            prediction.boxes.shape[2] if has_own_boxes else 1
        )  # which may be more than the classes: a background
        boxes = prediction.boxes.detach().float().flatten(1, -2)  # [B, Q * per_query, 4]
        places, names = _kept(queries * per_query + labels if has_own_boxes else queries)
        kept = [torch.from_numpy(place).to(boxes.device) for place in places]
        levels = torch.full_like(queries[:, :1], _NO_LEVEL) if prediction.levels is None else prediction.levels
        levels = levels.expand(num_images, num_queries)  # [B, Q]
        of_queries = [place // per_query for place in kept]
        return cls(
            image_ids=image_ids.cpu().numpy().astype(np.int64),
            sizes=original_sizes.cpu().numpy().astype(np.int64),
            num_queries=np.array([len(place) for place in places], dtype=np.int64),
            num_pairs=np.full(num_images, count, dtype=np.int64),
            is_cut=np.full(num_images, count < flat.shape[1]),
            has_own_boxes=np.full(num_images, has_own_boxes),
            boxes=torch.cat([rows[place] for rows, place in zip(boxes, kept, strict=True)]).cpu().numpy(),
            levels=torch.cat([row[place] for row, place in zip(levels, of_queries, strict=True)])
            .cpu()
            .numpy()
            .astype(np.int8),
            logits=best.values.flatten().cpu().numpy(),
            queries=np.concatenate(names).astype(np.int32),
            labels=labels.flatten().int().cpu().numpy(),
            category_ids=np.array([_NO_CATEGORY if identity is None else identity for identity in category_ids]),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """All images of all parts, at least one, in order; the classes are those of the first."""
        columns: dict[str, Any] = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)
        }
        return cls(**{**columns, "category_ids": parts[0].category_ids})

    def classes(self) -> list[int | None]:
        """Category of every class of the model, None for none."""
        return [None if identity == _NO_CATEGORY else identity for identity in self.category_ids.tolist()]

    def select(self, postprocess: Postprocess) -> tuple[FlatDetections, int]:
        """Final detections as ``postprocess`` gives them, and the images where pairs left out might have changed them.

        What is not stored has score 0; detections with score 0 are none. Scores are those that were stored, whatever
        score the selection has.

        Raises:
            ValueError: The selection asks for what is not kept, see ``num_queries``.
        """
        self._require_kept(postprocess)
        parts, num_uncertain = [], 0
        if isinstance(postprocess, ScoredSelection):
            postprocess = postprocess.with_score(SigmoidScore())
        box_starts, pair_starts = _starts(self.num_queries), _starts(self.num_pairs)
        for index in range(len(self.image_ids)):
            pairs = slice(pair_starts[index], pair_starts[index + 1])
            places = slice(box_starts[index], box_starts[index + 1])
            boxes, levels = torch.from_numpy(self.boxes[places])[None], torch.from_numpy(self.levels[places])
            if self.is_cut[index]:  # one place for all that was left out: a selection that gets there is uncertain
                boxes = functional.pad(boxes, (0, 0, 0, 1))
                levels = functional.pad(levels, (0, 1), value=_NO_LEVEL)
            logits = torch.full((1, boxes.shape[1], len(self.category_ids)), -torch.inf)
            place = torch.from_numpy(self.queries[pairs]).long(), torch.from_numpy(self.labels[pairs]).long()
            logits[0, place[0], place[1]] = torch.from_numpy(self.logits[pairs])
            found = postprocess(
                Prediction(logits, boxes, boxes, levels=levels.long()), torch.from_numpy(self.sizes[index])[None]
            )
            is_detection = found.is_detection & (found.scores > 0)
            num_uncertain += int(self.is_cut[index]) * int(not bool(is_detection.all()))
            found = Detections(found.boxes, found.scores, found.labels, is_detection)
            parts.append(FlatDetections.from_detections(found, torch.from_numpy(self.image_ids[index : index + 1])))
        return FlatDetections.concatenate(parts), num_uncertain

    def _require_kept(self, postprocess: Postprocess) -> None:
        """Refuse a selection that rests on what is not kept."""
        if isinstance(postprocess, OnePerQuery) and self.has_own_boxes.any():
            raise ValueError(
                "postprocess=one_per_query chooses one class of every region, but these raw predictions have a box for "
                "every class and keep pairs alone: evaluate the checkpoint (ckpt=) with it"
            )
        if isinstance(postprocess, PerLevelNMS) and (self.levels == _NO_LEVEL).any():
            raise ValueError(
                "postprocess=per_level needs the level of every candidate, and these raw predictions have none: use "
                "postprocess=nms or postprocess=topk"
            )
        if isinstance(postprocess, PerLevelNMS) and postprocess.best_class and self.has_own_boxes.any():
            raise ValueError(
                "postprocess.best_class=true chooses one class of every region, but these raw predictions have a box "
                "for every class and keep pairs alone: evaluate the checkpoint (ckpt=) with it"
            )
        if isinstance(postprocess, PerLevelNMS) and postprocess.rank is not None:
            raise ValueError(
                "postprocess.rank is a score beside the one that these raw predictions keep: leave it out, or evaluate "
                "the checkpoint (ckpt=) with it"
            )

    def save(self, path: Path) -> None:
        """Write a compressed ``.npz`` file."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        with replacing(path) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(file, version=_VERSION, **columns)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is something else.
        """
        names = {field.name for field in fields(cls)}
        columns = read_arrays(
            path, {"version", *names} - _SINCE.keys(), what="raw predictions", remedy=_REMEDY, later=_SINCE.keys()
        )
        version = columns.pop("version").tolist()
        if version != (_VERSION if _SINCE.keys() <= columns.keys() else 1):
            raise ValueError(f"{path} does not hold raw predictions of this version: {_REMEDY}")
        if version == 1:
            columns |= _of_first_version(columns)
        fault = _fault(columns)
        if fault is not None:
            raise ValueError(f"{path} does not hold raw predictions, {fault}: {_REMEDY}")
        return cls(**columns)


def _kept(chosen: Tensor) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Of ``[B, K]`` numbers those of every image once, rising, and for each of the K its place among them."""
    found = [np.unique(row, return_inverse=True) for row in chosen.cpu().numpy()]
    return [values for values, _ in found], [places for _, places in found]


def _of_first_version(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Arrays that the first version lacked: it had no levels, and told boxes of pairs by queries that count them."""
    alone = [np.arange(count) for count in np.atleast_1d(columns["num_queries"]).clip(min=0)]
    counts_pairs = (
        columns["category_ids"].size > 1 and bool(alone) and np.array_equal(columns["queries"], np.concatenate(alone))
    )
    return {
        "levels": np.full(columns["boxes"].shape[:1], _NO_LEVEL, dtype=np.int8),
        "has_own_boxes": np.full(columns["image_ids"].shape, counts_pairs),
    }


def _fault(columns: Mapping[str, NDArray[Any]]) -> str | None:
    """How arrays contradict each other; None if they do not."""
    num_images, num_pairs = columns["image_ids"].size, columns["logits"].size
    num_boxes = columns["boxes"].shape[0] if columns["boxes"].ndim else 0
    shapes: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(("image_ids", "num_queries", "num_pairs", "is_cut", "has_own_boxes"), (num_images,)),
        **dict.fromkeys(("logits", "queries", "labels"), (num_pairs,)),
        "sizes": (num_images, 2),
        "boxes": (num_boxes, 4),
        "levels": (num_boxes,),
        "category_ids": (columns["category_ids"].size,),
    }
    for name, shape in shapes.items():
        column, kind = columns[name], _KINDS[name]
        if column.shape != shape or column.dtype.kind != kind:
            return f"{name} has shape {column.shape} and type {column.dtype}"
    if not num_images:
        return "image_ids is empty"
    for name, total in (("num_queries", len(columns["boxes"])), ("num_pairs", num_pairs)):
        if (columns[name] < 0).any() or columns[name].sum() != total:
            return f"{name} does not add up to {total}"
    queries = np.repeat(columns["num_queries"], columns["num_pairs"])
    for name, limits in (("queries", queries), ("labels", np.full(num_pairs, len(columns["category_ids"])))):
        if ((columns[name] < 0) | (columns[name] >= limits)).any():
            return f"{name} points beyond what is there"
    if (columns["sizes"] < 1).any() or not np.isfinite(columns["boxes"]).all() or np.isnan(columns["logits"]).any():
        return "sizes, boxes or logits hold numbers that are none"
    return None


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts)))
