"""Every configuration file composes, and every experiment builds what it names."""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

import optuna
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from deta.building.build import group_settings, make_detector
from deta.cli import config_dir
from deta.commands.train import make_trainer
from deta.console.naming import register_resolvers
from deta.losses import Criterion
from deta.models import Detector
from deta.studies.space import Parameter, as_override
from deta.training.optim import parameter_groups, parameter_kinds

CONF = config_dir()
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
GROUP_FILES = sorted(
    (str(folder.name), path.stem)
    for folder in CONF.iterdir()
    if folder.is_dir() and folder.name not in ("experiment", "categories", "study")
    for path in folder.glob("*.yaml")
)
MOUNTED = {
    "assigner": "assigner@criterion.rules.layers.assigner",
    "backbone": "backbone@model.backbone",
    "class_term": "class_term@criterion.rules.layers.class_terms.class",
    "codec": "+codec@model.body.codec",
    "decoder": "decoder@model.body.decoder",
    "dense_head": "+dense_head@model.body.head",
    "region_head": "+region_head@model.body.head",
    "encoder": "encoder@model.body.encoder",
    "neck": "+neck@model.neck",
    "priors": "+priors@model.body.priors",
    "width": "width@model",
    "queries": "queries@model.body.source",
    "role": "+role@criterion.rules.further",
    "score": "+score@postprocess.score",
}
"""Groups that do not lie at the top of the configuration."""
ALONE = ("system", "model", "criterion", "rule", "sweep")
"""Groups on which it depends what others there are."""
OF_A_SYSTEM = {"model", "criterion", "rule"}
"""Groups whose files compose with every system, experiment and combination that takes them, in tests of their own."""
OF_OTHER_COMMANDS = ("search", "compare")


def together() -> list[Mapping[str, str]]:
    """Files by group, so that a few compositions take all; what DETA does not have stands alone too."""
    alone: list[Mapping[str, str]] = []
    names: dict[str, list[str]] = {}
    for group, name in GROUP_FILES:
        if group == "system":
            continue  # they compose in their own tests
        if group in ALONE or MOUNTED.get(group, group).startswith("+"):
            alone.append({group: name})
        elif group not in OF_OTHER_COMMANDS and name != "stored":
            names.setdefault(group, []).append(name)
    rounds = zip_longest(*([(group, name) for name in listed] for group, listed in names.items()))
    return [*alone, *(dict(filter(None, each)) for each in rounds)]


TOGETHER = together()


@pytest.fixture(autouse=True)
def config_folder() -> Iterator[None]:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def compose_train(overrides: list[str], run_dir: Path) -> DictConfig:
    """The configuration of ``deta train`` with its interpolations resolved."""
    cfg = compose("train", [*overrides, f"run_dir={run_dir}", "name=test"])
    OmegaConf.resolve(cfg)
    return cfg


@pytest.mark.parametrize(
    "together",
    [pytest.param(each, marks=pytest.mark.slow if OF_A_SYSTEM & each.keys() else []) for each in TOGETHER],
    ids=lambda files: "-".join(files.values())[:60],
)
def test_every_file_of_every_group_composes(together: Mapping[str, str], tmp_path: Path) -> None:
    words = [f"{MOUNTED.get(group, group)}={name}" for group, name in together.items()]
    assert OmegaConf.to_yaml(compose_train(words, tmp_path))


@pytest.mark.parametrize(
    ("group", "name"), [each for each in GROUP_FILES if each[0] in OF_OTHER_COMMANDS or each[1] == "stored"]
)
def test_every_file_of_a_group_of_another_command_composes(group: str, name: str) -> None:
    if name == "stored":
        cfg = compose("eval", ["ckpt=none", "run_dir=none"])
    elif group == "search":
        cfg = compose("search", [f"search={name}"])
    else:
        own = f"+compare@compare.own={name}" if name == "anchors" else f"compare=[{name}]"
        cfg = compose("data_assign", [own])
    assert OmegaConf.to_yaml(cfg)


@pytest.mark.gate
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_builds_its_parts(name: str, tmp_path: Path) -> None:
    cfg = compose_train([f"experiment={name}", "logger=file", "trainer.accelerator=cpu"], tmp_path)
    if "weights" in cfg.model.backbone:
        cfg.model.backbone.weights = None
    with torch.device("meta"):
        detector = make_detector(cfg.model, 7)
    assert isinstance(detector, Detector)
    assert isinstance(instantiate(cfg.criterion, _convert_="all"), Criterion)
    assert callable(instantiate(cfg.postprocess, _convert_="all"))
    assert callable(instantiate(cfg.evaluator, _convert_="all"))
    assert instantiate(cfg.data, _convert_="all") is not None
    groups = parameter_groups(
        detector.named_parameters(), lr=cfg.optimizer.lr, **group_settings(cfg), kinds=parameter_kinds(detector)
    )
    schedule = instantiate(cfg.schedule.make, _convert_="all")(instantiate(cfg.optimizer.make)(groups))
    assert cfg.optimizer.lr in schedule.base_lrs
    trainer = make_trainer(cfg)
    assert trainer.max_epochs == cfg.trainer.max_epochs
    assert not trainer._accelerator_connector.use_distributed_sampler


@pytest.mark.parametrize(
    ("experiment", "twin"),
    [
        ("deta_r50_12ep", "improved_baseline_r50_12ep"),
        ("deta_r50_lvis_12ep", "improved_baseline_r50_lvis_12ep"),
        ("deta_bccd_squeezenet", "deta_bccd_squeezenet_one_to_one"),
        ("deta_shapes", "deta_shapes_one_to_one"),
    ],
)
def test_twins_differ_in_assignment_and_post_processing_alone(experiment: str, twin: str, tmp_path: Path) -> None:
    first, second = (compose_train([f"experiment={name}"], tmp_path) for name in (experiment, twin))
    assert {key for key in first if first[key] != second[key]} == {"criterion", "postprocess"}
    for role in ("first", "layers"):
        for key in ("class_terms", "box_terms", "normalizer", "ignore_coverage"):
            assert first.criterion.rules[role][key] == second.criterion.rules[role][key]


def test_lvis_recipe_evaluates_300_detections_with_the_rules_of_lvis(tmp_path: Path) -> None:
    for name in ("deta_r50_lvis_12ep", "improved_baseline_r50_lvis_12ep"):
        cfg = compose_train([f"experiment={name}"], tmp_path)
        assert cfg.postprocess.max_detections == cfg.evaluator.max_detections == 300
        assert cfg.evaluator._target_.endswith("LvisEvaluator")
        assert (cfg.data.layout, cfg.data.repeat_threshold, cfg.criterion.rules.layers.federated) == (
            "lvis",
            0.001,
            False,
        )
        assert cfg.trainer.max_epochs == 12


def test_recipe_of_the_paper() -> None:
    cfg = compose("train", ["experiment=deta_r50_12ep", "name=test", "run_dir=none"])
    assert (cfg.trainer.max_epochs, list(cfg.schedule.make.milestones), cfg.schedule.make.gamma) == (12, [10], 0.1)
    assert (cfg.optimizer.lr, cfg.optimizer.make.weight_decay, cfg.trainer.gradient_clip_val) == (2e-4, 1e-4, 0.1)
    assert set(cfg.optimizer.lr_factors.values()) == {0.1}
    assert (cfg.model.body.source.num_queries, cfg.model.neck.num_levels) == (900, 5)
    first, second = cfg.criterion.rules.first.assigner, cfg.criterion.rules.layers.assigner
    assert (first.tau, second.tau, second.gamma, second.max_per_target) == (0.7, 0.6, 0.25, 4)


SEARCHES = sorted(path.stem for path in (CONF / "search").glob("*.yaml") if path.stem != "default")


@pytest.mark.parametrize("name", SEARCHES)
def test_every_search_sets_keys_that_a_training_has(name: str, tmp_path: Path) -> None:
    cfg = compose("search", [f"search={name}"])
    assert isinstance(instantiate(cfg.search.sampler)(seed=1), optuna.samplers.BaseSampler)
    assert isinstance(instantiate(cfg.search.pruner), optuna.pruners.BasePruner)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    content = OmegaConf.to_container(cfg.search.parameters, resolve=True)
    assert isinstance(content, dict)
    values = {str(key): Parameter.from_content(str(key), part).suggest(study.ask()) for key, part in content.items()}
    assert values
    trained = compose_train([as_override(key, value) for key, value in values.items()], tmp_path)
    assert {key: OmegaConf.select(trained, key) for key in values} == values
