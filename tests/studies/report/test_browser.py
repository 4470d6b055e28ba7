"""The page in a real browser, without a network."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from deta.studies.report import write_report
from deta.studies.results import Axis
from deta.studies.tables import ABSENT
from tests.studies.invented import AXES, invented_comparison
from tests.studies.report.conftest import LAUNCH_MILLISECONDS

pytestmark = pytest.mark.browser

CHARTS = ("curves", "seeds", "heat_map", "sizes", "instability", "cost")
MARKS = ".scatterlayer .trace path, .barlayer .point path, .heatmaplayer image"
"""What Plotly draws for values: lines, points, bars and the tiles of a heat map."""
LAYOUT = (Path(__file__).parent / "layout.js").read_text(encoding="utf-8")
INK = "getComputedStyle(document.querySelector('#plot-curves .ytitle')).fill"
"""Colour of what stands in a chart."""
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WORDS = ("Ablation", "Learning curves", "ground truth", "0.6", "base", "better", "worse", "All runs", "device hours")
"""Some of what a reader must see in every window."""
HOSTILE = '<script>document.title = "taken"</script><img src=x onerror="document.title = 1">'

Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Opens a page offline; at the end it must have asked for nothing and complained about nothing."""
    wrong: list[str] = []
    contexts = []

    def open_page(
        path: Path, *, width: int = 1400, scheme: Literal["light", "dark"] = "light", address: str = ""
    ) -> Page:
        context = browser.new_context(
            offline=True,
            color_scheme=scheme,
            viewport={"width": width, "height": 900},
            accept_downloads=True,
            permissions=["clipboard-read", "clipboard-write"],
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(LAUNCH_MILLISECONDS)
        own = path.resolve().as_uri()
        page.on("request", lambda request: wrong.append(request.url) if is_foreign(request.url, own) else None)
        page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"{own}#{address}")
        page.wait_for_selector("html[data-drawn]", state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def is_foreign(url: str, own: str) -> bool:
    """Whether an address is neither the page nor inside of it."""
    return url.partition("#")[0] != own and not url.startswith(("data:", "blob:"))


def rows(page: Page) -> list[list[str]]:
    """Texts of the rows of the ablation table that are shown."""
    script = "rows => rows.filter(row => !row.hidden).map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    found: list[list[str]] = page.locator("#cells tbody tr").evaluate_all(script)
    return found


def num_marks(page: Page, chart: str) -> int:
    """Lines, points, bars and tiles that have a shape."""
    script = "marks => marks.map(mark => (mark.getAttribute('d') ?? mark.getAttribute('href') ?? '').length)"
    lengths = page.locator(f"#plot-{chart} :is({MARKS})").evaluate_all(script)
    return sum(length > len("M0,0L0,0") for length in lengths)


def num_lines(page: Page, chart: str) -> int:
    """Curves of a chart, without their bands."""
    return page.locator(f"#plot-{chart} .scatterlayer .lines path.js-line").count()


def tiles(page: Page) -> list[str]:
    """Texts on the tiles of the heat map."""
    return [text for text in page.locator("#plot-heat_map .heatmap-label").all_text_contents() if text.strip()]


def until(page: Page, condition: Callable[[], bool]) -> None:
    """Wait for what the page does in its own time; its rules let no test wait by a script."""
    deadline = time.monotonic() + LAUNCH_MILLISECONDS / 1000
    while not condition():
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


def luminance(page: Page, script: str) -> float:
    """Brightness 0..255 of a colour of the page."""
    channels = page.evaluate(script).removeprefix("rgba(").removeprefix("rgb(").rstrip(")").split(",")
    return sum(float(channel) for channel in channels[:3]) / 3


def switch(page: Page, scheme: Literal["light", "dark"]) -> None:
    """Change the colours of the system, and wait until the charts have followed."""
    page.emulate_media(color_scheme=scheme)
    until(page, lambda: (luminance(page, INK) > 128) == (scheme == "dark"))


@pytest.mark.gate
def test_every_chart_is_drawn_without_a_network(opened: Open, report: Path) -> None:
    page = opened(report)
    assert {chart: num_marks(page, chart) > 0 for chart in CHARTS} == dict.fromkeys(CHARTS, True)
    assert len(rows(page)) == 12
    assert num_lines(page, "curves") == 5 + 5  # a line and a band for each training that has started
    assert len(tiles(page)) == 5
    expect(page.locator("#plot-heat_map")).to_contain_text("missing")
    sizes = page.locator("#pictures img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert sizes == [640] * (1 + 5)


@pytest.mark.gate
def test_levels_words_and_completeness_filter_the_table_and_all_charts(opened: Open, report: Path) -> None:
    page = opened(report)
    before = {chart: num_marks(page, chart) for chart in CHARTS}
    page.get_by_role("group", name="tau").get_by_label("0.5").uncheck(force=True)
    expect(page.locator("#count")).to_have_text("8 of 12 cells")
    assert {row[0] for row in rows(page)} == {"0.6", "0.7"}
    assert num_lines(page, "curves") == 3 + 3
    assert len(tiles(page)) == 3
    after = {chart: num_marks(page, chart) for chart in CHARTS}
    assert all(after[chart] < before[chart] for chart in CHARTS if chart != "heat_map")
    assert page.locator("#pictures figure:visible").count() == 1 + 3
    page.get_by_role("group", name="postprocess").get_by_label("topk").uncheck(force=True)
    assert [row[2] for row in rows(page)] == ["nms"] * 4
    assert num_lines(page, "curves") == 3 + 3  # the same trainings
    page.get_by_role("button", name="Reset", exact=True).click()
    expect(page.locator("#count")).to_have_text("12 of 12 cells")
    assert {chart: num_marks(page, chart) for chart in CHARTS} == before
    page.get_by_label("Search").fill("tau=0.7 failed")
    expect(page.locator("#count")).to_have_text("2 of 12 cells")
    assert {row[0] for row in rows(page)} == {"0.7"}
    page.get_by_label("complete cells only").check(force=True)
    expect(page.locator("#nothing")).to_be_visible()
    expect(page.locator("#plot-curves .nothing")).to_be_visible()
    expect(page.locator("#plot-curves .chart")).to_be_hidden()
    page.get_by_label("Search").fill("")
    expect(page.locator("#count")).to_have_text("8 of 12 cells")
    expect(page.locator("#plot-curves .chart")).to_be_visible()


@pytest.mark.slow
def test_the_table_sorts_by_click_and_by_key_and_can_be_saved(opened: Open, report: Path) -> None:
    page = opened(report)
    heading = page.locator("#cells thead th", has_text="AP").first
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    scores = [row[3] for row in rows(page)]
    assert scores[10:] == ["missing"] * 2
    assert scores[:10] == sorted(scores[:10])
    heading.get_by_role("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert [row[3] for row in rows(page)] == [*reversed(scores[:10]), "missing", "missing"]
    page.locator("#cells thead th", has_text="verdict").get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "none"
    page.locator("#cells thead th", has_text="verdict").get_by_role("button").click(click_count=2)
    assert page.locator("#cells [aria-sort$='ending']").count() == 0
    with page.expect_download() as download:
        page.locator("[data-table=cells]").get_by_role("button", name="save csv").click()
    assert download.value.suggested_filename == "table.csv"
    assert Path(download.value.path()).read_bytes() == (report.parent / "table.csv").read_bytes()


@pytest.mark.slow
def test_the_rows_that_are_shown_are_copied_as_latex_in_their_order(opened: Open, report: Path) -> None:
    page = opened(report, address="axis.postprocess=nms&complete=1&sort.cells=AP,descending")
    page.locator("[data-table=cells]").get_by_role("button", name="copy as LaTeX").click()
    expect(page.locator("[data-table=cells] output")).to_have_text("copied")
    lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    whole = (report.parent / "table.tex").read_text().splitlines()
    copied = [
        line.split(" & ")[:3] for line in lines[lines.index(r"    \midrule") + 1 : lines.index(r"    \bottomrule")]
    ]
    assert [[cell.strip() for cell in row] for row in copied] == [row[:3] for row in rows(page)]
    assert len(copied) == 4
    assert [line for line in lines if line not in whole] == []


@pytest.mark.slow
def test_the_address_keeps_what_is_chosen_and_brings_it_back(opened: Open, report: Path) -> None:
    page = opened(report)
    assert "#" not in page.url.removesuffix("#")
    page.get_by_role("group", name="tau").get_by_label("0.5").uncheck(force=True)
    page.get_by_label("Search").fill("nms")
    page.locator("#cells thead th", has_text="over seeds").get_by_role("button").click()
    page.locator("#plot-curves").get_by_label("metric").select_option("AP50")
    page.locator("#pictures").get_by_label("decoder").check(force=True)
    page.locator("#pictures").get_by_label("image").select_option(index=1)
    page.locator("#plot-curves .legend button").nth(1).click()
    address = page.url.partition("#")[2]
    other = opened(report, address=address)
    assert rows(other) == rows(page)
    assert len(rows(other)) == 4
    expect(other.locator("#plot-curves").get_by_label("metric")).to_have_value("AP50")
    expect(other.locator("#pictures").get_by_label("decoder")).to_be_checked()
    expect(other.locator("#pictures").get_by_label("image")).to_have_value("1")
    assert other.locator("#plot-curves [aria-pressed='true']").count() == 1
    assert other.url.partition("#")[2] == address
    other.get_by_role("button", name="Reset", exact=True).click()
    expect(other.locator("#count")).to_have_text("12 of 12 cells")
    assert "axis" not in other.url


@pytest.mark.slow
@pytest.mark.parametrize(
    "address", ["axis.tau=7&sort.cells=none,up&chart.curves=x&image=x&boxes=x&single=99,length&scores=x", "%%%"]
)
def test_an_address_that_means_nothing_does_no_harm(opened: Open, report: Path, address: str) -> None:
    page = opened(report, address=address)
    assert num_lines(page, "curves") > 0
    assert page.locator("#pictures figure:visible").count() >= 1


@pytest.mark.slow
def test_pictures_switch_between_what_is_found_and_what_is_assigned(opened: Open, report: Path) -> None:
    page = opened(report)
    truth, found = page.locator("#pictures .truth figure"), page.locator("#pictures .found figure")
    assert (truth.count(), found.count()) == (1, 5)
    assert truth.locator("rect.bold").count() == 6
    first = found.first
    assert (first.locator("rect.bold").count(), first.locator("rect.thin").count()) == (4, 2)  # scores from 0.3, below
    expect(first.locator("figcaption")).to_contain_text("4 from 0.30, 2 below")
    pale = first.locator("rect.thin").evaluate_all("boxes => boxes.map(box => Number(box.getAttribute('opacity')))")
    assert all(0.1 < opacity < 0.6 for opacity in pale)
    page.locator("#pictures").get_by_label("scores from").fill("0.7")
    assert (first.locator("rect.bold").count(), first.locator("rect.thin").count()) == (2, 4)
    page.locator("#pictures").get_by_label("first stage").check(force=True)
    assert (first.locator("rect.bold").count(), first.locator("rect.thin").count()) == (6, 12)
    expect(page.locator("#pictures").get_by_label("scores from")).to_be_hidden()
    page.locator("#pictures").get_by_label("decoder").check(force=True)
    expect(first.locator("figcaption")).to_contain_text("5 boxes for 6 objects, 1 without")
    assert first.locator("rect.without").count() == 1
    assert truth.locator("rect.thin").count() == 0
    sides = [figure.bounding_box() for figure in (truth.locator(".canvas"), first.locator(".canvas"))]
    assert sides[0] is not None
    assert sides[1] is not None
    assert sides[0]["x"] + sides[0]["width"] < sides[1]["x"]  # alone in its column


@pytest.mark.slow
def test_charts_show_what_their_controls_and_legends_choose(opened: Open, report: Path) -> None:
    page = opened(report)
    curves = page.locator("#plot-curves")
    curves.get_by_label("metric").select_option("training loss")
    expect(curves.locator(".ytitle")).to_have_text("training loss")
    heat_map = page.locator("#plot-heat_map")
    heat_map.locator("select").nth(0).select_option("n x postprocess")
    expect(heat_map.locator("select").nth(1)).to_have_value("tau=0.6")
    assert [heat_map.locator(f".{axis}title").text_content() for axis in "xy"] == ["n", "postprocess"]
    button = page.locator("#plot-curves .legend button", has_text="tau=0.5, n=1")
    script = "lines => lines.map(line => getComputedStyle(line.closest('.trace')).opacity)"
    button.click()
    opacities = page.locator("#plot-instability .scatterlayer .trace").evaluate_all(script)
    assert opacities.count("1") == 1
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert page.locator("#plot-curves .legend [aria-pressed='true']").count() == 0


@pytest.mark.slow
def test_the_page_follows_the_colours_of_the_system_and_of_paper(opened: Open, report: Path) -> None:
    page = opened(report, scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert luminance(page, ground) < 60
    assert luminance(page, INK) > 180
    switch(page, "light")
    assert luminance(page, ground) > 200
    assert luminance(page, INK) < 80
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.locator("#filters")).to_be_hidden()
    assert luminance(page, "getComputedStyle(document.body).backgroundColor") == 255
    assert luminance(page, "getComputedStyle(document.body).color") < 80


@pytest.mark.gate
@pytest.mark.parametrize("width", [1400, 820, 390])
def test_nothing_is_cut_or_covered_and_the_same_is_seen_in_every_window(opened: Open, report: Path, width: int) -> None:
    page, seen = opened(report, width=width), []
    page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    expect(page.locator("#runs")).to_be_visible()
    for scheme in SCHEMES:
        switch(page, scheme)
        layout = page.evaluate(LAYOUT)
        assert layout["pageWidth"] <= width
        assert (layout["regions"], layout["cut"], layout["overlaps"], layout["faint"]) == (0, [], [], [])
        assert num_marks(page, "curves") > 0
        seen.append(set(layout["texts"]))
    assert seen[0] == seen[1]
    cells = page.locator("#cells tbody :is(th, td)").evaluate_all("cells => cells.map(cell => cell.textContent.trim())")
    assert {*cells} - {ABSENT} <= seen[0]
    assert set(WORDS) <= seen[0]


@pytest.mark.slow
def test_a_page_of_paper_holds_all_of_it(opened: Open, report: Path) -> None:
    page = opened(report, width=700)
    page.emulate_media(media="print")
    expect(page.locator("#runs")).to_be_visible()
    layout = page.evaluate(LAYOUT)
    assert layout["pageWidth"] <= 700
    assert (layout["regions"], layout["cut"], layout["overlaps"]) == (0, [], [])
    page.emulate_media(media="screen")
    expect(page.locator("#runs")).to_be_hidden()


@pytest.mark.slow
def test_the_filter_of_a_narrow_window_starts_closed(opened: Open, report: Path) -> None:
    page = opened(report, width=390)
    expect(page.get_by_label("Search")).to_be_hidden()
    page.locator("#filter-bar summary").click()
    expect(page.get_by_label("Search")).to_be_visible()


@pytest.mark.gate
def test_a_name_stays_text_in_every_part(opened: Open, tmp_path: Path) -> None:
    axes = (Axis("tau", (), ("0.6", HOSTILE)), AXES[1])
    comparison = replace(invented_comparison(tmp_path, axes=axes, num_pictures=1), notes=(HOSTILE,))
    page = opened(write_report(comparison, tmp_path / "report"))
    assert page.title().startswith("invented:")
    assert page.locator("script").count() == 3 + 1  # plotly.js as it was unpacked
    for part in ("#cells", "#plot-curves .legend", "#plot-seeds .chart", "#plot-heat_map .chart", "#filters", ".notes"):
        expect(page.locator(part)).to_contain_text('document.title = "taken"')
