"""Time, peak memory and agreement of the evaluation engines on a generated split of any size.

    python scripts/benchmarks/evaluators.py --images 5000 --detections 100

prints one CSV row per engine: wall and CPU seconds of the evaluation, the most memory that its process held and what
it held before, COCO's twelve numbers, and their largest difference to those of the first engine. Every engine runs in
a process of its own, one after the other; one whose package is missing is told on stderr and left out.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deta.evaluation import ENGINE_NAMES, CocoDetections, CocoResult, evaluate, read_ground_truth
from deta.evaluation.engines import load_engine

NUM_CLASSES = 80
MAX_DETECTIONS = 100
OBJECTS_PER_IMAGE = 7.4
"""As in COCO val2017."""
CROWD_SHARE = 0.012


def make_split(path: Path, num_images: int, generator: np.random.Generator) -> list[NDArray[np.float64]]:
    """Write an annotation file; returns the objects of each image as rows ``x0, y0, x1, y1, class``."""
    annotations: list[dict[str, object]] = []
    objects: list[NDArray[np.float64]] = []
    for image in range(num_images):
        count = int(generator.poisson(OBJECTS_PER_IMAGE))
        sizes = np.exp(generator.uniform(np.log(10), np.log(300), size=(count, 2)))
        corners = generator.uniform(0, 340, size=(count, 2))
        labels = generator.integers(0, NUM_CLASSES, size=count)
        for corner, size, label in zip(corners, sizes, labels, strict=True):
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": image,
                    "category_id": int(label) + 1,
                    "bbox": [*corner.tolist(), *size.tolist()],
                    "area": float(size.prod() * 0.6),
                    "iscrowd": int(generator.random() < CROWD_SHARE),
                }
            )
        objects.append(np.concatenate((corners, corners + sizes, labels[:, None].astype(np.float64)), axis=1))
    content = {
        "images": [{"id": k, "width": 640, "height": 640, "file_name": f"{k}.jpg"} for k in range(num_images)],
        "categories": [{"id": k + 1, "name": f"class {k}"} for k in range(NUM_CLASSES)],
        "annotations": annotations,
    }
    path.write_text(json.dumps(content))
    return objects


def detect(objects: list[NDArray[np.float64]], count: int, generator: np.random.Generator) -> CocoDetections:
    """``count`` detections per image: its objects displaced, then random boxes with lower scores."""
    rows = np.zeros((len(objects), count, 5))
    for index, found in enumerate(objects):
        corners = generator.uniform(0, 340, size=(count, 2))
        boxes = np.concatenate((corners, corners + generator.uniform(10, 300, size=(count, 2))), axis=1)
        rows[index] = np.concatenate((boxes, generator.integers(0, NUM_CLASSES, size=(count, 1))), axis=1)
        hits = min(len(found), count)
        rows[index, :hits] = found[:hits]
        rows[index, :hits, :4] += generator.normal(0, 6, size=(hits, 4))
    scores = np.sort(generator.random((len(objects), count)), axis=1)[:, ::-1]
    corners = rows[..., :4].reshape(-1, 4)
    return CocoDetections(
        image_ids=np.repeat(np.arange(len(objects)), count),
        category_ids=rows[..., 4].reshape(-1).astype(np.int64) + 1,
        boxes_xywh=np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), axis=1),
        scores=scores.reshape(-1).copy(),
        num_unmapped=0,
    )


def measure(engine: str, path: Path, num_images: int, num_detections: int) -> dict[str, Any]:
    """Evaluate in this process, which must have done nothing else."""
    objects = make_split(path, num_images, np.random.default_rng(0))
    detections = detect(objects, num_detections, np.random.default_rng(1))
    ground_truth = read_ground_truth(path)
    load_engine(engine)
    before, cpu, wall = _peak_megabytes(), time.process_time(), time.perf_counter()
    curves = evaluate(ground_truth, detections, engine=engine, max_detections=MAX_DETECTIONS)
    seconds = {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    result = CocoResult.from_curves(
        curves,
        ground_truth,
        num_detections=len(detections),
        num_unmapped=0,
        num_repeats=0,
        max_detections=MAX_DETECTIONS,
    )
    memory = {"peak_mb": _peak_megabytes(), "before_mb": before}
    return {
        "engine": engine,
        "images": num_images,
        "detections": len(detections),
        **seconds,
        **memory,
    } | result.metrics()


def main() -> None:
    """Run every engine on the same detections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--detections", type=int, default=100, help="per image")
    parser.add_argument("--engines", nargs="+", choices=ENGINE_NAMES, default=list(ENGINE_NAMES))
    parser.add_argument("--inside", action="store_true", help="measure the one engine in this process, print JSON")
    arguments = parser.parse_args()
    if arguments.inside:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "instances.json"
            print(json.dumps(measure(arguments.engines[0], path, arguments.images, arguments.detections)))
        return
    first: dict[str, Any] = {}
    for engine in arguments.engines:
        if find_spec(engine) is None:
            print(f"{engine} is not installed and left out", file=sys.stderr)
            continue
        sizes = ["--images", str(arguments.images), "--detections", str(arguments.detections)]
        command = [sys.executable, __file__, "--inside", "--engines", engine, *sizes]
        row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        writer = csv.writer(sys.stdout)
        if not first:
            first = row
            writer.writerow([*row, "largest_difference"])
        difference = max(abs(row[name] - first[name]) for name in row if name.startswith("A"))
        rounded = [f"{value:.6g}" if isinstance(value, float) else value for value in row.values()]
        writer.writerow([*rounded, f"{difference:.1e}"])
        sys.stdout.flush()


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
