"""Charts with names that somebody else has written."""

import logging
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from deta.drawing.style import chart_text, draw, new_figure, save_figure, style_axes


def shown_by(text: str) -> str:
    """What Matplotlib draws for a text."""
    drawn, is_math = Text(0, 0, text)._preprocess_math(text)  # type: ignore[attr-defined]
    assert is_math is False
    return str(drawn)


@pytest.mark.parametrize("name", ["low_$_high_$_", "5$ note, 10$ note", "$x^$", "a$b", r"\$", "plain", r"$\frac$"])
def test_dollar_signs_are_text(name: str, tmp_path: Path) -> None:
    assert shown_by(chart_text(name)) == name
    figure = new_figure(2, 2, title=name)
    style_axes(figure.subplots(), title=name, x=name, y=name)
    save_figure(figure, tmp_path / "chart.png")


def test_letters_without_a_glyph_are_spelt_out() -> None:
    assert chart_text("a\x1b\udc80") == r"a\x1b\udc80"


def test_a_chart_that_fails_is_a_warning_that_names_it_and_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Figure:
        raise ValueError("no such scale")

    with caplog.at_level(logging.WARNING):
        assert not draw(fail, tmp_path / "chart.png")
    assert f"{tmp_path}/chart.png is not drawn: ValueError: no such scale" in caplog.text
    assert draw(lambda: new_figure(2, 2), tmp_path / "chart.png")
    assert (tmp_path / "chart.png").is_file()
