"""Time and memory of reading a training file of the size of LVIS v1, and what workers that read from it add.

    python scripts/benchmarks/lvis_reading.py --images 100000 --annotations 1270000

writes such a file with random content (polygons included, about 1.1 GB) into a temporary folder, reads it in a fresh
process, forks workers that look up every image, and prints one CSV row: size of the file, seconds of CPU and wall
clock, peak memory of the process before and after reading, and the most private memory that a worker added.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import IO

import numpy as np

from deta.data import CocoAnnotations, read_coco

NUM_CATEGORIES = 1203
NUMBERS_PER_POLYGON = 110
"""So that the file has the size of the real one."""
NUM_POLYGONS = 1000
"""Different ones, which the annotations share."""


def write_file(path: Path, num_images: int, num_annotations: int) -> None:
    """A file in the layout and order of lvis_v1_train.json: annotations come before the images."""
    generator = np.random.default_rng(0)
    polygons = [
        ", ".join(f"{value:.2f}" for value in generator.uniform(0, 640, NUMBERS_PER_POLYGON))
        for _ in range(NUM_POLYGONS)
    ]
    owners = np.sort(generator.integers(0, num_images, num_annotations))
    categories = (NUM_CATEGORIES * generator.random(num_annotations) ** 3).astype(int) + 1  # a few are frequent
    with path.open("w") as file:
        file.write('{"info": {"description": "random"}, "annotations": [')
        for row in range(num_annotations):
            x, y, width, height = np.round(generator.uniform(1, 300, 4), 2).tolist()
            polygon = polygons[row % NUM_POLYGONS]
            file.write(
                f'{", " if row else ""}{{"area": {width * height * 0.6:.5f}, "id": {row + 1}, '
                f'"segmentation": [[{polygon}]], "image_id": {owners[row] + 1}, "bbox": [{x}, {y}, {width}, {height}], '
                f'"category_id": {categories[row]}}}'
            )
        file.write('], "images": [')
        _write_images(file, num_images, generator)
        file.write('], "licenses": [], "categories": [')
        rows = (
            f'{{"id": {k}, "name": "category {k}", "synset": "thing.n.{k}", "frequency": "{"rcf"[k % 3]}"}}'
            for k in range(1, NUM_CATEGORIES + 1)
        )
        file.write(", ".join(rows) + "]}")


def _write_images(file: IO[str], num_images: int, generator: np.random.Generator) -> None:
    for image in range(1, num_images + 1):
        negative = generator.integers(1, NUM_CATEGORIES + 1, 8).tolist()
        file.write(
            f'{", " if image > 1 else ""}{{"date_captured": "2013-11-14 17:02:52", "neg_category_ids": {negative}, '
            f'"license": 4, "height": 640, "width": 640, "not_exhaustive_category_ids": {negative[:1]}, '
            f'"flickr_url": "http://example.org/{image:012d}_z.jpg", "id": {image}, '
            f'"coco_url": "http://example.org/train2017/{image:012d}.jpg"}}'
        )


def measure_reading(path: Path, num_workers: int) -> str:
    """Read the file and look up every image in several forked workers."""
    before = _peak_mib()
    start, cpu_start = time.perf_counter(), time.process_time()
    annotations = read_coco(path, layout="lvis")
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    peak = _peak_mib()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    workers = [
        context.Process(target=lambda: sender.send(_private_growth_mib(annotations))) for _ in range(num_workers)
    ]
    for worker in workers:
        worker.start()
    added = max(receiver.recv() for _ in workers)
    for worker in workers:
        worker.join()
    size = path.stat().st_size / 2**20
    return f"{size:.0f},{cpu_seconds:.1f},{seconds:.1f},{before:.0f},{peak:.0f},{added:.1f}"


def _private_growth_mib(annotations: CocoAnnotations) -> float:
    start = _private_mib()
    total = 0.0
    for index in range(len(annotations)):
        rows = annotations.rows(index)
        total += float(annotations.boxes[rows].sum()) + int(annotations.labels[rows].sum())
        assert annotations.negative is not None
        total += len(annotations.file_name(index)) + len(annotations.negative.row(index))
    assert total > 0
    return _private_mib() - start


def _peak_mib() -> float:
    """Unlike ``ru_maxrss`` without what the process had before it started this program."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10


def _private_mib() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 2**10


def _print_measurement(path: Path, num_workers: int) -> None:
    print(measure_reading(path, num_workers), flush=True)


def main() -> None:
    """Write, read in a fresh process, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--annotations", type=int, default=1_270_000)
    parser.add_argument("--workers", type=int, default=4)
    arguments = parser.parse_args()
    print("file_MiB,cpu_seconds,wall_seconds,MiB_before,peak_MiB,MiB_added_by_a_worker", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lvis_v1_train.json"
        write_file(path, arguments.images, arguments.annotations)
        fresh = multiprocessing.get_context("spawn").Process(target=_print_measurement, args=(path, arguments.workers))
        fresh.start()
        fresh.join()


if __name__ == "__main__":
    main()
