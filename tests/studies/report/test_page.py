"""The page as a file."""

import base64
import gzip
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from plotly import graph_objects
from plotly.offline import get_plotlyjs

from deta.studies.report import write_report
from deta.studies.report.page import page
from deta.studies.results import Axis, Comparison
from tests.studies.invented import AXES, invented_comparison
from tests.studies.report.making import cell, comparison

HOSTILE = '</script><script>alert("1")</script>&amp;'


class Reader(HTMLParser):
    """Counts elements, and collects what they load and what the data element holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.sources: list[str] = []
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.sources += [str(value) for name, value in attrs if name in ("src", "href")]
        self.ids += [str(value) for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def data_of(text: str) -> dict[str, Any]:
    """What the scripts of a page read."""
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert match is not None
    content: dict[str, Any] = json.loads(match[1])
    return content


def test_the_report_is_a_page_and_its_tables(report: Path) -> None:
    names = {f"{table}.{ending}" for table in ("table", "runs") for ending in ("csv", "md", "tex")}
    assert {path.name for path in report.parent.iterdir()} == {"report.html", *names}
    assert (report.parent / "table.csv").read_text().count("\n") == 13


def test_the_page_is_whole_in_itself_and_small_enough_to_send(report: Path) -> None:
    reader = Reader(report.read_text())
    assert reader.counts["script"] == 3
    assert "img" not in reader.counts  # they are drawn from the data
    assert {source.partition(":")[0] for source in reader.sources} == {"data"}
    assert report.stat().st_size < 4e6


def test_the_packed_plotly_is_the_whole_one(report: Path) -> None:
    match = re.search(r'<script type="application/octet-stream" id="plotly">(.*?)</script>', report.read_text())
    assert match is not None
    assert gzip.decompress(base64.b64decode(match[1])).decode() == get_plotlyjs()


def test_every_identifier_stands_once(report: Path) -> None:
    ids = Reader(report.read_text()).ids
    assert len(ids) == len(set(ids))


def test_plotly_knows_every_word_of_every_chart(report: Path) -> None:
    plots = data_of(report.read_text())["plots"]
    assert [plot["name"] for plot in plots] == ["curves", "seeds", "heat_map", "sizes", "instability", "cost"]
    for plot in plots:
        assert plot["views"]
        for view in plot["views"]:
            specs = [trace["spec"] for trace in view["traces"]]
            figure = graph_objects.Figure(data=specs, layout=view["layout"])  # raises ValueError
            assert len(figure.data) == len(specs) > 0


def test_every_cell_has_a_level_on_every_axis(report: Path, invented: Comparison) -> None:
    content = data_of(report.read_text())
    levels = [["0.6", "4", "nms"], ["0.6", "4", "topk"], ["0.6", "1", "nms"]]
    assert [each["levels"] for each in content["cells"][:3]] == levels
    assert [each["complete"] for each in content["cells"]] == [each.is_complete for each in invented.cells]


def test_names_are_data(tmp_path: Path) -> None:
    axes = (Axis(HOSTILE, (), (HOSTILE, "0.5")), AXES[1])
    whole = replace(invented_comparison(tmp_path, axes=axes, num_pictures=1), name=HOSTILE, title=HOSTILE)
    text = page(replace(whole, notes=(HOSTILE,)))
    reader = Reader(text)
    assert reader.counts["script"] == 3
    assert "<script>alert" not in text
    assert HOSTILE in "".join(reader.texts)
    assert data_of(text)["name"] == HOSTILE


def test_what_there_are_no_data_for_says_so() -> None:
    text = page(comparison(cell(None, tau="0.6"), cell(None, tau="0.5"), base={"tau": "0.6"}, axes=("tau",)))
    assert text.count('class="plot"') == 0
    assert text.count("<li>") == 1 + 6  # how to read the table, and a reason for each chart
    assert "No run that is done has pictures with their boxes as data." in text
    assert "0 of 2" in text


def test_many_notes_leave_room_for_the_table() -> None:
    notes = tuple(f"note {k}." for k in range(9))
    text = page(replace(comparison(cell(0.3, tau="1"), base={"tau": "1"}), notes=notes))
    shown, _, hidden = text.partition("3 more notes")
    assert [note in shown for note in notes] == [True] * 6 + [False] * 3
    assert all(note in hidden for note in notes[6:])


def test_an_empty_comparison_is_a_page(tmp_path: Path) -> None:
    path = write_report(comparison(base={}), tmp_path)
    assert "0 of 0" in path.read_text()


def test_rows_of_every_format_make_the_files_beside_the_page(report: Path) -> None:
    for name, table in (("table", "cells"), ("runs", "runs")):
        for ending, written in data_of(report.read_text())["tables"][table]["formats"].items():
            text = "".join([written["head"], *written["rows"], written["foot"]])
            assert text == (report.parent / f"{name}.{ending}").read_text()
