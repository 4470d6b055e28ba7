"""Options of the trainer that a run cannot have are refused by name."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from deta.building.trainer_options import check_trainer_options

ROOT = Path(__file__).resolve().parents[2]


def options(**changes: object) -> dict[str, Any]:
    """Those of the group's default, and some more."""
    group = OmegaConf.merge(OmegaConf.load(ROOT / "conf" / "trainer" / "default.yaml"), {"default_root_dir": "."})
    plain = OmegaConf.to_container(group)
    assert isinstance(plain, dict)
    return {**{str(name): value for name, value in plain.items()}, **changes}


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("overfit_batches", 1, "data.limit_train_images=N"),
        ("overfit_batches", 0.5, "data.limit_train_images=N"),
        ("fast_dev_run", True, "trainer.limit_train_batches=1"),
        ("barebones", True, "callbacks.<name>=null"),
        ("enable_checkpointing", False, "callbacks.best=null"),
        ("max_time", "00:01:00:00", "trainer.max_steps"),
        ("reload_dataloaders_every_n_epochs", 1, "order of every epoch"),
        ("use_distributed_sampler", True, "own samplers"),
        ("callbacks", [], "group of their own"),
        ("logger", False, "group of its own"),
    ],
)
def test_an_option_that_breaks_a_promise_is_refused_with_what_to_do(name: str, value: object, remedy: str) -> None:
    with pytest.raises(ValueError, match=rf"^trainer\.{name}=.*{remedy}"):
        check_trainer_options(options(**{name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("precision", "64-true"), ("strategy", "fsdp"), ("gradient_clip_val", float("nan")),
        ("limit_train_batches", 0), ("limit_train_batches", 1.5), ("limit_val_batches", "all"),
        ("val_check_interval", "00:10:00"), ("max_epochs", None), ("deterministic", "yes"), ("benchmark", "on"),
    ],
)  # fmt: skip
def test_a_value_without_sense_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^trainer\.{name} must be"):
        check_trainer_options(options(**{name: value}))


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"fast_dev_run": False}, {"overfit_batches": 0.0}, {"limit_train_batches": 0.5}, {"limit_val_batches": 0},
        {"val_check_interval": 0.25}, {"precision": "bf16-mixed"}, {"precision": 16}, {"gradient_clip_val": None},
    ],
)  # fmt: skip
def test_what_a_run_can_have_is_taken(changes: dict[str, object]) -> None:
    check_trainer_options(options(**changes))
