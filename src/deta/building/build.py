"""From a configuration to objects."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim.lr_scheduler import MultiStepLR

from deta.building.combinations import (
    QUERY_PARTS,
    are_our_own,
    require_agreement,
    require_arguments,
    require_effect,
    require_grid,
    require_layout,
    require_outputs,
    require_rules,
    require_scores,
)
from deta.building.stored import build, section
from deta.building.tried_step import require_step
from deta.building.trust import Trust, remembered, require_names
from deta.console.words import given_words
from deta.data.datamodule import CocoDataModule
from deta.evaluation import DetectionEvaluator
from deta.losses import Criterion
from deta.models.limits import limited_parts
from deta.models.postprocess import Postprocess, scored_as
from deta.runs.former import KEYS, is_owned
from deta.training.accumulation import require_one_divisor
from deta.training.checkpoint import (
    Checkpoint,
    load_weights,
    make_metadata,
    require_fitting_weights,
)
from deta.training.module import DetectionModule
from deta.training.optim import parameter_groups, with_fused_step
from deta.training.schedules import CourseLR
from deta.utils.checks import require_choice, require_int, require_number
from deta.utils.wording import counted

Factory = Callable[..., Any]
_PARTS_BESIDE, _PARTS_FOR_WEIGHT = 10_000, 100
"""A stored model may register so many parts: it is built several times, and backbones of timm are tried before."""
_TRIED: set[str] = set()
"""Configurations of which this process has tried a step, which takes a second or two."""
_MOST_PARTS = 1_000_000
"""Of a model that a command line describes."""


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as resolved dictionaries and lists.

    Raises:
        omegaconf.errors.MissingMandatoryValue: A value is still ``???``.
    """
    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def make(config: Any, **arguments: Any) -> Any:  # noqa: ANN401 - Hydra's nodes in, whatever they name out
    """Instantiate a node of a configuration with plain Python containers."""
    return instantiate(config, _convert_="all", **arguments)


def make_part(cfg: DictConfig, key: str, kind: Any) -> Any:  # noqa: ANN401 - a class or Callable in, one of its kind out
    """``make`` of the node at a dotted key.

    Raises:
        ValueError: The node makes nothing, or nothing of the kind that is needed there.
    """
    node = OmegaConf.select(cfg, key)
    made = make(node)
    if not isinstance(made, kind):
        what = node.get("_target_", "what has no _target_") if isinstance(node, DictConfig) else node
        raise ValueError(f"{key} must make a {kind.__name__}; {what} gives {type(made).__name__}")
    return made


def make_detector(config: Mapping[str, Any], num_classes: int) -> nn.Module:
    """The detector; ``num_classes`` of the configuration wins where it is not null, and stands for null in its parts.

    Raises:
        ValueError: The configuration has a key that has moved, or a part refuses what it is given.
    """
    for former, present in KEYS.items():
        part, _, name = former.partition(".")
        if part == "model" and name in config and is_owned({part: config}, part):
            raise ValueError(f"{former} is {present} by now: write it so in the configuration of yours that sets it")
    detector: nn.Module = make({"model": with_classes(config, num_classes)})["model"]  # messages name its keys so
    return detector


def with_classes(config: Mapping[str, Any], num_classes: int) -> dict[str, Any]:
    """The configuration of a detector with its number of categories, in every part of it that leaves it open.

    What a width says of query parts is left out where the body has no such part: it has no ``_target_`` there.
    """
    chosen = config.get("num_classes")
    number = num_classes if chosen is None else chosen

    def filled(node: Any) -> Any:  # noqa: ANN401 - any node of a configuration
        if isinstance(node, Mapping):
            return {
                key: number if key == "num_classes" and value is None else filled(value) for key, value in node.items()
            }
        return [filled(value) for value in node] if isinstance(node, list | tuple) else node

    complete = {**filled(config), "num_classes": number}
    body = complete.get("body")
    if isinstance(body, dict):
        left = [name for name in QUERY_PARTS if isinstance(body.get(name), dict) and "_target_" not in body[name]]
        complete["body"] = {name: value for name, value in body.items() if name not in left}
    return complete


@dataclass(frozen=True)
class Recipe:
    """What trains and judges a detector, whatever the data.

    Attributes:
        criterion: The losses.
        postprocess: Selects detections.
        optimizer: Called with groups of parameters.
        scheduler: Called with the optimizer; None keeps the learning rate.
    """

    criterion: Criterion
    postprocess: Postprocess
    optimizer: Factory
    scheduler: Factory | None


def make_recipe(cfg: DictConfig) -> Recipe:
    """Make what needs no data, in a moment, and try the detector without content: wrong values are found here."""
    require_agreement(cfg)
    require_layout(cfg)
    require_arguments(cfg)
    criterion, postprocess = make_part(cfg, "criterion", Criterion), make_part(cfg, "postprocess", Callable)
    require_one_divisor(criterion, cfg.trainer.accumulate_grad_batches)
    optimizer = with_fused_step(make_part(cfg, "optimizer.make", Callable), cfg.optimizer.get("fused"))
    scheduler = None if cfg.schedule.make is None else make_part(cfg, "schedule.make", Callable)
    require_choice("schedule.interval", cfg.schedule.interval, ("epoch", "step"))
    _try_optimization(cfg, optimizer, scheduler)
    require_effect(cfg, _words(cfg))
    tried = _try_detector(plain(cfg.model))
    if tried is not None:
        body = getattr(tried, "body", None)
        require_rules(criterion, body)
        require_scores(criterion, body)
        require_outputs(cfg, criterion, postprocess, body)
        require_grid(postprocess, body)
        together = {name: plain(cfg[name]) for name in ("model", "criterion", "postprocess")}
        num_batches = cfg.trainer.accumulate_grad_batches
        if repr((together, num_batches)) not in _TRIED and are_our_own(together):
            require_step(tried, criterion, postprocess, num_batches=num_batches)
            _TRIED.add(repr((together, num_batches)))
    return Recipe(criterion, postprocess, optimizer, scheduler)


def _words(cfg: DictConfig) -> list[str]:
    """Those that made a configuration; none where no command has."""
    if "hydra" in cfg:
        return given_words(cfg.hydra.overrides.task)
    return given_words(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def make_module(cfg: DictConfig, datamodule: CocoDataModule, recipe: Recipe | None = None) -> DetectionModule:
    """Everything that trains and evaluates, for the categories of the data module, which is set up last.

    Reading a large data set takes long: a wrong value elsewhere is found before. A detector that starts from weights as
    a whole needs none for its backbone.

    Args:
        cfg: Configuration of a training.
        datamodule: Its data, not set up.
        recipe: What ``make_recipe`` has made of the configuration; None makes it.
    """
    recipe = recipe or make_recipe(cfg)
    datamodule.prepare_data()
    datamodule.setup("fit")
    categories = datamodule.categories
    if cfg.model.get("num_classes") not in (None, len(categories)):
        raise ValueError(
            f"model.num_classes must be null or {len(categories)}, the number of categories of the training "
            f"annotations, got {cfg.model.num_classes}"
        )
    return DetectionModule(
        detector=make_detector(
            cfg.model if cfg.get("weights") is None else without_pretrained(plain(cfg.model)), len(categories)
        ),
        criterion=recipe.criterion,
        postprocess=recipe.postprocess,
        evaluator=make_evaluator(make(cfg.evaluator), datamodule, categories.ids),
        optimizer=recipe.optimizer,
        scheduler=recipe.scheduler,
        scheduler_interval=cfg.schedule.interval,
        lr=cfg.optimizer.lr,
        groups=group_settings(cfg),
        seed=cfg.seed,
        metadata=make_metadata(plain(cfg), categories.ids, categories.names),
    )


def group_settings(cfg: DictConfig) -> dict[str, dict[str, Any]]:
    """What the optimizer says of groups of parameters; those of query systems do not speak of kinds of them."""
    told = {name: cfg.optimizer.get(name) for name in ("lr_factors", "weight_decays", "kind_factors")}
    return {name: plain(settings) for name, settings in told.items() if settings is not None}


def _try_optimization(cfg: DictConfig, optimizer: Factory, scheduler: Factory | None) -> None:
    """Call what is called with the parameters once training starts, on parameters that nothing else uses."""
    settings = group_settings(cfg)
    probes = [(name, nn.Parameter(torch.zeros(1))) for name in ("probe", *settings.get("lr_factors", {}))]
    groups = parameter_groups(probes, lr=cfg.optimizer.lr, **settings)
    made = _try("optimizer.make", optimizer, groups)
    if scheduler is not None:
        schedule = _try("schedule.make", scheduler, made)
        if isinstance(schedule, MultiStepLR):  # which takes anything, and never reaches what is no number
            require_number("schedule.make.gamma", schedule.gamma, low=0)
            for milestone in schedule.milestones:
                require_int("schedule.make.milestones: each", milestone, low=0)
        if isinstance(schedule, CourseLR) and cfg.schedule.interval != "step":
            raise ValueError(
                f"schedule.make ({type(schedule).__name__}) moves with every optimizer step: set "
                f"schedule.interval=step, got {cfg.schedule.interval}"
            )


def _try_detector(config: Mapping[str, Any]) -> nn.Module | None:
    """The detector for one class without content, as a large data set takes long to read; None if there is no such."""
    try:
        return empty_detector(config, num_classes=1)
    except InstantiationException as error:
        if not isinstance(error.__cause__, RuntimeError):  # which may be of that device, and comes again if it is not
            raise
        return None


def empty_detector(config: Mapping[str, Any], num_classes: int) -> nn.Module:
    """A detector without content: names and shapes of its parameters.

    Raises:
        hydra.errors.InstantiationException: A part refuses what it is given; a ``RuntimeError`` behind it may be of
            parts that cannot be made without content.
    """
    named = OmegaConf.create({"model": without_pretrained(config)})
    limit = limited_parts(_MOST_PARTS, "more than fit a training")
    with limit, torch.random.fork_rng(devices=[]), torch.device("meta"):
        return make_detector(named.model, num_classes=num_classes)


def _try(key: str, factory: Factory, argument: object) -> object:
    try:
        return factory(argument)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{key}: {error}; --cfg job shows the values under {key}") from error


def make_evaluator(
    factory: Factory, datamodule: CocoDataModule, category_ids: Sequence[int | None]
) -> DetectionEvaluator[Any]:
    """The metric over the validation annotations of the data module."""
    if not callable(factory):
        raise ValueError(f"evaluator must make something to call with annotations, got {factory!r:.80}")
    evaluator: DetectionEvaluator[Any] = factory(annotations=datamodule.val_annotations, category_ids=category_ids)
    return evaluator


def trust_in(checkpoint: Checkpoint, trusted: Any) -> Trust:  # noqa: ANN401 - what the command line gave
    """What a checkpoint may build beside what deta ships: ``trusted``, and what the user trained there himself."""
    run = checkpoint.path.absolute().parent.parent
    return Trust(checkpoint.path, (*require_names(trusted), *remembered(run)))


def make_postprocess(cfg: DictConfig, checkpoint: Checkpoint) -> Postprocess:
    """The post-processing that a command asks for, see ``choose_postprocess``."""
    chosen: Postprocess | None = None if cfg.get("postprocess") is None else make(cfg["postprocess"])
    return choose_postprocess(chosen, checkpoint, cfg.trusted)


def choose_postprocess(chosen: Postprocess | None, checkpoint: Checkpoint, trusted: Sequence[str] = ()) -> Postprocess:
    """The post-processing asked for, or the one that the checkpoint was trained with, whose score both have."""
    place = "postprocess"
    if chosen is not None and not (checkpoint.config.get(place) or {}).get("score"):
        return chosen
    stored: Postprocess = build(section(checkpoint, place), place, trust_in(checkpoint, trusted))
    return stored if chosen is None else scored_as(chosen, stored)


def restore_detector(checkpoint: Checkpoint, trusted: Any = ()) -> nn.Module:  # noqa: ANN401 - as above
    """Build the detector that a checkpoint describes and load its weights.

    Args:
        checkpoint: Source of architecture and weights.
        trusted: Classes and packages that its configuration may name beside those of deta.

    Raises:
        ValueError: The configuration names anything else, or the weights do not fit.
    """
    config = without_pretrained(section(checkpoint, "model"))
    config = with_classes(config, len(checkpoint.category_ids))
    make_stored = partial(build, config, "model", trust_in(checkpoint, trusted))
    num_weights = len(checkpoint.weights)
    reason = f"and the file holds {counted(num_weights, 'weight')}"
    with limited_parts(_PARTS_BESIDE + _PARTS_FOR_WEIGHT * num_weights, reason):
        _try_stored(make_stored, checkpoint)
        detector = make_stored()
    if not isinstance(detector, nn.Module):
        raise ValueError(f"{checkpoint.path}: model is no module but {type(detector).__name__}")
    load_weights(detector, checkpoint)
    return detector.eval()


def _try_stored(make_stored: Factory, checkpoint: Checkpoint) -> None:
    """Compare the shapes of a stored detector with its weights before there is memory for it."""
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            detector = make_stored()
    except ValueError as error:
        if isinstance(error.__cause__, RuntimeError):  # which may be of that device, and comes again if it is not
            return
        raise
    if isinstance(detector, nn.Module):
        require_fitting_weights(detector, checkpoint)


def without_pretrained(config: Any) -> dict[str, Any]:  # noqa: ANN401 - of a command line or a file
    """The model's configuration without pretrained weights, which those of the checkpoint replace.

    Raises:
        ValueError: It is no configuration.
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"model must describe a detector, got {config}")
    model: dict[str, Any] = _without_weights(config, "model")
    return model


def _without_weights(node: Any, name: str) -> Any:  # noqa: ANN401 - plain containers
    if isinstance(node, list):
        return [_without_weights(value, name) for value in node]
    if not isinstance(node, Mapping):
        return node
    is_backbone = name == "backbone" or str(node.get("_target_")).startswith("deta.")
    return {
        key: None if key == "weights" and is_backbone else _without_weights(value, key) for key, value in node.items()
    }
