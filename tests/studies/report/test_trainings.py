"""Colours and names of trainings."""

from deta.studies.report.trainings import NUM_COLOURS, symbol, trainings
from tests.studies.report.making import cell, comparison


def test_cells_of_the_same_runs_are_one_training_of_one_colour() -> None:
    whole = comparison(
        cell(0.3, tau="0.6"),
        cell(0.3, tau="0.6", postprocess="topk"),
        cell(0.2, tau="0.5"),
        cell(0.2, tau="0.5", postprocess="topk"),
        base={"tau": "0.6"},
        axes=("tau",),
    )
    found = trainings(whole)
    assert [(each.cells, each.label, each.colour) for each in found] == [
        ((0, 1), "base", "var(--ink)"),
        ((2, 3), "tau=0.5", "var(--cell-0)"),
    ]
    assert [symbol(whole, each) for each in whole.cells] == ["circle", "diamond"] * 2


def test_more_trainings_than_colours_differ_in_their_dashes() -> None:
    cells = [cell(0.3, tau=str(level)) for level in range(4 * NUM_COLOURS + 1)]
    found = trainings(comparison(*cells, base={"tau": "0"}, axes=("tau",)))
    assert len({(each.colour, each.dash) for each in found}) == len(found)
    assert {each.dash for each in found[: NUM_COLOURS + 1]} == {"solid"}
