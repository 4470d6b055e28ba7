"""From a configuration to objects."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from deta.data.datamodule import CocoDataModule
from deta.engine.checkpoint import Checkpoint, load_weights, make_metadata
from deta.engine.evaluation import CocoEvaluator
from deta.engine.module import DetectionModule

TRUSTED_PREFIXES = ("deta.",)
"""What a configuration that came out of a checkpoint may instantiate."""


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as resolved dictionaries and lists.

    Raises:
        omegaconf.errors.MissingMandatoryValue: A value is still ``???``.
    """
    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def make(config: Any, **arguments: Any) -> Any:  # noqa: ANN401
    """Instantiate a node of a configuration with plain Python containers."""
    return instantiate(config, _convert_="all", **arguments)


def make_datamodule(cfg: DictConfig) -> CocoDataModule:
    """The data module, set up for training."""
    datamodule: CocoDataModule = make(cfg.data)
    datamodule.prepare_data()
    datamodule.setup("fit")
    return datamodule


def make_detector(config: Mapping[str, Any], num_classes: int) -> nn.Module:
    """The detector; ``num_classes`` of the configuration wins where it is not null."""
    chosen = config.get("num_classes")
    detector: nn.Module = make(config, num_classes=num_classes if chosen is None else chosen)
    return detector


def make_module(cfg: DictConfig, datamodule: CocoDataModule) -> DetectionModule:
    """Everything that trains and evaluates, for the categories of the data module."""
    categories = datamodule.categories
    return DetectionModule(
        detector=make_detector(cfg.model, len(categories)),
        criterion=make(cfg.criterion),
        postprocess=make(cfg.postprocess),
        evaluator=make_evaluator(cfg, datamodule, categories.ids),
        optimizer=make(cfg.optimizer.make),
        scheduler=make(cfg.schedule.make),
        scheduler_interval=cfg.schedule.interval,
        lr=cfg.optimizer.lr,
        lr_factors=plain(cfg.optimizer.lr_factors),
        seed=cfg.seed,
        metadata=make_metadata(plain(cfg), categories.ids, categories.names),
    )


def make_evaluator(
    cfg: DictConfig, datamodule: CocoDataModule, category_ids: Sequence[int | None]
) -> CocoEvaluator:
    """The metric over the validation annotations of the data module."""
    factory = make(cfg.evaluator)
    evaluator: CocoEvaluator = factory(annotations=datamodule.val_annotations, category_ids=category_ids)
    return evaluator


def restore_detector(checkpoint: Checkpoint, trusted: Sequence[str] = ()) -> nn.Module:
    """Build the detector that a checkpoint describes and load its weights.

    Args:
        checkpoint: Source of architecture and weights.
        trusted: Further prefixes of dotted names that its configuration may instantiate.

    Raises:
        ValueError: The configuration names anything else, or the weights do not fit.
    """
    config = strip_pretrained(checkpoint.config["model"])
    check_targets(config, (*TRUSTED_PREFIXES, *trusted), checkpoint)
    detector = make_detector(config, len(checkpoint.category_ids))
    load_weights(detector, checkpoint)
    return detector.eval()


def restore_postprocess(checkpoint: Checkpoint, trusted: Sequence[str] = ()) -> Any:  # noqa: ANN401
    """The post-processing that a checkpoint was trained with."""
    config = checkpoint.config["postprocess"]
    check_targets(config, (*TRUSTED_PREFIXES, *trusted), checkpoint)
    return make(config)


def check_targets(config: Any, prefixes: Sequence[str], checkpoint: Checkpoint) -> None:  # noqa: ANN401
    """Refuse a stored configuration that would instantiate anything outside the prefixes.

    Raises:
        ValueError: It names another target.
    """
    if isinstance(config, Mapping):
        target = config.get("_target_")
        if target is not None and not str(target).startswith(tuple(prefixes)):
            raise ValueError(
                f"{checkpoint.path} wants to instantiate {target}; only {', '.join(prefixes)} may be. If you "
                f"trust the file, add its prefix: trusted=[{str(target).split('.')[0]}.]"
            )
        for value in config.values():
            check_targets(value, prefixes, checkpoint)
    elif isinstance(config, (list, tuple)):
        for value in config:
            check_targets(value, prefixes, checkpoint)


def strip_pretrained(config: Mapping[str, Any]) -> dict[str, Any]:
    """The model's configuration without pretrained weights, which the checkpoint's own replace."""
    model = dict(config)
    if isinstance(model.get("backbone"), Mapping):
        model["backbone"] = {**model["backbone"], "weights": None}
    return model


def start_from(detector: nn.Module, checkpoint: Checkpoint) -> None:
    """Load weights for fine-tuning; class heads of another size stay fresh, and a warning names them."""
    fresh = load_weights(detector, checkpoint, allow_new_classes=True)
    if fresh:
        warnings.warn(
            f"{len(fresh)} class-head weights of {checkpoint.path} have another size and start fresh: "
            f"{', '.join(fresh[:3])}, ...",
            stacklevel=2,
        )
