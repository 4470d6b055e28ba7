"""What a terminal shows."""

import io
import sys

import pytest

from deta.utils.terminal import progress, show


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(monkeypatch: pytest.MonkeyPatch, text: str, stream: io.StringIO) -> str:
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    show(text)
    return stream.getvalue()


def test_a_pipe_gets_the_letters_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(monkeypatch, "a  done\nb  failed", io.StringIO()) == "a  done\nb  failed\n"


def test_a_terminal_gets_the_same_letters_with_states_in_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(monkeypatch, "a  done\nb  [red]failed :smile:", Terminal())
    assert "\x1b[1;32mdone" in text
    assert "\x1b[1;31mfailed" in text
    assert "[red]" in text  # no markup
    assert ":smile:" in text


def test_lines_are_not_broken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert printed(monkeypatch, "x" * 90, Terminal()).count("\n") == 1


def test_items_come_in_their_order_with_and_without_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert list(progress(iter([1, 2]), total=2, what="images")) == [1, 2]
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress(iter([1, 2]), total=2, what="images")) == [1, 2]
    assert "images" in terminal.getvalue()
