"""Whatever is typed after a command: taken as it is meant, or refused in one message that says what to do."""

import os
import re
import shlex
from itertools import islice
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from deta.console.quoting import gather_training_words, quote_paths, quoted, shell_line, unquoted
from tests.commands.hostile_words import hostile_words
from tests.commands.running import TINY_TRAINING, deta, fail, succeed

LETTERS = st.sampled_from("a/\\'\" =~,[](){}:*#%&é\t!@^-+.0") | st.characters(exclude_categories=["Cs"])
PARSER = OverridesParser.create()


def value_of(word: str) -> object:
    """What Hydra reads from an override."""
    return PARSER.parse_override(word).value()


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=LETTERS).filter(lambda text: "${" not in text))
def test_a_quoted_text_is_read_letter_by_letter(text: str) -> None:
    assert value_of(f"data.root={quoted(text)}") == text
    assert unquoted(quoted(text)) == text


@pytest.mark.parametrize(
    "path", ["/a=b", "/a(b)", "/a[1]", "/my data (2)", "/a,b", "/a{b}", "/x:y", "/tau=0.5", "/é'ö", "3"]
)
def test_paths_are_taken_as_they_are_typed(path: str) -> None:
    for key in ("data.root", "ckpt", "source", "folder", "weights", "hydra.run.dir", "+data.root"):
        (word,) = quote_paths([f"{key}={path}"], is_sweep=False)
        assert value_of(word) == path


def test_a_tilde_is_the_home_folder() -> None:
    words = quote_paths(["data.root=~/x y", "ckpt=~", "source=a~b"], is_sweep=False)
    assert [value_of(word) for word in words] == [f"{os.environ['HOME']}/x y", os.environ["HOME"], "a~b"]


@pytest.mark.parametrize("word", ["ckpt=null", "weights=true", "data.root=", "data.root='/a b'", "seed=1", "-m", "x"])
def test_other_words_stay(word: str) -> None:
    assert quote_paths([word], is_sweep=False) == [word]


def test_in_a_sweep_commas_part_paths() -> None:
    (word,) = quote_paths(["data.root=/a=1,/b c"], is_sweep=True)
    assert list(PARSER.parse_override(word).sweep_string_iterator()) == ["'/a=1'", "'/b c'"]
    assert quote_paths(["data.root=[a,b]"], is_sweep=True) == ["data.root=[a,b]"]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=LETTERS).filter(lambda text: "${" not in text), st.booleans())
def test_a_line_for_the_shell_gives_the_same_words_again(path: str, is_of_sweep: bool) -> None:
    words = [f"data.root={quoted(path)}", "criterion.rules.layers.assigner={tau: 0.5}", f"name={quoted(path)}"]
    words += ["sweep=tau", "hydra.mode=RUN"] if is_of_sweep else []
    assert quote_paths(shlex.split(shell_line(words)), is_sweep=is_of_sweep) == words


def test_a_line_for_the_shell_quotes_once() -> None:
    assert shell_line(["seed=1", "hydra.run.dir='/a/b'"]) == "seed=1 hydra.run.dir=/a/b"
    assert shell_line(["hydra.run.dir='/a b'"]) == "'hydra.run.dir=/a b'"


def test_words_of_trainings_are_told_from_those_of_the_command() -> None:
    words = ["study=x", "-m", "paralel=2", "data.root='/a'", "optimizer.lr=${seed}", "~data.seed=1"]
    *kept, passed = gather_training_words(words, ("study", "parallel"))
    assert kept == ["study=x", "-m", "paralel=2"]
    assert value_of(passed) == ["data.root='/a'", r"optimizer.lr=\${seed}", "~data.seed=1"]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        (
            "postprocess=nan",
            "one of its choices: nms, one_per_query, peaks, per_level, regions, topk",
        ),
        ("criterion=[null]", "takes the name of one of its choices: "),
        ("criterion={rematch: per_layer}", "one by one, such as criterion.rules.layers.rematch=per_layer"),
        ("callbacks=false", "takes the name of one of its choices: common, default, early_stopping, ema"),
        ("cluster=[1,2]", "takes the name of one of its choices: none, sbatch"),
        ("evaluator=[coco,lvis]", "takes the name of one of its choices: coco,"),
        ("further=[denoise,copie]", "did you mean further=copies?"),
        ("model=null", "takes the name of one of its choices"),
        ("data=shape", "did you mean data=shapes?"),
        ("evaluations=../../x", "evaluations=../../x: it has keys of its own"),
        ("optimizer.make._partial_=-1", "_partial_ says how a part is built, which is no setting"),
        ("~evaluator._target_", "without the name of its class a part cannot be built"),
        ("callbacks.best.filename=3", "callbacks.best.filename must be best"),
        ("logger.file.folder=''", "it has no value"),
        ("callbacks.learning_rate={}", "an empty {} changes nothing"),
        ("model.body.hiden_dim=3", "did you mean model.body.hidden_dim?"),
        ("modle.hidden_dim=3", "did you mean model.body.hidden_dim or model.neck.hidden_dim?"),
        ("trainer._target_=torch.nn.Identity", "trainer must make a Trainer; torch.nn.Identity gives Identity"),
        ("name=a(b", 'as a text it is written "name='),
        (
            "+hydra.sweeper.params.seed='1,2'",
            "hydra.sweeper.params is null, which a configuration file alone can change",
        ),
        ("hydra.run.dir=null", "hydra.run.dir=null: it takes the path of a file or folder"),
        ("data.val_annotations=false", "data.val_annotations=false: it takes the path of a file or folder"),
        ("--lr=3", "values are given without dashes: optimizer.lr=3"),
        ("--wat", "unrecognized arguments: --wat"),
        ("=3", "an override is key=value"),
        ("oops", "an override is key=value"),
        ("", "'': an override is key=value"),
        ("run_dir=null", "run_dir=null: it follows the directory of the run: hydra.run.dir=<folder>"),
        ("~trainer.max_epochs", "trainer.max_epochs cannot be removed (~): give it a value"),
        ("x.\x1b[31m=3", r"x.\x1b[31m"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(word: str, reason: str, tmp_path: Path) -> None:
    message = fail("train", *TINY_TRAINING, f"hydra.run.dir={tmp_path}", word)
    assert reason in message
    assert "\x1b" not in message


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = fail("train", *TINY_TRAINING, f"hydra.run.dir={tmp_path}/file/run")
    assert f"{tmp_path}/file/run" in message


def test_further_queries_of_several_kinds_are_chosen_together() -> None:
    told = succeed("train", "experiment=deta_shapes", "further=[denoise,copies]", "--cfg", "job").out
    assert "denoise:" in told
    assert "copies:" in told


def test_options_stand_anywhere() -> None:
    plain = succeed("train", "experiment=deta_shapes", "seed=3", "--cfg", "job").out
    assert succeed("train", "experiment=deta_shapes", "--cfg", "job", "seed=3").out == plain
    assert succeed("--cfg", "job", "train", "experiment=deta_shapes", "seed=3").out == plain


def test_a_command_that_is_none_is_told_with_the_nearest() -> None:
    assert "no command 'trian'; did you mean deta train?" in fail("trian", "seed=1")
    assert "did you mean deta data check?" in fail("data", "chek")
    assert "did you mean deta data check?" in fail("dat", "check")
    assert "did you mean deta --help?" in fail("--hepl")


def test_showing_a_sweep_starts_nothing(tmp_path: Path) -> None:
    shown = succeed("train", "experiment=deta_shapes", "sweep=tau", "--cfg", "job", f"hydra.sweep.dir={tmp_path}/s")
    assert "criterion:" in shown.out
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("command", ["train", "study", "search", "runs resume", "predict", "data assign", "doctor"])
def test_help_explains_the_keys_of_the_command(command: str) -> None:
    text = succeed(*command.split(), "--help", "all").out
    assert text.startswith(f"deta {command}: ")
    assert re.search(rf"^usage: deta {command} .*\[key=value \.\.\.\]", text, re.MULTILINE)
    keys = {
        "train": "  seed=0                                      of weights, data order, augmentation and assignment",
        "predict": "  source=???                                  image, folder, quoted glob, list (.txt), address, ",
        "study": "  parallel=1                                  trainings at once on this machine",
        "data assign": "  anchors.scale=0.05                          side of an anchor on the finest level",
    }
    assert keys.get(command, "") in text


def test_hostile_words_never_end_in_a_trace() -> None:
    for word in islice(hostile_words(seed=1), 10):
        outcome = deta("train", "experiment=deta_shapes", word, "--cfg", "job")
        assert outcome.code in (0, 1, 2)
        assert "Traceback" not in outcome.err


@pytest.mark.gate
def test_trainings_with_hostile_words_never_end_in_a_trace(tmp_path: Path) -> None:
    """``HOSTILE_SEED`` and ``HOSTILE_NUMBER`` in the environment try others and more."""
    seed, number = (int(os.environ.get(f"HOSTILE_{name}", default)) for name, default in (("SEED", 2), ("NUMBER", 300)))
    for place, word in enumerate(islice(hostile_words(seed), number)):
        outcome = deta("train", *TINY_TRAINING, f"hydra.run.dir={tmp_path}/{place}", word)
        assert "Traceback" not in outcome.err, word


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cluster.submit=-1"], "cluster.submit must be null or sbatch (cluster=sbatch), got -1"),
        (["cluster.submit=ssh"], "cluster.submit must be null or sbatch (cluster=sbatch), got 'ssh'"),
        (["++x=1"], "nothing reads x: the configuration has no key x"),
        (["+rate.low=1"], "nothing reads rate: "),
        (["+sed=1"], "nothing reads sed: the configuration has no key sed; did you mean seed?"),
    ],
)
def test_what_would_have_no_effect_is_refused(words: list[str], message: str, tmp_path: Path) -> None:
    assert message in fail("train", *TINY_TRAINING, *words, "dry_run=true", f"hydra.run.dir={tmp_path}/run")


def test_a_value_of_ones_own_is_taken_where_another_refers_to_it(tmp_path: Path) -> None:
    words = ("+rate=1e-3", "optimizer.lr=${rate}", "dry_run=true", f"hydra.run.dir={tmp_path}/run")
    assert "+rate=1e-3" in succeed("train", *TINY_TRAINING, *words).out
