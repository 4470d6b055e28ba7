"""Time and agreement of the evaluation engines on a synthetic split of any size.

    python scripts/benchmarks/evaluators.py --images 5000 --detections 100

prints one CSV row per engine: images, detections, seconds of update and compute, AP.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deta.engine.evaluation import ENGINE_NAMES, CocoEvaluator
from deta.structures import Detections

NUM_CLASSES = 80
OBJECTS_PER_IMAGE = 7.4
"""As in COCO val2017."""
CROWD_SHARE = 0.012
BATCH_SIZE = 16


def make_split(folder: Path, num_images: int, generator: np.random.Generator) -> tuple[Path, list[NDArray[np.float64]]]:
    """An annotation file, and the objects of each image as rows ``x0, y0, x1, y1, class``."""
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
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path, objects


def detect(objects: list[NDArray[np.float64]], count: int, generator: np.random.Generator) -> Detections:
    """``count`` detections per image: its objects displaced, then random boxes with lower scores."""
    rows = np.zeros((len(objects), count, 5))
    for index, found in enumerate(objects):
        corners = generator.uniform(0, 340, size=(count, 2))
        boxes = np.concatenate((corners, corners + generator.uniform(10, 300, size=(count, 2))), axis=1)
        rows[index] = np.concatenate((boxes, generator.integers(0, NUM_CLASSES, size=(count, 1))), axis=1)
        hits = min(len(found), count)
        rows[index, :hits] = found[:hits]
        rows[index, :hits, :4] += generator.normal(0, 6, size=(hits, 4))
    scores = np.sort(generator.random((len(objects), count)), axis=1)[:, ::-1].copy()
    flat = torch.from_numpy(rows)
    return Detections(
        boxes=flat[..., :4].float(),
        scores=torch.from_numpy(scores).float(),
        labels=flat[..., 4].long(),
        is_detection=torch.ones(len(objects), count, dtype=torch.bool),
    )


def main() -> None:
    """Run every engine on the same detections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--detections", type=int, default=100, help="per image")
    parser.add_argument("--engines", nargs="+", choices=ENGINE_NAMES, default=list(ENGINE_NAMES))
    arguments = parser.parse_args()
    print("engine,images,detections,update_seconds,compute_seconds,AP")
    with tempfile.TemporaryDirectory() as folder:
        path, objects = make_split(Path(folder), arguments.images, np.random.default_rng(0))
        for engine in arguments.engines:
            generator = np.random.default_rng(1)
            evaluator = CocoEvaluator(annotations=path, category_ids=range(1, NUM_CLASSES + 1), engine=engine)
            update = 0.0
            for first in range(0, arguments.images, BATCH_SIZE):
                part = objects[first : first + BATCH_SIZE]
                detections = detect(part, arguments.detections, generator)
                start = time.perf_counter()
                evaluator.update(detections, torch.arange(first, first + len(part)))
                update += time.perf_counter() - start
            start = time.perf_counter()
            result = evaluator.compute()
            seconds = time.perf_counter() - start
            print(f"{engine},{result.num_images},{result.num_detections},{update:.2f},{seconds:.2f},{result.ap:.6f}")


if __name__ == "__main__":
    main()
