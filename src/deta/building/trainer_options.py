"""Which options of Lightning's trainer a run takes: those that would break what it promises are refused by name."""

from collections.abc import Mapping
from typing import Any

from deta.utils.checks import require_bool, require_choice, require_int, require_number

_OFF: Mapping[str, tuple[tuple[object, ...], str]] = {
    "overfit_batches": ((0, None), "it replaces the order of the images; use data.limit_train_images=N"),
    "fast_dev_run": (
        (False, 0, None),
        "it leaves out checkpoints and metrics; use trainer.max_epochs=1 trainer.limit_train_batches=1 "
        "trainer.limit_val_batches=1",
    ),
    "barebones": (
        (False, None),
        "it leaves out checkpoints and metrics; leave out single callbacks, callbacks.<name>=null",
    ),
    "enable_checkpointing": (
        (True, None),
        "leave out the callbacks that save, callbacks.best=null callbacks.resume=null",
    ),
    "max_time": (
        (None,),
        "a run that ends by the clock is not the same twice; use trainer.max_steps, or the time limit of a job, after "
        "which the run continues exactly",
    ),
    "reload_dataloaders_every_n_epochs": ((0, None), "the loader knows the order of every epoch"),
    "use_distributed_sampler": ((False,), "the data module has its own samplers"),
    "callbacks": ((), "they are a group of their own: +callbacks.<name>={_target_: ...}"),
    "logger": ((), "it is a group of its own: +logger.<name>={_target_: ...}"),
    "plugins": ((), "the run has its own for checkpoints and processes"),
}
"""Options with the values at which they do nothing, and what to do instead."""
_NEEDED = (
    *(
        "max_epochs",
        "max_steps",
        "accumulate_grad_batches",
        "num_nodes",
        "check_val_every_n_epoch",
        "log_every_n_steps",
    ),
    *("benchmark", "enable_progress_bar", "deterministic", "strategy", "precision", "devices", "seconds_of_patience"),
)
"""Options without which a run does not know what to do."""
_PRECISIONS = ("32-true", "32", "bf16-mixed", "bf16", "16-mixed", "16")
_STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")


def check_trainer_options(options: Mapping[str, Any]) -> None:
    """Check what Lightning would take without a word, or refuse in words of its own.

    Args:
        options: Of the group ``trainer``, as plain data.

    Raises:
        ValueError: An option that a run cannot have, or a value that makes no sense.
    """
    removed = [name for name in _NEEDED if name not in options]
    if removed:
        raise ValueError(f"trainer.{removed[0]} cannot be removed (~): give it a value")
    for name, (harmless, remedy) in _OFF.items():
        if name in options and options[name] not in harmless:
            raise ValueError(f"trainer.{name}={options[name]} is no option of a run: {remedy}")
    for name, low in (("max_epochs", -1), ("max_steps", -1), ("accumulate_grad_batches", 1), ("num_nodes", 1)):
        require_int(f"trainer.{name}", options[name], low=low)
    require_int("trainer.num_sanity_val_steps", options.get("num_sanity_val_steps", 0), low=-1)
    for name in ("check_val_every_n_epoch", "log_every_n_steps"):
        require_int(f"trainer.{name}", options[name], low=1)
    for name in ("benchmark", "enable_progress_bar"):
        require_bool(f"trainer.{name}", options[name])
    if options["deterministic"] != "warn":
        require_bool("trainer.deterministic", options["deterministic"])
    if options.get("gradient_clip_val") is not None:
        require_number("trainer.gradient_clip_val", options["gradient_clip_val"], low=0)
    for name in ("limit_train_batches", "limit_val_batches", "val_check_interval"):
        _check_amount(f"trainer.{name}", options.get(name), may_be_none=name == "limit_val_batches")
    if isinstance(options["strategy"], str):
        require_choice("trainer.strategy", options["strategy"], _STRATEGIES)
    require_choice("trainer.precision", str(options["precision"]), _PRECISIONS)


def _check_amount(name: str, value: object, *, may_be_none: bool) -> None:
    """A number of batches, or a float as a share of them; null is all."""
    if value is None:
        return
    number = require_number(name, value, low=0, high=1 if isinstance(value, float) else None)
    if number == 0 and not may_be_none:
        raise ValueError(f"{name} must be above 0, got {value!r}")
