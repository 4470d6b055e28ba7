"""docs/systems.md tells of every system, recipe and choice that there is, and of values that they have."""

import re
from collections.abc import Iterator, Mapping
from functools import cache

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from deta.building.combinations import require_agreement
from deta.cli import config_dir
from deta.console.naming import register_resolvers
from tests.conftest import ROOT
from tests.systems.published import DENSE

PAGE = (ROOT / "docs" / "systems.md").read_text(encoding="utf-8")
TEXT = re.sub(r"^```.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL)
SECTIONS = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
VALUES = {system: re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)+)=([^`]+)`", text) for system, text in SECTIONS.items()}
PATHS = sorted(set(re.findall(r"`((?:src|conf)/[^`]+)`", TEXT)))


def names(folder: str) -> set[str]:
    return {path.stem for path in (config_dir() / folder).glob("*.yaml")}


@cache
def systems() -> set[str]:
    """Those whose detector asks queries."""
    found = {name: composed(f"system={name}").model.body._target_ for name in names("system")}
    return {name for name, body in found.items() if body in ("deta.models.QueryBody", "deta.models.FQDetBody")}


@cache
def recipes() -> set[str]:
    """Published recipes of these systems beside DETA's."""
    found = {path.stem: path.read_text() for path in (config_dir() / "experiment").glob("*.yaml")}
    chosen = {name: re.search(r"override /system: (\w+)", text) for name, text in found.items()}
    base = {name: re.search(r"^  - (\w+)$", text, re.MULTILINE) for name, text in found.items()}

    def system_of(name: str) -> str:
        choice, parent = chosen[name], base[name]
        return choice[1] if choice else system_of(parent[1]) if parent else "deta"

    return {name for name in found if system_of(name) in systems() - {"deta"}} - {"deformable_detr_r50_two_stage"}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    part = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line.split("|")[1:-1] for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line] for line in lines[2:]]


def table(heading: str, first: str) -> list[list[str]]:
    """The cells of the table under a heading whose first column is called so."""
    part = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = part.partition(f"\n| {first} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def code(cell: str) -> list[str]:
    """What is written as code in a cell."""
    return re.findall(r"`([^`]+)`", cell)


@pytest.fixture(autouse=True)
def config_folder() -> Iterator[None]:
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield


@cache
def composed(*words: str) -> DictConfig:
    return compose("train", [*words, "name=test", "run_dir=none"])


@pytest.mark.gate
def test_every_system_but_deta_has_a_section() -> None:
    assert set(SECTIONS) == systems() - {"deta"}


@pytest.mark.parametrize("path", PATHS)
def test_every_file_of_the_page_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("system", VALUES)
def test_every_value_of_a_section_is_that_of_the_system(system: str) -> None:
    cfg = composed(f"system={system}", "size=coco")
    assert VALUES[system] or system == "dn_deformable_detr"
    found = {key: OmegaConf.select(cfg, key) for key, _ in VALUES[system]}
    assert {key: str(value).lower() for key, value in found.items()} == dict(VALUES[system])


@pytest.mark.gate
def test_every_recipe_of_a_query_system_has_a_row_with_its_epochs_and_rate() -> None:
    told: dict[str, tuple[list[str], str]] = {}
    for experiments, schedules, rate, *_ in rows("Recipes and published results"):
        each = schedules.split("; ")
        written = code(experiments)
        for name, schedule in zip(written, each * (len(written) if len(each) == 1 else 1), strict=True):
            told[name] = (schedule.split(", "), rate)
    assert set(told) == recipes()
    for name, (expected, rate) in told.items():
        cfg = composed(f"experiment={name}")
        assert ([str(cfg.trainer.max_epochs), *map(str, cfg.schedule.make.milestones)], float(rate)) == (
            expected,
            cfg.optimizer.lr,
        )


def test_every_published_result_is_that_of_the_recipe() -> None:
    for experiments, _, _, _, results, _ in (row for row in rows("Recipes and published results") if row[4]):
        for name, result in zip(code(experiments), re.findall(r"\d+\.\d", results), strict=True):
            assert f"{result} AP" in (config_dir() / "experiment" / f"{name}.yaml").read_text()


@pytest.mark.gate
@pytest.mark.parametrize("heading", ["Dense systems", "Systems of regions"])
def test_every_recipe_of_a_dense_system_or_of_regions_has_a_row_with_its_epochs_and_rate(heading: str) -> None:
    begins = {"Dense systems": ("atss", "centernet", "fcos", "gfl", "retinanet", "tood", "yolox")}
    told = {name: row for row in table(heading, "experiment") for name in code(row[0])}
    assert set(told) == {
        name for name in names("experiment") if name.startswith(begins.get(heading, ("faster_", "tsp_")))
    }
    for name, (_, schedule, optimizer, *_) in told.items():
        cfg = composed(f"experiment={name}")
        kind = cfg.optimizer.make.get("rest", cfg.optimizer.make)._target_.rpartition(".")[2]
        assert re.findall(r"\d+", schedule) == [str(cfg.trainer.max_epochs), *map(str, cfg.schedule.make.milestones)]
        assert (optimizer.split(", ")[0], float(optimizer.split(", ")[1])) == (kind, cfg.optimizer.lr)


def test_every_published_result_of_such_a_recipe_is_that_of_its_file() -> None:
    for heading in ("Dense systems", "Systems of regions"):
        for experiments, _, _, _, results, _ in (row for row in table(heading, "experiment") if row[4]):
            for name, result in zip(code(experiments), re.findall(r"\d+\.\d", results), strict=True):
                text = (config_dir() / "experiment" / f"{name}.yaml").read_text()
                assert f"{result} AP" in text.replace("\n#", "")


def test_every_published_checkpoint_of_a_dense_system_has_its_command() -> None:
    part = PAGE.partition("\n## Dense systems\n")[2]
    commands = [line.split()[2:] for line in part.splitlines() if line.startswith("deta convert system=")]
    told = [{word for word in words if not word.startswith(("source=", "target="))} for words in commands]
    expected = [set(words) for words in DENSE.values()]
    assert all(words in expected for words in told)
    assert all(words in told for words in expected)


COMBINED = {
    system: (has_first == "yes", code(further))
    for systems, has_first, _, further in rows("What can be combined")
    for system in code(systems)
}


@pytest.mark.gate
def test_the_table_of_combinations_holds_every_system() -> None:
    assert set(COMBINED) == systems()


def test_every_rule_that_the_page_names_and_every_choice_of_further_queries_is_one() -> None:
    left_out = {name for _, _, rules, _ in rows("What can be combined") for name in code(rules)}
    assert left_out <= names("rule")
    assert names("further") <= set(code(TEXT.partition("- `further`")[2].partition("\n- ")[0]))


@pytest.mark.parametrize(
    "system", [pytest.param(name, marks=[] if name in ("detr", "dino") else pytest.mark.slow) for name in COMBINED]
)
def test_further_queries_join_a_system_as_the_table_says(system: str) -> None:
    has_first, allowed = COMBINED[system]
    cfg = composed(f"system={system}")
    assert (cfg.criterion.rules.first is not None) == has_first
    assert {choice: is_taken(composed(f"system={system}", f"further=[{choice}]")) for choice in names("further")} == {
        choice: choice in allowed for choice in names("further")
    }


def is_taken(cfg: DictConfig) -> bool:
    try:
        require_agreement(cfg)
    except ValueError:
        return False
    return True


def test_denoising_alone_brings_the_labels_of_a_system_that_starts_with_them() -> None:
    starting = {name for name in systems() if source_of(composed(f"system={name}")).get("content") == "label"}
    (row,) = (code(systems) for systems, _, _, further in rows("What can be combined") if "labels" in further)
    assert starting == set(row)


def source_of(cfg: DictConfig) -> Mapping[str, object]:
    source: Mapping[str, object] = cfg.model.body.source
    return source
