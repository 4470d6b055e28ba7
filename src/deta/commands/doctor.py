"""``deta doctor``: what is installed, what the machine has, and whether the attention operator computes rightly."""

import os
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from omegaconf import DictConfig

from deta.console.extras import known_extras
from deta.console.terminal import reports_errors, say_loading
from deta.launching.machine import Fact, machine_facts
from deta.tracking.environment import device_names, git_state, package_versions
from deta.utils.wording import counted

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@reports_errors
def run(cfg: DictConfig) -> None:
    """Print what can be told at once, then devices, and error and speed of the operator on each of them."""
    start = time.monotonic()
    facts = [*_versions(), *machine_facts(**{name: Path(cfg.paths[name]) for name in ("runs", "cache", "data")})]
    _tell(facts)
    print("\nExtras, installed by pip install '.[<name>]':")
    for extra in known_extras():
        found = ", ".join(f"{name} {version or 'is not installed'}" for name, version in extra.packages.items())
        print(f"  {extra.name:<16} {found:<40} {extra.purpose}".rstrip(), flush=True)
    say_loading()
    devices = list(_devices())
    print()
    _tell(devices)
    import_module("deta.commands.operator_check").check_operator()  # late: it imports PyTorch
    advice = [f"  {fact.name}: {fact.advice}" for fact in (*facts, *devices) if fact.advice]
    if advice:
        print("\n".join([f"\n{counted(len(advice), 'thing')} to look at:", *advice]))
    print(f"\nLooked in {time.monotonic() - start:.0f} s")


def _tell(facts: list[Fact]) -> None:
    for fact in facts:
        print(f"{fact.name:<18} {fact.value}", flush=True)


def _versions() -> Iterator[Fact]:
    for name, version in package_versions().items():
        yield Fact(name, version)
    state = git_state()
    if state is not None:
        yield Fact("git commit", f"{state['commit']}{' (modified)' if state['is_modified'] else ''}")


def _devices() -> Iterator[Fact]:
    import torch  # late: the rest is told before

    yield Fact("threads", str(torch.get_num_threads()))
    for name in THREAD_VARIABLES:
        yield Fact(name, os.environ.get(name, "not set"))
    for device in device_names():
        yield Fact("device", device)
    if Path("/proc/driver/nvidia").exists() and not torch.cuda.is_available():
        yield Fact("CUDA", f"not usable by this PyTorch ({torch.version.cuda or 'built without CUDA'})", _NO_CUDA)


_NO_CUDA = "the machine has an NVIDIA driver: install a PyTorch that is built for a CUDA version of this driver"
