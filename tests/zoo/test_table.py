"""What the table of published weights says, and where it was read."""

import re

import pytest
import yaml
from torchvision.models import get_weight

from deta.studies.conf import config_dir
from deta.zoo import Entry, entries, entry
from deta.zoo.table import TABLE

ENTRIES = list(entries().values())
FACTS = ("ap", "url", "size", "sha256")


@pytest.mark.parametrize("weights", ENTRIES, ids=lambda weights: weights.name)
def test_every_fact_names_its_source(weights: Entry) -> None:
    told = {fact for fact in FACTS if getattr(weights, fact) is not None}
    assert weights.read_in.keys() == told | {"licence"}
    for address in weights.read_in.values():
        assert re.fullmatch(r"https://github\.com/[\w-]+/[\w-]+/blob/[0-9a-f]{40}/[\w./-]+", address)
    assert weights.ap is not None
    assert 20 < weights.ap < 70
    assert weights.url is not None
    assert weights.needs_browser == (weights.file == f"{weights.name}.pth")
    assert weights.sha256 is None or re.fullmatch("[0-9a-f]{8,64}", weights.sha256)
    assert (config_dir() / "system" / f"{weights.system}.yaml").is_file()


def test_every_system_has_weights_but_those_of_which_none_were_published() -> None:
    systems = {path.stem for path in (config_dir() / "system").glob("*.yaml")}
    assert systems - {weights.system for weights in ENTRIES} == {"efficient_detr", "tsp_rcnn"}


def test_sums_that_stand_in_names_of_files_are_the_begin_of_them() -> None:
    for weights in ENTRIES:
        if weights.sha256 is not None:
            assert f"-{weights.sha256}." in weights.file


def test_no_two_weights_share_a_file() -> None:
    assert len({weights.file for weights in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize(
    "weights", [each for each in ENTRIES if "pytorch/vision" in each.repository], ids=lambda weights: weights.name
)
def test_facts_of_torchvision_are_those_of_the_package(weights: Entry) -> None:
    assert weights.url is not None
    theirs = get_weight(weights.url.removeprefix("torchvision:"))
    assert weights.address() == theirs.url
    assert theirs.url.endswith(f"/{weights.file}")
    assert weights.ap == theirs.meta["_metrics"]["COCO-val2017"]["box_map"]
    assert weights.size == f"{theirs.meta['_file_size']} MB"


def test_words_of_a_training_leave_out_what_is_of_the_conversion_alone() -> None:
    assert entry("fqdet_r50_encoder_12ep").model_words == ("system=fqdet", "model=fqdet_r50_encoder")


def test_the_table_has_no_further_keys() -> None:
    content = yaml.safe_load(TABLE.read_text())
    assert {name for source in content["sources"].values() for name in source["read_in"]} <= {*FACTS, "licence"}
