"""Settings of a run, read from a directory that may be of somebody else."""

from pathlib import Path

import pytest

from deta.runs.config import read_config

WHOLE = "seed: 0\ndata: {root: x}\npostprocess: {}\ntrainer: {}\n"


def test_a_configuration_is_read_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(WHOLE)
    assert read_config(tmp_path / "config.yaml")["data"] == {"root": "x"}


@pytest.mark.parametrize("text", ["", "[1]", "{}", "seed: 0\n", "seed: x\n", WHOLE + "x: ${oc.env:SECRET}\n"])
def test_a_damaged_one_and_one_that_would_look_elsewhere_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml is damaged"):
        read_config(tmp_path / "config.yaml")
