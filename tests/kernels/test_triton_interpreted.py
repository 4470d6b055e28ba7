"""The Triton kernels in Triton's interpreter, in processes of their own: their tests, and the reference outputs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ("-p", "tests.kernels.golden_with_triton")


def run_interpreted(*arguments: str) -> str:
    """What pytest says of these tests when kernels are interpreted."""
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    return run.stdout


@pytest.mark.gate
def test_kernels_are_right_in_the_interpreter() -> None:
    run_interpreted("tests/kernels/interpreted.py", "tests/kernels/interpreted_nms.py")


@pytest.mark.gate
def test_gradients_of_the_kernels_equal_finite_differences_in_the_interpreter() -> None:
    run_interpreted("-m", "gate", "tests/kernels/interpreted.py")


@pytest.mark.slow
def test_kernels_are_right_in_the_interpreter_in_every_case() -> None:
    run_interpreted("-m", "slow", "tests/kernels/interpreted.py", "tests/kernels/interpreted_nms.py")


def assert_kernels_were_called(said: str, *passes: str) -> None:
    if "passed" in said:  # without reference outputs all tests are skipped
        for name in passes:
            calls = re.search(rf"{name} (\d+)", said)
            assert calls is not None
            assert int(calls[1]) > 0


@pytest.mark.slow
def test_kernels_give_the_reference_outputs_of_operator_and_module() -> None:
    said = run_interpreted(*PLUGIN, "tests/golden/test_operator.py", "tests/golden/test_modules.py")
    assert_kernels_were_called(said, "forward", "backward")


@pytest.mark.slow
def test_kernels_give_the_reference_outputs_of_whole_models() -> None:
    said = run_interpreted(*PLUGIN, "tests/golden/test_models.py", "-k", "test_detector_equals_reference and cpu")
    assert_kernels_were_called(said, "forward")
