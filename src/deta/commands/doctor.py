"""``deta doctor``: what is installed and whether the attention operator computes rightly here."""

import torch
from omegaconf import DictConfig
from torch import Tensor

from deta.commands.errors import reports_errors
from deta.engine.environment import device_names, git_state, package_versions
from deta_kernels import deformable_attention
from deta_kernels.reference import deformable_attention_reference

LEVELS = ((60, 80), (30, 40), (15, 20), (8, 10))


@reports_errors
def run(cfg: DictConfig) -> None:
    """Print versions, devices and the operator's error on every device."""
    del cfg
    for name, version in package_versions().items():
        print(f"{name:<18} {version}")
    state = git_state()
    if state is not None:
        print(f"{'git commit':<18} {state['commit']}{' (modified)' if state['is_modified'] else ''}")
    print(f"{'threads':<18} {torch.get_num_threads()}")
    for device in device_names():
        print(f"{'device':<18} {device}")
