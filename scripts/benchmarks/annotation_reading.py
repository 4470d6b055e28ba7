"""Time and memory of reading training files of the sizes of COCO 2017 and LVIS v1, and what their workers add.

    python scripts/benchmarks/annotation_reading.py

writes such files with random content (polygons included, about 0.5 and 1.2 GB) into a temporary folder, reads each in
a fresh process, forks workers that look up every image, and prints CSV rows: layout, size of the file, seconds of CPU
and wall clock, memory of the process before and at the peak of reading without the pages of the file that are mapped
(the system takes them back as it likes), the peak with them, and the most private memory that a worker added.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import numpy as np

from deta.data import CocoAnnotations, read_coco
from deta.data.image_rows import Layout

NUM_POLYGONS = 1000
"""Different ones, which the annotations share."""


@dataclass(frozen=True)
class Size:
    """What a file holds; ``numbers_per_polygon`` is such that it has the size of the real one."""

    num_images: int
    num_annotations: int
    num_categories: int
    numbers_per_polygon: int


SIZES: dict[Layout, Size] = {"coco": Size(118_287, 860_001, 80, 42), "lvis": Size(100_000, 1_270_000, 1203, 110)}


def write_file(path: Path, layout: Layout, size: Size) -> None:
    """A file in the order of lvis_v1_train.json: annotations come before the images."""
    generator = np.random.default_rng(0)
    polygons = [
        ", ".join(f"{value:.2f}" for value in generator.uniform(0, 640, size.numbers_per_polygon))
        for _ in range(NUM_POLYGONS)
    ]
    owners = np.sort(generator.integers(0, size.num_images, size.num_annotations))
    categories = (size.num_categories * generator.random(size.num_annotations) ** 3).astype(int) + 1  # a few: frequent
    is_crowd = "" if layout == "lvis" else '"iscrowd": 0, '
    with path.open("w") as file:
        file.write('{"info": {"description": "random"}, "annotations": [')
        for row in range(size.num_annotations):
            x, y, width, height = np.round(generator.uniform(1, 300, 4), 2).tolist()
            polygon = polygons[row % NUM_POLYGONS]
            file.write(
                f'{", " if row else ""}{{"area": {width * height * 0.6:.5f}, {is_crowd}"id": {row + 1}, '
                f'"segmentation": [[{polygon}]], "image_id": {owners[row] + 1}, "bbox": [{x}, {y}, {width}, {height}], '
                f'"category_id": {categories[row]}}}'
            )
        file.write('], "images": [')
        _write_images(file, layout, size, generator)
        file.write('], "licenses": [], "categories": [')
        rows = (
            f'{{"id": {k}, "name": "category {k}", "synset": "thing.n.{k}", "frequency": "{"rcf"[k % 3]}"}}'
            for k in range(1, size.num_categories + 1)
        )
        file.write(", ".join(rows) + "]}")


def _write_images(file: IO[str], layout: Layout, size: Size, generator: np.random.Generator) -> None:
    for image in range(1, size.num_images + 1):
        negative = generator.integers(1, size.num_categories + 1, 8).tolist()
        lists = f'"neg_category_ids": {negative}, "not_exhaustive_category_ids": {negative[:1]}, '
        file.write(
            f'{", " if image > 1 else ""}{{"date_captured": "2013-11-14 17:02:52", '
            f'{lists if layout == "lvis" else ""}"license": 4, "height": 640, "width": 640, '
            f'"flickr_url": "http://example.org/{image:012d}_z.jpg", "id": {image}, "file_name": "{image:012d}.jpg", '
            f'"coco_url": "http://example.org/train2017/{image:012d}.jpg"}}'
        )


def read_and_look_up(path: Path, layout: Layout, num_workers: int, results: Connection) -> None:
    """Send a word before reading, the times of reading, and what forked workers add that look up every image."""
    results.send("ready")
    start, cpu_start = time.perf_counter(), time.process_time()
    annotations = read_coco(path, layout=layout)
    results.send((time.process_time() - cpu_start, time.perf_counter() - start))
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    workers = [
        context.Process(target=lambda: sender.send(_private_growth_mib(annotations))) for _ in range(num_workers)
    ]
    for worker in workers:
        worker.start()
    results.send(max(receiver.recv() for _ in workers))
    for worker in workers:
        worker.join()


def measure(path: Path, layout: Layout, num_workers: int) -> str:
    """One row, from a fresh process whose memory is watched from here."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    fresh = context.Process(target=read_and_look_up, args=(path, layout, num_workers, sender))
    fresh.start()
    assert fresh.pid is not None
    receiver.recv()
    before = own = _status_mib(fresh.pid, "RssAnon")
    while not receiver.poll(0.005):
        own = max(own, _status_mib(fresh.pid, "RssAnon"))
    with_file = _status_mib(fresh.pid, "VmHWM")
    cpu_seconds, seconds = receiver.recv()
    added = receiver.recv()
    fresh.join()
    size = path.stat().st_size / 2**20
    return f"{layout},{size:.0f},{cpu_seconds:.1f},{seconds:.1f},{before:.0f},{own:.0f},{with_file:.0f},{added:.1f}"


def _private_growth_mib(annotations: CocoAnnotations) -> float:
    start = _private_mib()
    total = 0.0
    for index in range(len(annotations)):
        rows = annotations.rows(index)
        total += float(annotations.boxes[rows].sum()) + int(annotations.labels[rows].sum())
        total += len(annotations.file_name(index))
        total += 0 if annotations.negative is None else len(annotations.negative.row(index))
    assert total > 0
    return _private_mib() - start


def _status_mib(pid: int, key: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 2**10


def _private_mib() -> float:
    lines = Path(f"/proc/{os.getpid()}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 2**10


def main() -> None:
    """Write, read in a fresh process, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fraction", type=float, default=1.0, help="of the images and annotations, 0..1")
    parser.add_argument("--workers", type=int, default=4)
    arguments = parser.parse_args()
    print(
        "layout,file_MiB,cpu_seconds,wall_seconds,MiB_before,peak_MiB,peak_MiB_with_file,MiB_added_by_a_worker",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        for layout, size in SIZES.items():
            images, annotations = (int(arguments.fraction * n) for n in (size.num_images, size.num_annotations))
            path = Path(folder) / f"{layout}.json"
            write_file(path, layout, Size(images, annotations, size.num_categories, size.numbers_per_polygon))
            print(measure(path, layout, arguments.workers), flush=True)


if __name__ == "__main__":
    main()
