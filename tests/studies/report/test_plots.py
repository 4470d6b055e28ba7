"""Charts as the page gets them."""

import json

import pytest

from deta.studies.report.plots import Plot, Trace, View, counts, plain_text, to_json


def plot(*views: View, absent: str = "") -> Plot:
    return Plot("name", "Title", "Caption.", ("metric",), views, absent)


def test_numbers_are_short_and_what_is_not_finite_is_null() -> None:
    trace = Trace({"y": (0.123456789, float("nan"), 3), "line": {"width": 2.0}}, (1,), label="a")
    content = to_json(plot(View(("AP",), (trace,), {})))
    (view,) = content["views"]
    assert view["choice"] == ["AP"]
    assert view["traces"] == [
        {"spec": {"y": [0.123457, None, 3], "line": {"width": 2.0}}, "cells": [1], "grid": None, "label": "a"}
    ]
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_names_are_no_tags_of_plotly() -> None:
    assert plain_text("<b>&") == "&lt;b&gt;&amp;"


def test_a_plot_says_why_it_is_empty() -> None:
    assert to_json(plot(absent="No data."))["views"] == []
    with pytest.raises(ValueError, match="does not say why"):
        plot()


def test_a_view_chooses_for_every_control() -> None:
    with pytest.raises(ValueError, match="must choose"):
        plot(View(("AP", "nms"), (), {}))


@pytest.mark.parametrize(("most", "step"), [(1, 1), (6, 1), (12, 2), (50, 5), (600, 100), (90_000, 10_000)])
def test_an_axis_of_counts_has_whole_ticks_and_no_more_than_ten(most: float, step: int) -> None:
    assert counts("epochs", most)["dtick"] == step
    assert most / step <= 10
