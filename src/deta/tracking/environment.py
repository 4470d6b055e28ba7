"""What a run was made with: versions, source revision, machine."""

import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from deta import DISTRIBUTION

PACKAGES = (
    DISTRIBUTION,
    "torch",
    "torchvision",
    "lightning",
    "hydra-core",
    "omegaconf",
    "torchmetrics",
    "pycocotools",
    "faster-coco-eval",
    "timm",
    "triton",
    "numba",
    "numpy",
    "optuna",
    "wandb",
)


def package_versions() -> dict[str, str]:
    """Installed version of every package that can change a result; missing ones say so."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def git_state() -> dict[str, str | bool] | None:
    """Commit of the checkout that this source lies in and whether files differ from it; None outside git.

    A package that is installed below the checkout of something else does not belong to it.
    """
    source = Path(__file__).resolve()
    folder = source.parent
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None or _git(folder, "ls-files", "--error-unmatch", source.name) is None:
        return None
    return {"commit": commit, "is_modified": bool(_git(folder, "status", "--porcelain"))}


def describe_run(*, seed: int) -> dict[str, Any]:
    """All facts about this process that belong to a run's record, as plain data."""
    import torch  # late: versions are told without it

    return {
        "started": round(time.time(), 3),
        "command": sys.orig_argv,
        "seed": seed,
        "git": git_state(),
        "versions": package_versions(),
        "platform": platform.platform(),
        "devices": device_names(),
        "num_threads": torch.get_num_threads(),
    }


def device_names() -> list[str]:
    """The CPU and every CUDA device."""
    import torch

    names = [f"cpu: {platform.processor() or platform.machine()}"]
    return names + [f"cuda:{k}: {torch.cuda.get_device_name(k)}" for k in range(torch.cuda.device_count())]


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
