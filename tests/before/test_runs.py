"""Runs that an older state of the code has stopped half way: they load, go on to the same end, and are listed."""

from pathlib import Path
from typing import Any

import pytest

from deta.runs.state import is_done
from deta.training.checkpoint import read_checkpoint
from scripts.reference.outcome import describe, outcome
from tests.before.stored import RUNS, end_of, require_same_rows, unpack
from tests.commands.running import succeed

WORDS: dict[str, dict[tuple[str, ...], object]] = {
    "deta_shapes": {("criterion", "rules", "layers", "assigner", "tau"): 0.5},
    "one_to_one": {("criterion", "rules", "layers", "assigner", "class_weight"): 1.5},
    "release": {("criterion", "rules", "layers", "rematch"): "per_layer"},
    "averaged": {("criterion", "rules", "layers", "normalizer"): "num_positives"},
}
"""Where a word of each run stands in its configuration by now."""
DRAWN = {"release": "step", "deta_shapes": "val/loss"}
"""Rows after step 3 with this key follow from other random numbers than those of then: sampling cuts positives."""


@pytest.mark.parametrize("name", RUNS)
def test_a_stored_checkpoint_is_read_with_the_words_of_its_run(name: str, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(unpack(name, tmp_path))
    for path, expected in WORDS[name].items():
        value: Any = checkpoint.config
        for key in path:
            value = value[key]
        assert value == expected
    assert len(checkpoint.category_ids) == 6


def test_stored_runs_are_listed_with_their_state_and_steps(tmp_path: Path) -> None:
    for name in RUNS:
        unpack(name, tmp_path)
    lines = succeed("runs", f"folder={tmp_path}").out.splitlines()
    for name in RUNS:
        line = next(line for line in lines if line.startswith(name))
        assert "3" in line.split()
        assert "done" not in line


@pytest.mark.gate
@pytest.mark.parametrize("name", RUNS)
def test_a_stored_run_goes_on_to_the_end_that_it_had(name: str, tmp_path: Path) -> None:
    run = unpack(name, tmp_path)
    told = succeed("train", f"ckpt={run}")
    assert is_done(run)
    found, expected = outcome(run), end_of(name)
    assert found["step"] == expected["step"] == 6
    assert "from step 3 on, images whose positives are sampled (gamma) may keep others" in told.out + told.err
    drawn = DRAWN.get(name)
    rows = [[row for row in end["rows"] if row["step"] < 3 or drawn not in row] for end in (found, expected)]
    assert len(rows[1]) > 3
    require_same_rows(*rows)
    if name == "release":
        return
    is_identical = found["weights"] == expected["weights"]
    assert is_identical or found["norms"] == pytest.approx(expected["norms"], rel=1e-5, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_stored_run_is_evaluated(name: str, tmp_path: Path) -> None:
    run = unpack(name, tmp_path)
    succeed("eval", f"ckpt={run}", f"hydra.run.dir={tmp_path}/evaluated")
    assert (tmp_path / "evaluated" / "metrics.json").is_file()


def test_another_order_of_weights_is_the_same_outcome_and_another_weight_is_not(tmp_path: Path) -> None:
    weights = dict(read_checkpoint(unpack("deta_shapes", tmp_path)).weights)
    turned = {f"other.{name}": value for name, value in reversed(weights.items())}
    assert describe(turned)["weights"] == describe(weights)["weights"]
    last = list(weights)[-1]
    changed = {**weights, last: weights[last] + 1}
    assert describe(changed)["weights"] != describe(weights)["weights"]


def test_another_rule_takes_the_place_of_that_of_a_stored_run(tmp_path: Path) -> None:
    run = unpack("release", tmp_path)
    shown = succeed("train", f"ckpt={run}", "rule=hungarian", "--cfg", "job", "--package", "criterion.rules.layers")
    assert "_target_: deta.assign.HungarianAssigner" in shown.out
    kept = succeed("train", f"ckpt={run}", "--cfg", "job", "--package", "criterion.rules.layers.rematch").out
    assert "per_layer" in kept
