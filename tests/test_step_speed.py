"""Variants of the benchmark of the whole training step, and the parts of the check on a GPU."""

import subprocess
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from deta.structures import Targets
from scripts.benchmarks.step_speed import Make, Run, Variant, configuration, make_batch, measure, peer_steps

ROOT = Path(__file__).resolve().parents[1]


seen: list[tuple[int, ...]] = []


def make_peer(images: Tensor, is_padding: Tensor, targets: Targets) -> Run:
    """A step that notes what it was made of."""

    def run() -> None:
        seen.append((*images.shape, int(is_padding.sum()), targets.most_objects))
        time.sleep(1e-3)

    return run


def test_a_variant_is_a_precision_and_more() -> None:
    assert Variant.parse("bf16") == Variant("bf16", frozenset())
    assert Variant.parse("tf32+max+hungarian") == Variant("tf32", frozenset({"max", "hungarian"}))


@pytest.mark.parametrize("text", ["fp16", "max", "bf16+fast", "", "bf16+"])
def test_another_variant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a variant is one of"):
        Variant.parse(text)


def test_a_variant_has_its_rules() -> None:
    for text, name in (("bf16", "IoUAssigner"), ("bf16+hungarian", "HungarianAssigner")):
        rules = configuration(Variant.parse(text), []).criterion.rules
        assert all(rule.assigner._target_.endswith(name) for rule in rules.values())


def test_the_switches_of_a_variant_end_with_it() -> None:
    def switches() -> tuple[bool, bool]:
        return torch.backends.cuda.matmul.allow_tf32, torch.are_deterministic_algorithms_enabled()

    before = switches()
    with Variant.parse("tf32+deterministic").active():
        assert switches() == (True, True)
    with Variant.parse("fp32").active():
        assert switches() == (False, False)
    assert switches() == before


def test_a_peer_is_measured_with_and_without_tf32_on_the_same_batch() -> None:
    batch = make_batch(2, (32, 64), "cpu")
    variants = [Variant.parse(text) for text in ("fp32", "fp32+hungarian", "tf32", "bf16")]
    steps: dict[str, tuple[Variant, Make]] = peer_steps(["tests.test_step_speed:make_peer"], variants, batch)
    assert [name.split()[1] for name in steps] == ["fp32", "tf32"]
    rows, runs = measure(batch, steps, num_steps=1)
    assert [row["batch"] for row in rows] == [2, 2]
    assert runs.keys() == steps.keys()
    assert set(seen) == {(2, 3, 32, 64, 0, 7)}
    assert all(float(str(row["step_ms"])) >= 1 for row in rows)


def test_an_unknown_part_of_the_check_is_named() -> None:
    command = [str(ROOT / "scripts/gpu_check.sh"), "--rehearse", "everything"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "unknown part or option everything" in run.stderr
