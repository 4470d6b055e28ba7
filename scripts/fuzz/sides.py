"""The files beside a checkpoint: what a run tells of itself, garbled."""

import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

from deta.console.terminal import USER_ERRORS
from deta.console.words import recorded_words
from deta.runs.folders import find_runs
from deta.runs.state import read_statuses
from deta.runs.table import table
from deta.studies.records import read_record
from scripts.fuzz.mutations import WEIRD, change_bytes, change_tree, deep, dump
from scripts.fuzz.trial import Case

_PLACE = {"host": "a", "pid": 1, "started": "1", "job": None, "life": 1, "lease": 60.0}
_SPLIT = {"annotations": "a.json", "digest": "c0ffee", "num_images": 1, "num_boxes": 2, "num_classes": 1}
SOUND: dict[str, Any] = {
    "running.json": _PLACE,
    "done.json": {"step": 4, "epoch": 1, "AP": 0.5},
    "failed.json": {"message": "it failed"},
    "queued.json": {"job": "12"},
    "cells.json": {"other": ["seed=1"]},
    "environment.json": {
        "started": 1.0,
        "command": ["deta", "train"],
        "seed": 0,
        "git": {"commit": "c0ffee", "is_modified": False},
        "versions": {"torch": "2"},
        "devices": ["cpu: x86_64"],
        "num_threads": 1,
    },
    "words.json": ["seed=1"],
    "data.json": {"train": _SPLIT, "val": _SPLIT},
    "metrics.jsonl": {"step": 1, "time": 2.0, "epoch": 0.0, "val/AP": 0.5},
    "config.yaml": {
        "seed": 0,
        "name": "x",
        "data": {"root": "data"},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "devices": 1},
        "postprocess": {"_target_": "deta.models.postprocess.NMS"},
    },
    ".hydra/hydra.yaml": {"hydra": {"overrides": {"task": ["seed=1"]}, "runtime": {"config_sources": []}}},
    ".hydra/overrides.yaml": ["seed=1"],
}
"""What a run writes, by name."""


class Sides:
    """Each file as ``{}``, ``[]``, nothing, other bytes, or with a changed value."""

    name = "sides"
    suffix = ".bin"
    seconds = 20.0

    def make(self, random: Random) -> Case:
        """A side file of a run with something broken."""
        name = random.choice(list(SOUND))
        tree = json.loads(json.dumps(SOUND[name]))
        how = random.random()
        if how < 0.3:
            content, change = (
                random.choice((b"", b"{}", b"[]", b"null", b"3", b'"x"', b"{", b"\xff\xfe\x00", bytes(64))),
                "other",
            )
        elif how < 0.6:
            change = change_tree(tree, random)
            content = dump(tree)
        elif how < 0.65:
            change, content = "deep", deep(random)
        elif how < 0.8:
            change, content = "value", dump(random.choice(WEIRD))
        else:
            change, content = change_bytes(dump(tree), random)
        return Case(f"{name}|{change}", content, names=(name.rpartition("/")[2],))

    def check(self, path: Path, case: Case) -> str | None:
        """List a sound run and one with this file, and report both."""
        folder = path.with_name("runs")
        shutil.rmtree(folder, ignore_errors=True)
        for run in ("good", "bad"):
            (folder / run / ".hydra").mkdir(parents=True)  # by which a run is known
            for name in ("metrics.jsonl", "config.yaml", "environment.json"):
                file = folder / run / name
                file.write_bytes(dump(SOUND[name]) + b"\n")
        file = folder / "bad" / case.title.partition("|")[0]
        if file.name == "cells.json":
            file = folder / file.name
        file.write_bytes(case.content)
        try:
            shown = table(read_statuses(find_runs(folder)), folder)
        except USER_ERRORS as error:
            return f"the table of the whole folder ended: {error}"
        if "good" not in shown:
            return "the sound run is missing in the table"
        recorded_words(folder / "bad")
        read_record(folder / "bad", factors={})
        return None
