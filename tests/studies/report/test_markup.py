"""The drawn table."""

import re
from dataclasses import replace

import pytest

from deta.studies.ablation import ablation_table
from deta.studies.report.markup import cells_table, escaped
from deta.studies.report.trainings import trainings
from deta.studies.results import Difference, Interval, Verdict
from tests.studies.report.making import cell, comparison

WIDTH = 150


def drawn(*differences: Difference) -> str:
    """The table of a base and a cell for each difference."""
    cells = [
        replace(cell(0.3, tau=str(number)), difference=difference)
        for number, difference in enumerate((None, *differences))
    ]
    whole = comparison(*cells, base={"tau": "0"}, axes=("tau",))
    return cells_table(whole, ablation_table(whole), trainings(whole))


def difference(mean: float, half: float | None) -> Difference:
    over_seeds = None if half is None else Interval(mean - half, mean + half)
    return Difference(mean, {}, over_seeds, Interval(mean - 0.01, mean + 0.01), Verdict.NOISE)


def numbers(pattern: str, text: str) -> list[float]:
    return [float(found) for found in re.findall(pattern, text)]


def test_a_difference_lies_in_the_middle_of_its_interval_and_right_of_zero_where_it_is_better() -> None:
    text = drawn(difference(0.02, 0.024))
    (middle,) = numbers(r'circle cx="([\d.]+)"', text)
    (zero,) = numbers(r'd="M([\d.]+) 0V', text)
    thin, thick = (tuple(map(float, ends)) for ends in re.findall(r'd="M([\d.]+) 10.0H([\d.]+)"', text))
    assert zero < middle
    assert sum(thin) / 2 == pytest.approx(middle, abs=0.1)  # places are written with one decimal
    assert sum(thick) / 2 == pytest.approx(middle, abs=0.1)
    assert 0 < thick[0] < thin[0] < thin[1] < thick[1] < WIDTH
    assert thick[0] < zero < thick[1]


def test_an_interval_of_two_seeds_does_not_flatten_the_others() -> None:
    text = drawn(difference(0.02, 0.02), difference(0.01, 1.0))
    first, second = numbers(r'circle cx="([\d.]+)"', text)
    # The firm ends reach 3 points and the scale at most 1.5 times as far to both sides, with margins of 6 %.
    assert first - second == pytest.approx(WIDTH / (2 * 4.5 * 1.12), abs=0.1)


def test_a_difference_of_one_seed_has_no_thick_bar() -> None:
    text = drawn(difference(0.0, None))
    assert text.count('stroke-width="4"') == 0
    assert text.count('stroke-width="1.2"') == 1


def test_the_base_is_marked_and_gaps_sort_last() -> None:
    text = drawn(difference(0.01, 0.01))
    assert text.count('class="base"') == 1
    assert '<td data-value="" class="number">base</td>' in text


def test_quotes_cannot_end_an_attribute() -> None:
    assert escaped("\"'<>&") == "&quot;&#x27;&lt;&gt;&amp;"
