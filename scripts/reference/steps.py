"""Seeded optimizer steps: recorded with one state of the code, made again with another."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deta.utils.files import read_json, write_json
from scripts.reference.door import compose_training, load_initial, make_training, uniform_draws
from scripts.reference.watch import Noise, Watch

NUM_STEPS = 50
NOISE = 1e-7
NOISE_SEEDS = (1, 2, 3)
CONFIGURATIONS = {
    "deta_shapes": ("experiment=deta_shapes",),
    "one_to_one": ("experiment=deta_shapes_one_to_one",),
    "release": ("experiment=deta_shapes", "criterion=deta_release"),
    "sampled": (  # so few positives that the draws decide from the first step on
        "experiment=deta_shapes",
        "criterion.layer_assigner.gamma=.03",
        "assigner@criterion.proposal_assigner=release_proposals",
        "criterion.proposal_assigner.num_samples=16",
    ),
}
"""Words of each; none has dropout, so that the rules alone draw numbers."""
_WORDS = (
    "data.num_train=64", "data.num_val=4", "data.num_workers=0", f"trainer.max_steps={NUM_STEPS}",
    "trainer.max_epochs=1000", "trainer.limit_val_batches=0", "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false", "seed=0",
)  # fmt: skip
_INITIAL, _DRAWS, _LOSSES = "initial.ckpt", "draws.pt", "losses.json"


@dataclass(frozen=True)
class Steps:
    """What a training did.

    Attributes:
        losses: Of every step by logged name.
        batches: Digest of the batch of every step.
        draws: Of every step, the uniform numbers of the rules in the order of their calls.
    """

    losses: Sequence[dict[str, float]]
    batches: Sequence[str]
    draws: Sequence[Sequence[Tensor]]


def record(name: str, folder: Path) -> None:
    """Run a configuration, once as it is and once for each noise, and write what it did to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = _run(name, save_initial=folder / _INITIAL)
    noisy = [_run(name, draws=steps.draws, noise_seed=seed).losses for seed in NOISE_SEEDS]
    torch.save([list(draws) for draws in steps.draws], folder / _DRAWS)
    content = {"losses": steps.losses, "spread": spread(steps.losses, noisy), "batches": steps.batches}
    write_json(folder / _LOSSES, content)


def repeat(name: str, folder: Path) -> list[dict[str, float]]:
    """The losses of the same steps with the recorded weights and draws.

    Raises:
        ValueError: The batches are others, or a rule asks for a draw that was not recorded.
    """
    draws = torch.load(folder / _DRAWS, weights_only=True)
    steps = _run(name, draws=draws, initial=folder / _INITIAL)
    expected = read_json(folder / _LOSSES, dict[str, Any])["batches"]
    if list(steps.batches) != expected:
        raise ValueError(f"{name}: the batches are not those of the record: nothing can be compared")
    return list(steps.losses)


def recorded(folder: Path) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Losses and spread on record."""
    content = read_json(folder / _LOSSES, dict[str, Any])
    return content["losses"], content["spread"]


def spread(losses: Sequence[dict[str, float]], noisy: Sequence[Sequence[dict[str, float]]]) -> list[dict[str, float]]:
    """Largest difference that noise has made to each loss up to each step: trajectories part for good."""
    widest = dict.fromkeys(losses[0], 0.0)
    result = []
    for step, values in enumerate(losses):
        for name, value in values.items():
            widest[name] = max(widest[name], *(abs(other[step][name] - value) for other in noisy))
        result.append(dict(widest))
    return result


def _run(
    name: str,
    *,
    save_initial: Path | None = None,
    initial: Path | None = None,
    draws: Sequence[Sequence[Tensor]] | None = None,
    noise_seed: int | None = None,
) -> Steps:
    import lightning.pytorch as pl

    watch = Watch(save_initial)
    made: list[list[Tensor]] = [[] for _ in range(NUM_STEPS)]
    left = [list(of_step) for of_step in draws or ()]

    def uniform(shape: Sequence[int], draw: Callable[[], Tensor]) -> Tensor:
        value = draw() if draws is None else _take(left[watch.step], shape, f"{name}, step {watch.step}")
        made[watch.step].append(value.clone())
        return value

    pl.seed_everything(0, workers=True, verbose=False)
    folder = Path(tempfile.mkdtemp())
    noise = [] if noise_seed is None else [Noise(NOISE, noise_seed)]
    try:
        cfg = compose_training([*CONFIGURATIONS[name], *_WORDS], folder)
        trainer, module, datamodule = make_training(cfg, watch, *noise)
        if initial is not None:
            load_initial(module, initial)
        with uniform_draws(uniform):
            trainer.fit(module, datamodule=datamodule)
    finally:
        shutil.rmtree(folder)
    if draws is not None and any(left):
        raise ValueError(f"{name}: the rules asked for fewer draws than were recorded")
    return Steps(watch.losses, watch.batches, made)


def _take(left: list[Tensor], shape: Sequence[int], where: str) -> Tensor:
    """The next draw of this shape: stages may be assigned in another order, each with the candidates it had."""
    for index, value in enumerate(left):
        if tuple(value.shape) == tuple(shape):
            return left.pop(index)
    raise ValueError(
        f"{where}: a rule asks for a draw of shape {tuple(shape)}, left are {[tuple(d.shape) for d in left]}"
    )
