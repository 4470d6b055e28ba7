"""What a machine has for trainings."""

import os
import tempfile
from pathlib import Path

import pytest

from deta.launching import machine
from deta.launching.machine import Fact, machine_facts
from deta.utils.cpus import UsableCpus


def facts(folder: Path, **places: Path) -> dict[str, Fact]:
    """Facts by name."""
    known = {"runs": folder / "runs", "cache": folder / "cache", "data": folder, "proc": Path("/proc"), **places}
    return {fact.name: fact for fact in machine_facts(**known)}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without load, with four processors, a key and a cluster of no kind."""
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    monkeypatch.setattr(machine, "usable_cpus", lambda: UsableCpus(4, "affinity"))


def test_a_folder_that_does_not_exist_yet_can_be_written_and_is_not_made(tmp_path: Path) -> None:
    assert facts(tmp_path)["runs folder"] == Fact("runs folder", f"{tmp_path}/runs can be written")
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_written_is_told_with_what_gives_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*, dir: Path) -> object:  # noqa: A002 - its name
        raise OSError(30, "Read-only file system", str(dir))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    told = facts(tmp_path)["runs folder"]
    assert told.value == f"{tmp_path}/runs cannot be written (Read-only file system)"
    assert told.advice == "give another one by hydra.run.dir or DETA_RUNS"


@pytest.mark.parametrize(("load", "is_advised"), [(3.9, False), (4.1, True)])
def test_more_load_than_processors_is_told(
    load: float, is_advised: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert bool(facts(tmp_path)["CPUs"].advice) is is_advised
    assert f"load {load}" in facts(tmp_path)["CPUs"].value


@pytest.mark.parametrize(("available", "is_advised"), [(8, False), (2, True)])
def test_little_memory_is_told(available: int, is_advised: bool, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: {16 << 20} kB\nMemFree: 1 kB\nMemAvailable: {available << 20} kB\n")
    told = facts(tmp_path, proc=tmp_path)["memory"]
    assert told.value.startswith(f"{available}.0 GiB free of 16.0")
    assert bool(told.advice) is is_advised


def test_a_cluster_that_does_not_answer_is_waited_for_a_moment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, body in {"sbatch": "", "sinfo": "exec sleep 60"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(machine, "_SECONDS_TO_ANSWER", 0.1)
    assert facts(tmp_path)["SLURM"].advice == "cluster=sbatch may not reach its controller"
    (tmp_path / "sinfo").write_text("#!/bin/sh\necho 'gpu* up 4'\n")
    monkeypatch.setattr(machine, "_SECONDS_TO_ANSWER", 30)
    assert facts(tmp_path)["SLURM"] == Fact("SLURM", "gpu* up, nodes: 4")


@pytest.mark.parametrize(("key", "told"), [("x" * 40, "a key is here"), ("", "no key: runs are kept offline")])
def test_whether_the_tracker_has_a_key_is_told(
    key: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert facts(tmp_path)["W&B"].value.startswith(told)
