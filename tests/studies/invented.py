"""An invented comparison of two thresholds, two limits, two rules and three seeds, with gaps; no number is measured."""

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from deta.drawing.scene import BoxLayer, Corners, Scene
from deta.runs.state import RunState, RunStatus
from deta.studies.results import (
    Axis,
    Cell,
    Comparison,
    Cost,
    Difference,
    Interval,
    Run,
    Summary,
    Verdict,
)

SEEDS = (0, 1, 2)
AXES = (
    Axis("tau", ("criterion.rules.layers.assigner.tau",), ("0.6", "0.5", "0.7")),
    Axis("n", ("criterion.rules.layers.assigner.max_per_target",), ("4", "1")),
)
BASE = {"tau": "0.6", "n": "4"}
T_QUANTILES = {2: 12.706, 3: 4.303}
"""0.975 quantile of Student's t by the number of values, from a printed table."""
STRENGTHS = (0, -1, 3, -2, -3, -4)
"""How much better each cell shall be than the base, in steps of 0.6 points."""
NUM_EPOCHS = 12
SPREAD = 0.006
"""Standard deviation of scores over seeds, and over epochs of one run."""
SIZES = ("small", "medium", "large")


def invented_comparison(folder: Path, *, axes: Sequence[Axis] = AXES, num_pictures: int = 2) -> Comparison:
    """A grid of all levels with three seeds, both selections of detections, a failed and two missing runs.

    Args:
        folder: Where run directories with pictures are made.
        axes: What is varied; the first level of each is the base.
        num_pictures: Pictures of every run.
    """
    combinations = [
        dict(zip([axis.name for axis in axes], levels, strict=True)) for levels in product(*(a.levels for a in axes))
    ]
    base = combinations[0]
    runs = [
        tuple(
            _run(folder, factors, seed, strength=STRENGTHS[index % len(STRENGTHS)], num_pictures=num_pictures)
            for seed in SEEDS
        )
        for index, factors in enumerate(combinations)
    ]
    runs[-1] = (runs[-1][0], _failed(runs[-1][1]), runs[-1][2])
    if len(runs) > 2:
        runs[-2] = tuple(_missing(run) for run in runs[-2])
    cells = []
    for factors, members in zip(combinations, runs, strict=True):
        for selection in ("nms", "topk"):
            difference = None if factors == base else _difference(members, runs[0], selection)
            cells.append(Cell(factors, selection, members, _summary(members, selection), difference))
    return Comparison(
        name="invented",
        title="Which IoU makes a box positive, and how many may an object have? (invented numbers)",
        axes=tuple(axes),
        cells=tuple(cells),
        base=base,
        notes=("Every number of this page is invented, to show what the page can do", *_notes(runs)),
    )


def history(*, final: float, rng: random.Random, num_epochs: int = NUM_EPOCHS, level: int = 0) -> list[dict[str, Any]]:
    """Rows of a metrics file: losses at several steps, and per epoch scores and what the assignment did."""
    rows: list[dict[str, Any]] = []
    for epoch in range(num_epochs):
        progress = 1 - math.exp(-3 * (epoch + 1) / num_epochs)
        first_step = 100 * epoch
        rows += [
            {"step": first_step + step, "time": 1e9 + first_step + step, "epoch": epoch, "train/loss": 9 - 5 * progress}
            for step in (0, 50)
        ]
        row: dict[str, Any] = {"step": first_step + 99, "time": 1e9 + first_step + 99, "epoch": epoch}
        score = final * progress + rng.gauss(0, SPREAD)
        row |= {"val/loss": 9.5 - 5 * progress, "val/AP": score, "val/AP50": 1.6 * score, "val/APs": 0.6 * score}
        for stage, factor in (("proposals", 1.0), ("layers", 0.7)):
            for number, size in enumerate(SIZES):
                row[f"assign/{stage}/positives_per_object_{size}"] = factor * (1 + number + progress - 0.3 * level)
                row[f"assign/{stage}/unmatched_share_{size}"] = max(0.0, 0.3 - 0.1 * number - 0.1 * progress)
                row[f"assign/{stage}/mean_iou_{size}"] = 0.55 + 0.05 * number + 0.1 * progress
            if epoch:
                row[f"assign/{stage}/instability"] = (0.5 + 0.05 * level) * (1 - 0.8 * progress) * factor
        rows.append(row)
    return rows


def _run(folder: Path, factors: Mapping[str, str], seed: int, *, strength: int, num_pictures: int) -> Run:
    name = "-".join([*(f"{axis}{level}" for axis, level in factors.items()), f"s{seed}"])
    name = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in name)
    path = folder / name
    rng = random.Random(name)
    final = 0.42 + 0.006 * strength + rng.gauss(0, SPREAD)
    _draw_scenes(path / "pictures" / "boxes", rng, num_pictures)
    return Run(
        folder=path,
        status=RunStatus(path, RunState.DONE, 1200, final),
        factors=factors,
        seed=seed,
        scores={
            selection: {"AP": final - loss, "AP50": 1.6 * final, "AP75": final, "APs": 0.6 * final, "APl": 1.3 * final}
            for selection, loss in (("nms", 0.0), ("topk", 0.012 + rng.gauss(0, 0.002)))
        },
        history=tuple(history(final=final, rng=rng, level=-strength)),
        cost=Cost(3600 * (1.1 + 0.1 * rng.random() - 0.05 * strength), 2, "Invented GPU", 1200, NUM_EPOCHS),
    )


def _notes(groups: Sequence[Sequence[Run]]) -> list[str]:
    """What is not done."""
    named = {f"{_words(run.factors)} seed={run.seed}": run.status for runs in groups for run in runs if not run.is_done}
    return [f"{name} is {status.state} {status.message}".rstrip() for name, status in named.items()]


def _words(factors: Mapping[str, str]) -> str:
    return " ".join(f"{axis}={level}" for axis, level in factors.items())


def _failed(run: Run) -> Run:
    status = RunStatus(run.folder, RunState.FAILED, 400, 0.2, "OutOfMemoryError: 80 GiB are not enough")
    return Run(run.folder, status, run.factors, run.seed, {}, run.history[:12], run.cost)


def _missing(run: Run) -> Run:
    return Run(run.folder, RunStatus(run.folder, RunState.MISSING), run.factors, run.seed, {}, (), None)


def _summary(runs: Sequence[Run], selection: str) -> dict[str, Summary]:
    done = [run.scores[selection] for run in runs if run.is_done]
    names = list(done[0]) if done else []
    return {name: _mean_and_std([scores[name] for scores in done]) for name in names}


def _mean_and_std(values: Sequence[float]) -> Summary:
    mean = math.fsum(values) / len(values)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)) if values[1:] else None
    return Summary(mean, std, len(values))


def _difference(runs: Sequence[Run], base: Sequence[Run], selection: str) -> Difference | None:
    pairs = {
        run.seed: run.scores[selection]["AP"] - other.scores[selection]["AP"]
        for run, other in zip(runs, base, strict=True)
        if run.is_done
    }
    if not pairs:
        return None
    summary = _mean_and_std(list(pairs.values()))
    assert summary.std is not None
    half = T_QUANTILES[len(pairs)] * summary.std / math.sqrt(len(pairs))
    over_seeds = Interval(summary.mean - half, summary.mean + half)
    over_images = Interval(summary.mean - 0.004, summary.mean + 0.004)
    verdict = Verdict.BETTER if summary.mean > 0 else Verdict.WORSE
    return Difference(summary.mean, pairs, over_seeds, over_images, Verdict.NOISE if 0.0 in over_seeds else verdict)


def _draw_scenes(folder: Path, rng: random.Random, number: int) -> None:
    """Images, and beside each its objects, what was found in it and what was assigned, as a run keeps them."""
    for k in range(number):
        folder.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (640, 470), (70 + 20 * k, 90, 110))
        draw = ImageDraw.Draw(picture)
        scene = random.Random(k)
        sides = [(scene.uniform(0.05, 0.6), scene.uniform(0.1, 0.6), scene.uniform(0.1, 0.3)) for _ in range(6)]
        objects = [(x, y, x + side, y + side) for x, y, side in sides]
        for x0, y0, x1, y1 in objects:
            draw.ellipse((640 * x0, 470 * y0, 640 * x1, 470 * y1), fill=(140, 110, 40))
        picture.save(folder / f"val_{k}.jpg", quality=85)
        labels = [place % 3 for place in range(len(objects))]
        layers = {
            "detections": BoxLayer([_moved(box, rng) for box in objects], labels, [0.9, 0.8, 0.6, 0.4, 0.2, 0.05]),
            "proposals": BoxLayer([_moved(box, rng) for box in objects * 2], labels * 2, owners=[*range(6)] * 2),
            "layers": BoxLayer([_moved(box, rng) for box in objects[:5]], labels[:5], owners=[*range(5)]),
        }
        whole = Scene(k + 1, ["cell", "plate", "seed"], BoxLayer(objects, labels), [(0.8, 0.8, 1.0, 1.0)], layers)
        (folder / f"val_{k}.json").write_text(json.dumps(asdict(whole)))


def _moved(box: Corners, rng: random.Random) -> Corners:
    x, y = rng.uniform(-0.02, 0.02), rng.uniform(-0.02, 0.02)
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y
