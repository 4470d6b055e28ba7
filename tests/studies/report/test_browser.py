"""The page in a real browser, without a network."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from deta.studies.report import write_report
from deta.studies.results import Axis
from tests.studies.invented import AXES, invented_comparison
from tests.studies.report.conftest import LAUNCH_MILLISECONDS

pytestmark = pytest.mark.browser

CHARTS = ("curves", "seeds", "heat_map", "sizes", "instability", "cost")
MARKS = ".scatterlayer .trace path, .barlayer .point path, .heatmaplayer image"
"""What Plotly draws for values: lines, points, bars and the tiles of a heat map."""
HOSTILE = '<script>document.title = "taken"</script><img src=x onerror="document.title = 1">'

Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Opens a page offline; at the end it must have asked for nothing and complained about nothing."""
    wrong: list[str] = []
    contexts = []

    def open_page(path: Path, *, width: int = 1400, scheme: Literal["light", "dark"] = "light") -> Page:
        context = browser.new_context(
            offline=True, color_scheme=scheme, viewport={"width": width, "height": 900}, accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(LAUNCH_MILLISECONDS)
        address = path.resolve().as_uri()
        page.on("request", lambda request: wrong.append(request.url) if is_foreign(request.url, address) else None)
        page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def is_foreign(url: str, own: str) -> bool:
    """Whether an address is neither the page nor inside of it."""
    return url != own and not url.startswith(("data:", "blob:"))


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


def luminance(page: Page, script: str) -> float:
    """Brightness 0..255 of a colour of the page."""
    channels = page.evaluate(script).removeprefix("rgba(").removeprefix("rgb(").rstrip(")").split(",")
    return sum(float(channel) for channel in channels[:3]) / 3


def test_every_chart_is_drawn_without_a_network(opened: Open, report: Path) -> None:
    page = opened(report)
    assert {chart: num_marks(page, chart) > 0 for chart in CHARTS} == dict.fromkeys(CHARTS, True)
    assert len(rows(page)) == 12
    assert num_lines(page, "curves") == 5 + 5  # a line and a band for each training that has started
    assert len(tiles(page)) == 5
    expect(page.locator("#plot-heat_map")).to_contain_text("missing")
    sizes = page.locator("[data-image='val_0'] img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert len(sizes) == 6
    assert min(sizes) > 100


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
    assert page.locator("[data-image='val_0']:visible").count() == 4
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
    with page.expect_download() as download:
        page.get_by_role("link", name="csv").click()
    assert download.value.suggested_filename == "table.csv"
    assert Path(download.value.path()).read_bytes() == (report.parent / "table.csv").read_bytes()


def test_charts_show_what_their_controls_and_legends_choose(opened: Open, report: Path) -> None:
    page = opened(report)
    curves = page.locator("#plot-curves")
    curves.get_by_label("metric").select_option("training loss")
    expect(curves.locator(".ytitle")).to_have_text("training loss")
    heat_map = page.locator("#plot-heat_map")
    heat_map.locator("select").nth(0).select_option("n x postprocess")
    expect(heat_map.locator("select").nth(1)).to_have_value("tau=0.6")
    assert [heat_map.locator(f".{axis}title").text_content() for axis in "xy"] == ["n", "postprocess"]
    page.get_by_label("image").select_option("val_1")
    assert page.locator("[data-image='val_0']:visible").count() == 0
    assert page.locator("[data-image='val_1']:visible").count() == 6
    button = page.locator("#plot-curves .legend button", has_text="tau=0.5, n=1")
    script = "lines => lines.map(line => getComputedStyle(line.closest('.trace')).opacity)"
    button.click()
    opacities = page.locator("#plot-instability .scatterlayer .trace").evaluate_all(script)
    assert opacities.count("1") == 1
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert page.locator("#plot-curves .legend [aria-pressed='true']").count() == 0


def test_the_page_follows_the_colours_of_the_system_and_of_paper(opened: Open, report: Path) -> None:
    page = opened(report, scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    ink = "getComputedStyle(document.querySelector('#plot-curves .ytitle')).fill"
    assert luminance(page, ground) < 60
    assert luminance(page, ink) > 180
    page.emulate_media(color_scheme="light")
    assert luminance(page, ground) > 200
    page.wait_for_function(f"/rgb\\(\\d\\d, /.test({ink})")
    assert luminance(page, ink) < 80
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.locator("#filter-bar")).to_be_hidden()
    assert luminance(page, "getComputedStyle(document.body).backgroundColor") == 255
    assert luminance(page, "getComputedStyle(document.body).color") < 80


def test_a_narrow_window_scrolls_in_one_direction(opened: Open, report: Path) -> None:
    page = opened(report, width=390)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    expect(page.get_by_label("Search")).to_be_hidden()  # the filter starts closed
    page.locator("#filter-bar summary").click()
    expect(page.get_by_label("Search")).to_be_visible()
    assert num_marks(page, "curves") > 0


def test_a_name_stays_text_in_every_part(opened: Open, tmp_path: Path) -> None:
    axes = (Axis("tau", (), ("0.6", HOSTILE)), AXES[1])
    comparison = replace(invented_comparison(tmp_path, axes=axes, num_pictures=1), notes=(HOSTILE,))
    page = opened(write_report(comparison, tmp_path / "report"))
    assert page.title().startswith("invented:")
    assert page.locator("script").count() == 3
    for part in ("#cells", "#plot-curves .legend", "#plot-seeds .chart", "#plot-heat_map .chart", "#filters", ".notes"):
        expect(page.locator(part)).to_contain_text('document.title = "taken"')
