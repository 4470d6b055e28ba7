"""CPUs that a process may use, and its threads."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deta.utils import cpus
from deta.utils.cpus import CpuTimes, UsableCpus, cpu_times, set_up_threads, threads_of_rank, usable_cpus


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may run on eight CPUs, outside of SLURM, in no control group."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)


def limited(folder: Path, membership: str, **files: str) -> UsableCpus:
    """In a control group with these files, named by their path with ``__`` for a slash."""
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "self" / "cgroup").write_text(membership)
    for name, content in files.items():
        path = folder / "groups" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return usable_cpus(proc=folder / "proc", cgroups=folder / "groups")


def test_without_a_limit_the_affinity_counts(tmp_path: Path) -> None:
    assert limited(tmp_path, "0::/\n", **{"cpu.max": "max 100000"}) == UsableCpus(8, "affinity")
    assert usable_cpus(proc=tmp_path / "none") == UsableCpus(8, "affinity")


@pytest.mark.parametrize(("content", "expected"), [("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1)])
def test_a_quota_is_rounded_up_to_whole_cpus(tmp_path: Path, content: str, expected: int) -> None:
    assert limited(tmp_path, "0::/job\n", **{"job__cpu.max": content}) == UsableCpus(expected, "cgroup")


def test_the_smallest_quota_above_a_group_counts(tmp_path: Path) -> None:
    files = {"cpu.max": "max 100000", "job__cpu.max": "300000 100000", "job__task__cpu.max": "max 100000"}
    assert limited(tmp_path, "0::/job/task\n", **files) == UsableCpus(3, "cgroup")


def test_a_container_that_sees_only_its_own_group_at_the_root(tmp_path: Path) -> None:
    assert limited(tmp_path, "0::/docker/1f\n", **{"cpu.max": "100000 50000"}) == UsableCpus(2, "cgroup")


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
def test_the_files_of_version_1(tmp_path: Path, controllers: str) -> None:
    place = f"{controllers}__job__"
    files = {f"{place}cpu.cfs_quota_us": "400000", f"{place}cpu.cfs_period_us": "100000"}
    found = limited(tmp_path, f"5:memory:/elsewhere\n4:{controllers}:/job\n0::/\n", **files)
    assert found == UsableCpus(4, "cgroup")


def test_no_quota_in_version_1(tmp_path: Path) -> None:
    files = {"cpu__cpu.cfs_quota_us": "-1", "cpu__cpu.cfs_period_us": "100000"}
    assert limited(tmp_path, "4:cpu:/\n", **files) == UsableCpus(8, "affinity")


def test_slurm_gives_a_task_its_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert usable_cpus(proc=tmp_path) == UsableCpus(3, "SLURM_CPUS_PER_TASK")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "64")  # a step with fewer than its job
    assert usable_cpus(proc=tmp_path) == UsableCpus(8, "affinity")


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "usable_cpus", lambda: UsableCpus(2, "cgroup"))
    for given in (
        {"GOMP_SPINCOUNT": "7", "OMP_NUM_THREADS": "5"},
        {"OMP_WAIT_POLICY": "active", "OMP_NUM_THREADS": ""},
    ):
        environment = dict(given)
        set_up_threads(environment)
        assert environment == given
        assert threads_of_rank(environment, 2) is None
        assert environment == given


@pytest.mark.parametrize(("usable", "threads"), [(8, {}), (6, {"OMP_NUM_THREADS": "6", "DETA_OMP_NUM_THREADS": "6"})])
def test_threads_are_limited_where_openmp_would_start_more(
    monkeypatch: pytest.MonkeyPatch, usable: int, threads: dict[str, str]
) -> None:
    monkeypatch.setattr(cpus, "usable_cpus", lambda: UsableCpus(usable, "cgroup"))
    environment: dict[str, str] = {}
    set_up_threads(environment)
    assert environment == {"GOMP_SPINCOUNT": cpus.SPIN_COUNT, **threads}


def test_ranks_divide_the_cpus_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "usable_cpus", lambda: UsableCpus(6, "cgroup"))
    environment: dict[str, str] = {}
    set_up_threads(environment)
    assert threads_of_rank(environment, 2) == 3
    assert environment["OMP_NUM_THREADS"] == "3"
    set_up_threads(environment)  # as a rank that inherits it does
    assert environment["OMP_NUM_THREADS"] == "3"
    assert threads_of_rank({}, 20) == 1


def test_work_of_this_process_is_not_that_of_others() -> None:
    earlier = CpuTimes(moment=10.0, machine=900.0, own=50.0)
    assert CpuTimes(moment=14.0, machine=910.0, own=52.0).busy_since(earlier) == 2.0
    assert CpuTimes(moment=14.0, machine=901.9, own=52.0).busy_since(earlier) == 0.0


def test_waiting_for_a_disk_and_for_other_machines_is_no_work(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    hertz = os.sysconf("SC_CLK_TCK")
    ticks = " ".join(str(hertz * seconds) for seconds in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512))
    stat.write_text(f"cpu  {ticks}\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    times = cpu_times(stat)
    assert times is not None
    assert times.machine == 1 + 2 + 4 + 32 + 64
    assert cpu_times(tmp_path / "none") is None


@pytest.mark.skipif(cpu_times() is None, reason="the system does not tell what is busy")
def test_another_process_that_computes_is_noticed() -> None:
    code = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            before = cpu_times()
            time.sleep(0.5)
            now = cpu_times()
        finally:
            other.kill()
    assert before is not None
    assert now is not None
    assert now.busy_since(before) > 0.4  # it gets half a CPU where another one computes beside
