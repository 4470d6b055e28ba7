"""Rows of the tables and their drawn intervals."""

from dataclasses import replace

import pytest

from deta.studies.ablation import ablation_table
from deta.studies.report.rows import STRIP_SIZE, Row, Scale, Strip, cell_rows
from deta.studies.report.trainings import trainings
from deta.studies.results import Difference, Interval, Verdict
from tests.studies.report.making import cell, comparison

WIDTH = STRIP_SIZE[0]


def drawn(*differences: Difference) -> list[Row]:
    """Rows of a base and a cell for each difference."""
    cells = [
        replace(cell(0.3, tau=str(number)), difference=difference)
        for number, difference in enumerate((None, *differences))
    ]
    whole = comparison(*cells, base={"tau": "0"}, axes=("tau",))
    return cell_rows(whole, ablation_table(whole), trainings(whole))


def strips(*differences: Difference) -> list[Strip]:
    found = [entry.strip for row in drawn(*differences) for entry in row.entries if entry.strip is not None]
    assert len(found) == len(differences)
    return found


def difference(mean: float, half: float | None) -> Difference:
    over_seeds = None if half is None else Interval(mean - half, mean + half)
    return Difference(mean, {}, over_seeds, Interval(mean - 0.01, mean + 0.01), Verdict.NOISE)


def test_a_difference_lies_in_the_middle_of_its_interval_and_right_of_zero_where_it_is_better() -> None:
    (strip,) = strips(difference(0.02, 0.024))
    assert strip.seeds is not None
    assert strip.images is not None
    assert strip.zero < strip.mean
    assert sum(strip.images) / 2 == pytest.approx(strip.mean)
    assert sum(strip.seeds) / 2 == pytest.approx(strip.mean)
    assert 0 < strip.seeds[0] < strip.images[0] < strip.images[1] < strip.seeds[1] < WIDTH
    assert strip.seeds[0] < strip.zero < strip.seeds[1]


def test_an_interval_of_two_seeds_does_not_flatten_the_others() -> None:
    first, second = strips(difference(0.02, 0.02), difference(0.01, 1.0))
    # The firm ends reach 3 points and the scale at most 1.5 times as far to both sides, with margins of 6 %.
    assert first.mean - second.mean == pytest.approx(WIDTH / (2 * 4.5 * 1.12))


def test_a_difference_of_one_seed_has_no_interval_over_seeds() -> None:
    (strip,) = strips(difference(0.0, None))
    assert strip.seeds is None
    assert strip.images is not None


def test_the_base_is_marked_and_gaps_sort_last() -> None:
    base, other = drawn(difference(0.01, 0.01))
    assert (base.kind, other.kind) == ("base", "")
    (entry,) = [entry for entry in base.entries if entry.text == "base"]
    assert entry.order == ""


@pytest.mark.parametrize(
    ("low", "high", "ends"),
    [
        (-6.2, 2.7, ("\N{MINUS SIGN}6.2", "+2.7")),
        (-0.04, 0.05, ("\N{MINUS SIGN}0.04", "+0.05")),
        (-0.001, 30.0, ("0.0", "+30.0")),
    ],
)
def test_the_scale_is_written_without_a_signed_zero(low: float, high: float, ends: tuple[str, str]) -> None:
    assert Scale(low, high).ends() == ends
