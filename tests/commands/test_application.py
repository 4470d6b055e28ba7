"""What a command finds out about its configuration before it begins."""

import re
from pathlib import Path
from unittest import mock

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from deta import cli
from tests.commands.running import TINY_TRAINING, deta, fail, succeed


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        ("eval", ["ckpt"]),
        ("predict", ["ckpt", "source"]),
        ("predict ckpt=x", ["source"]),
        ("convert source=x", ["target"]),
        ("report", ["folder"]),
        ("runs resume", ["folder"]),
        ("data shard", ["out"]),
        ("train --config-dir mine data=mine", ["data.root", "data.batch_size"]),
        ("train --config-dir mine data=mine -m data.batch_size=1,2", ["data.root"]),
        ("train --config-dir mine data=mine sweep=mine", ["data.root"]),
    ],
)
def test_all_missing_values_are_named_before_the_command_is_imported_and_without_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, keys: list[str]
) -> None:
    for group, text in {
        "data": "root: ???\nbatch_size: ???\n",
        "sweep": "# @package hydra\nmode: MULTIRUN\nsweeper:\n  params:\n    data.batch_size: 1,2\n",
    }.items():
        (tmp_path / "mine" / group).mkdir(parents=True)
        (tmp_path / "mine" / group / "mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "import_module", None)
    expected = "; ".join(f"{key} has no value yet: give {key}=<value>" for key in keys)
    assert re.search(rf"deta: {re.escape(expected)}( \(deta [^;]*\))?\n", fail(*command.split()))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_stored_predictions_need_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "ckpt" not in deta("eval", "--from", "nothing.json").err


def test_a_configuration_that_is_no_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "broken.yaml").write_text("seed: 1\ndata: {root: ]\n")
    message = fail("train", "--config-dir", str(tmp_path), "experiment=broken", "dry_run=true")
    assert f'in "{tmp_path}/experiment/broken.yaml", line 2' in message


@pytest.mark.parametrize("part", ["sweeper", "launcher", "callbacks.cells", "callbacks.place"])
@pytest.mark.parametrize("sweep", [(), ("-m",)])
def test_a_command_without_what_runs_it_is_refused(part: str, sweep: tuple[str, ...]) -> None:
    message = fail("train", *sweep, "experiment=deta_shapes", f"hydra.{part}=null", "dry_run=true")
    assert f"hydra.{part}=null: the command needs it; leave this word out" in message


@pytest.mark.parametrize("words", [("dry_run=true",), ("dry_run=true", "hydra.mode=RUN"), ("--cfg", "job")])
def test_a_command_composes_its_configuration_once(words: tuple[str, ...]) -> None:
    compose = ConfigLoaderImpl._load_configuration_impl
    with mock.patch.object(ConfigLoaderImpl, "_load_configuration_impl", autospec=True, side_effect=compose) as spy:
        succeed("train", "experiment=deta_shapes", *words)
    names = [call.kwargs.get("config_name") for call in spy.call_args_list]
    assert names.count("train") == 1


def test_the_last_word_says_whether_a_run_is_dry(tmp_path: Path) -> None:
    outcome = deta("train", "dry_run=true", *TINY_TRAINING, "dry_run=false", f"hydra.run.dir={tmp_path}/run")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "run" / ".hydra" / "overrides.yaml").is_file()
    assert (tmp_path / "run" / "train.log").is_file()


def test_a_choice_that_a_file_of_ones_own_asks_for_is_asked_for_by_its_group(tmp_path: Path) -> None:
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "one.yaml").write_text("value: 1\n")
    (tmp_path / "mine.yaml").write_text("defaults:\n  - train\n  - extra: ???\n  - _self_\n")
    outcome = deta(
        "train", "--config-dir", str(tmp_path), "--config-name", "mine", *TINY_TRAINING, f"hydra.run.dir={tmp_path}/run"
    )
    assert outcome.code == 1
    assert "extra=" in outcome.err
    assert "hydra.runtime" not in outcome.err


@pytest.mark.parametrize("word", ["++dry_run=True", "dry_run=TRUE", "dry_run=1", "dry_run=yes"])
def test_a_dry_run_however_it_is_spelt_leaves_no_file(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = deta("train", word, "experiment=deta_shapes", "hydra.run.dir=run")
    if word.lower().endswith("true"):
        assert outcome.out.startswith("deta train experiment=deta_shapes ")
    else:
        assert "dry_run must be true or false, got" in outcome.err
    assert not list(tmp_path.iterdir())
