"""Runs, a study, a sweep and stored predictions, as an older state of the code leaves them, for the tests.

    python -m scripts.reference.make_stored --commit COMMIT --output tests/before/data

Everything is trained in ``PLACE``, with the smallest detector there is. The numbers of checkpoints are rounded to few
digits before the older code continues them, so that they compress: what the tests continue is what it has continued.
"""

import argparse
import io
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scripts.reference.__main__ import ROOT, checkout, run_with

PLACE = Path("/tmp/deta_stored")
"""Where all of it is made: recorded paths name no folder of the machine."""
SMALL = (
    "model.hidden_dim=32", "model.backbone.channels=[16,16,16]", "model.backbone.num_blocks=1",
    "model.backbone.stem_channels=16", "model.encoder.num_layers=1", "model.encoder.ffn_dim=16",
    "model.decoder.num_layers=2", "model.decoder.ffn_dim=16", "model.proposals.num_queries=10",
    "data.num_train=8", "data.num_val=4", "data.batch_size=4", "data.eval_batch_size=2", "data.num_workers=0",
    "trainer.log_every_n_steps=1", "trainer.enable_progress_bar=false", "trainer.check_val_every_n_epoch=1",
    "callbacks.pictures.num_images=0",
)  # fmt: skip
RUNS = {
    "deta_shapes": ("experiment=deta_shapes", "criterion.layer_assigner.tau=.5", "model.encoder.num_points=2"),
    "one_to_one": (
        "experiment=deta_shapes_one_to_one", "proposals@model.proposals=topk_per_level",
        "criterion.layer_assigner.class_weight=1.5",
    ),
    "release": (
        "experiment=deta_shapes", "criterion=deta_release", "criterion.proposal_assigner.num_samples=32",
        "criterion.rematch=per_layer", "model.decoder.num_points=2",
    ),
    "averaged": (
        "experiment=deta_shapes", "callbacks=ema", "callbacks.ema.decay=.9",
        "assigner@criterion.layer_assigner=hungarian", "criterion.normalizer=num_positives",
    ),
}  # fmt: skip
"""Words of each, of the kinds that users type."""
LENGTH = ("logger=file", "trainer.max_epochs=3", "schedule.make.milestones=[2]")
SEARCH = ("logger=file", "trainer.max_epochs=1", "search.num_trials=2")
STOP = 3
"""Steps of 6 after which a run is stopped, inside its second epoch."""
_FINISHED = ("study", "sweep", "search")
"""Folders of runs that are done: nothing reads their checkpoints."""
_LARGE = ("figures", "pictures", ".matplotlib")


def main() -> None:
    """Make all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "tests" / "before" / "data")
    parser.add_argument("--code", type=Path)
    parser.add_argument("--commit")
    options = parser.parse_args()
    shutil.rmtree(PLACE, ignore_errors=True)
    folders = {"DETA_RUNS": "runs", "DETA_CACHE": "cache", "DETA_DATA": "data", "HOME": "home"}
    os.environ.update({name: str(PLACE / folder) for name, folder in folders.items()})
    with checkout(options.code, options.commit) as code:
        ends = {name: _half_run(code, name, words) for name, words in RUNS.items()}
        _study_and_sweep(code)
        _search(code)
        _predictions(code)
        _published(code)
    _clean(PLACE / "runs")
    (PLACE / "runs" / "ends.json").write_text(json.dumps(ends))
    options.output.mkdir(parents=True, exist_ok=True)
    _pack(PLACE / "runs", options.output / "stored.tar.xz")


def _half_run(code: Path, name: str, words: Sequence[str]) -> dict[str, Any]:
    """Leave a run that has been stopped; what the code makes of it when it goes on elsewhere."""
    run, end = PLACE / "runs" / name, PLACE / "ends" / name
    try:
        run_with(code, "scripts.reference.stop", str(STOP), "train", *words, *SMALL, *LENGTH, f"hydra.run.dir={run}")
    except SystemExit:
        if not (run / "checkpoints" / "last.ckpt").is_file():
            raise
    _round(run / "checkpoints" / "last.ckpt")
    (run / "checkpoints" / "previous.ckpt").unlink(missing_ok=True)
    shutil.copy(run / "checkpoints" / "last.ckpt", run / "checkpoints" / "best.ckpt")
    shutil.copytree(run, end)
    run_with(code, "deta", "train", f"ckpt={end}")
    run_with(code, "scripts.reference.outcome", str(end), str(end / "outcome.json"))
    made: dict[str, Any] = json.loads((end / "outcome.json").read_text())
    return made


def _study_and_sweep(code: Path) -> None:
    words = ",".join(f'"{word}"' for word in (*SMALL, "schedule.make.milestones=[1]"))
    run_with(
        code, "deta", "study", "study=normalizer_shapes", "study.seeds=[0,1]", 'study.budget=["trainer.max_epochs=1"]',
        f"overrides=[{words}]", "bootstrap=100", "threads=1", "parallel=2", f"folder={PLACE}/runs/study",
    )  # fmt: skip
    run_with(
        code, "deta", "train", "-m", "experiment=deta_shapes", *SMALL, "logger=file", "trainer.max_epochs=1",
        "criterion.layer_assigner.tau=.4,.6", "assigner@criterion.proposal_assigner=iou_proposals,hungarian",
        f"hydra.sweep.dir={PLACE}/runs/sweep",
    )  # fmt: skip


def _search(code: Path) -> None:
    words = ("search=tau_n", "experiment=deta_shapes", *SMALL, *SEARCH, "search.seconds_between_looks=1")
    run_with(code, "deta", "search", *words, f"hydra.run.dir={PLACE}/runs/search")


def _predictions(code: Path) -> None:
    folder = PLACE / "runs" / "predictions"
    run_with(code, "deta", "eval", f"ckpt={PLACE}/ends/deta_shapes", "save_raw=true", f"hydra.run.dir={folder}")
    annotations = Path(json.loads((folder / "evaluation.json").read_text())["annotations"])
    shutil.copy(annotations, folder / "annotations.json")


def _published(code: Path) -> None:
    """Weights under the names of the publications, whose first stage has an output for each class."""
    run_with(code, "scripts.reference.make_published", f"{PLACE}/runs/published.pth")


def _round(path: Path) -> None:
    """Round the numbers of a checkpoint: weights to 2 significant bits, moments of the optimizer to powers of two."""
    content = torch.load(path, weights_only=True)
    for part in ("state_dict", "current_model_state"):
        for value in content.get(part, {}).values():
            round_to_bits(value, 2)
    for optimizer in content["optimizer_states"]:
        for state in optimizer["state"].values():
            for name in ("exp_avg", "exp_avg_sq"):
                round_to_bits(state[name], 1)
    torch.save(content, path)


def round_to_bits(value: Tensor, bits: int) -> None:
    """Round a tensor of floats in place."""
    if value.is_floating_point():
        fraction, exponent = torch.frexp(value)
        value.copy_(torch.ldexp((fraction * 2**bits).round() / 2**bits, exponent))


def _clean(folder: Path) -> None:
    """Leave out what is large and what names this machine."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and path.name in _LARGE:
            shutil.rmtree(path)
        elif path.name == "previous.ckpt" or (path.suffix == ".ckpt" and path.parts[-4] in _FINISHED):
            path.unlink()
        elif path.is_file() and path.suffix in (".json", ".yaml", ".log", ".txt", ".jsonl", ".md"):
            text = path.read_text()
            for place in (sys.prefix, str(ROOT)):
                text = text.replace(place, "/home/user/deta")
            path.write_text(text)
        elif path.suffix in (".html", ".png", ".svg", ".pdf"):
            path.unlink()


def _pack(folder: Path, path: Path) -> None:
    """One compressed archive, the same for the same files."""
    with tarfile.open(path, "w:xz", preset=9) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                entry = tarfile.TarInfo(str(file.relative_to(folder)))
                content = file.read_bytes()
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
