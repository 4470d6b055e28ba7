"""Trying a training before anything is read, written or submitted."""

from omegaconf import DictConfig

from deta.building.build import make_part, make_recipe, plain
from deta.building.evaluations import make_selections
from deta.building.trainer_options import check_trainer_options
from deta.commands.train import make_callbacks
from deta.data.datamodule import CocoDataModule
from deta.training.regions import require_compile
from deta.utils.checks import require_int


def rehearse(cfg: DictConfig) -> None:
    """Make the parts of a training and forget them: what a value that makes no sense raises is raised at once.

    The detector has no content, the data set is not looked for, and nothing is logged.

    Raises:
        ValueError: A value is wrong; Hydra wraps what a constructor raises.
    """
    require_int("seed", cfg.seed, low=0, high=2**32 - 1)
    require_compile(cfg.compile)
    check_trainer_options(plain(cfg.trainer))
    make_callbacks(cfg)
    make_selections(cfg)
    make_part(cfg, "data", CocoDataModule)
    make_recipe(cfg)
