"""Words that stand alone, and help with a word."""

from pathlib import Path

import pytest

from deta.console.catalogue import Command
from deta.console.spelling import name_words, spelt_out

KEYS = ("ckpt", "source")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("runs/x photo.jpg", "ckpt=runs/x source=photo.jpg"),
        ("runs/x -", "ckpt=runs/x source=-"),
        ("ckpt=runs/x photo.jpg", "ckpt=runs/x source=photo.jpg"),
        ("draw=false runs/x -m photo.jpg", "draw=false ckpt=runs/x -m source=photo.jpg"),
        ("--config-dir mine runs/x", "--config-dir mine ckpt=runs/x"),
        ("~/x ~key", "ckpt=~/x ~key"),
        ("a b c", "ckpt=a source=b c"),
    ],
)
def test_words_that_stand_alone_get_their_keys_in_order(words: str, named: str) -> None:
    assert name_words(words.split(), KEYS) == named.split()


def test_a_path_that_exists_may_have_an_equals_sign(tmp_path: Path) -> None:
    (tmp_path / "tau=0.5").mkdir()
    assert name_words([f"{tmp_path}/tau=0.5"], KEYS) == [f"ckpt={tmp_path}/tau=0.5"]


def test_a_key_without_an_equals_sign_is_told() -> None:
    with pytest.raises(ValueError, match="joined by '=': ckpt=runs/x"):
        name_words(["ckpt", "runs/x"], KEYS)


def test_paths_that_stand_alone_are_taken_letter_by_letter() -> None:
    assert spelt_out(Command("", KEYS), ["a (1)", "b=c/d.jpg"]) == ["ckpt='a (1)'", "b=c/d.jpg"]


@pytest.mark.parametrize(
    ("words", "spelt"),
    [
        (["--help", "all"], ["--help=all"]),
        (["-h", "seed=1"], ["--help=", "seed=1"]),
        (["seed=1", "--help"], ["seed=1", "--help="]),
        (["--help", "-m"], ["--help=", "-m"]),
    ],
)
def test_help_takes_a_word_but_no_override_and_no_option(words: list[str], spelt: list[str]) -> None:
    assert spelt_out(Command(""), words) == spelt
