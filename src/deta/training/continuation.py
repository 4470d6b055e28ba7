"""What a continued run takes from its checkpoint: what it has done and learnt, never how it goes on.

A checkpoint of Lightning holds settings beside state: learning rates, milestones, the patience of a callback. Restored
as they are, they would silently replace those of the configuration. The functions here change a loaded checkpoint
before Lightning restores from it; of an unchanged configuration they change nothing.
"""

import inspect
import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities import rank_zero_only
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from deta.models.weights import require_fit
from deta.training.optim import PARAMETER_NAMES
from deta.utils.wording import counted

_log = logging.getLogger(__name__)

AVERAGED_FROM = "current_model_state"
"""Key under which Lightning keeps the trained weights where those of the checkpoint are averages."""

DRAWS_KEY, DRAWS = "deta_draws", "keyed"
"""Under this key a checkpoint says how the random numbers of its assignment rules are made."""

REMEDY = (
    "Settings of the model cannot change in a continued run: restore them, or start another run from these weights "
    "(weights=<run>)"
)


class UnfitModelError(ValueError):
    """The model is another than that of the checkpoint."""


def continue_optimization(
    checkpoint: dict[str, Any], optimizer: Optimizer, scheduler: LRScheduler | None, *, interval: str
) -> None:
    """Let rates and every other setting be what the configuration gives at this place of the training.

    The schedule is followed from its start to this place, with the rates of the configuration; the state of every
    parameter, such as its moments, is that of the checkpoint. Where the optimizer needs another state, all parameters
    start without, and a warning says so.

    Args:
        checkpoint: Changed in place.
        optimizer: Of the configuration, at its start, with groups of ``parameter_groups``; changed.
        scheduler: Of ``optimizer``, at its start; changed. None leaves the rates as they are.
        interval: What one step of the schedule is: ``epoch`` or ``step``.

    Raises:
        ValueError: The schedule does not reach so far, or it is unknown which parameter a state belongs to.
    """
    if scheduler is not None:
        _follow(scheduler, _place(checkpoint, interval))
    settings = optimizer.state_dict()["param_groups"]
    own = _names(settings, settings)
    saved = checkpoint["optimizer_states"][0]
    names = _names(saved["param_groups"], settings)
    states = {names[index]: state for index, state in saved["state"].items()}
    before, now = _by_name(names, saved["param_groups"]), _by_name(own, settings)
    if any(before[name] != now[name] for name in before.keys() & now.keys()):
        needed = _state_keys(optimizer)
        is_enough = all(needed[name] <= state.keys() for name, state in states.items() if name in needed)
        if not is_enough:
            _warn(f"{type(optimizer).__name__} needs another state than the checkpoint holds: it starts without any")
        states = {name: state for name, state in states.items() if is_enough and needed.get(name)}
    new = [name for name in own if name not in names]
    if new:
        _warn(f"{counted(len(new), 'parameter')} not trained before, without a state of the optimizer: {new[0]}, ...")
    state = {index: states[name] for index, name in enumerate(own) if name in states}
    checkpoint["optimizer_states"] = [{"state": state, "param_groups": settings}]
    checkpoint["lr_schedulers"] = [] if scheduler is None else [scheduler.state_dict()]


def continue_weights(checkpoint: dict[str, Any], module: nn.Module, callbacks: Iterable[pl.Callback]) -> None:
    """Go on from the trained weights where averages lie in their place and are no longer wanted.

    Raises:
        UnfitModelError: The weights do not fit the model.
    """
    is_averaging = any(isinstance(callback, WeightAveraging) for callback in callbacks)
    if AVERAGED_FROM in checkpoint and not is_averaging:
        _warn("the run averaged its weights before; it goes on from the trained ones")
        checkpoint["state_dict"] = checkpoint[AVERAGED_FROM]
    try:
        require_fit(module, checkpoint["state_dict"], "the checkpoint")
    except ValueError as error:
        raise UnfitModelError(f"{error}. {REMEDY}") from error


def continue_callbacks(checkpoint: Mapping[str, Any], callbacks: Iterable[pl.Callback]) -> None:
    """Let what a callback was made with, such as the patience of ``EarlyStopping``, be that of the configuration."""
    states = checkpoint["callbacks"]
    for callback in callbacks:
        state = states.get(callback.state_key, {})
        settings = inspect.signature(type(callback)).parameters.keys()
        state.update({name: getattr(callback, name) for name in settings & state.keys() if hasattr(callback, name)})


def require_whole_windows(checkpoint: Mapping[str, Any], accumulate_grad_batches: int) -> None:
    """Check that the next optimizer step takes as many batches as all others.

    Raises:
        ValueError: The checkpoint stopped inside an epoch at a batch where no window ends.
    """
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    done = progress["current"]["ready"]
    if not progress["is_last_batch"] and done % accumulate_grad_batches:
        raise ValueError(
            f"the checkpoint stopped inside an epoch, after batch {done}, and cannot go on there with "
            f"trainer.accumulate_grad_batches={accumulate_grad_batches}: take a divisor of {done}, or continue from "
            "the end of an epoch"
        )


def ended_inside_epoch(trainer: pl.Trainer) -> bool:
    """Whether the last of ``max_steps`` was made, and batches of its epoch are left."""
    is_last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
    return trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps and not is_last


def num_whole_epochs(trainer: pl.Trainer) -> int:
    """Epochs of which nothing is left, after a training or where one had nothing to do."""
    begun = trainer.fit_loop.epoch_progress.current.ready
    return begun - 1 if ended_inside_epoch(trainer) else trainer.current_epoch


def continue_after_epoch(checkpoint: Mapping[str, Any], trainer: pl.Trainer) -> None:
    """Begin the next epoch where one is over, with ``max_steps`` as without.

    With ``max_steps`` Lightning 2.6 would take the epoch for one that is not over, and count it once more.

    A run that ended inside an epoch, and was saved as if it were over, leaves out the rest, and a warning says so.
    """
    loops = checkpoint["loops"]["fit_loop"]
    epochs, batches = loops["epoch_progress"]["current"], loops["epoch_loop.batch_progress"]
    if not epochs["ready"] == epochs["started"] == epochs["processed"] > 0:
        return
    # No option of Lightning says it: this method alone tells its loop that an epoch which is over is begun again.
    trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]  # of this one loop
    if not batches["is_last_batch"]:
        _warn(
            f"this run ended inside epoch {epochs['ready']}, after batch {batches['current']['ready']}: it goes on "
            "with the next epoch, and the other batches of that one are left out"
        )


def _place(checkpoint: Mapping[str, Any], interval: str) -> int:
    """Steps of the schedule so far."""
    if interval == "step":
        return int(checkpoint["global_step"])
    loops = checkpoint["loops"]["fit_loop"]
    is_over = bool(loops["epoch_loop.batch_progress"]["is_last_batch"])  # the schedule moves with the last batch
    return int(loops["epoch_progress"]["current"]["ready"]) - (not is_over)


def _follow(scheduler: LRScheduler, num_steps: int) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step", category=UserWarning)
        try:
            for _ in range(num_steps):
                scheduler.step()
        except ValueError as error:
            raise ValueError(f"schedule.make, followed to step {num_steps} where the run stands: {error}") from error


def _names(groups: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """Names of the parameters of an optimizer in their order; in older checkpoints they are those of equal groups."""
    if PARAMETER_NAMES not in groups[0]:
        if [len(group["params"]) for group in groups] != [len(group["params"]) for group in own]:
            raise ValueError(
                "this checkpoint does not tell which parameter a state of its optimizer belongs to, and the groups of "
                "parameters are others than before: restore optimizer.lr_factors and the settings of the model, or "
                "start another run from these weights (weights=<run>)"
            )
        groups = own
    return [name for group in groups for name in group[PARAMETER_NAMES]]


def _by_name(names: Iterable[str], groups: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The settings of every parameter, apart from its rate; names are in the order of the groups."""
    varying = ("params", "lr", "initial_lr", "name", PARAMETER_NAMES)
    settings = (
        {name: group[name] for name in group if name not in varying} for group in groups for _ in group["params"]
    )
    return dict(zip(names, settings, strict=True))


def _state_keys(optimizer: Optimizer) -> dict[str, set[str]]:
    """What the optimizer remembers of a parameter, by its name: it makes a step with others of no effect."""
    optimizer.zero_grad()
    probes = []
    for group in list(optimizer.param_groups):
        parameter = nn.Parameter(torch.zeros(1))
        parameter.grad = torch.zeros(1)
        optimizer.add_param_group({**group, "params": [parameter]})
        probes.append((group[PARAMETER_NAMES], parameter))
    optimizer.step()
    return {name: set(optimizer.state[parameter]) for names, parameter in probes for name in names}


@rank_zero_only
def _warn(message: str) -> None:
    _log.warning("%s", message)


def tell_other_draws(checkpoint: Mapping[str, Any]) -> None:
    """Say from where on a run of an earlier version draws other random numbers than it would have drawn."""
    if checkpoint.get(DRAWS_KEY) != DRAWS:
        _warn(
            f"this run was begun by an earlier version, which drew other random numbers: from step "
            f"{checkpoint['global_step']} on, images whose positives are sampled (gamma) may keep others"
        )
