"""Words of messages."""

from deta.utils.wording import counted, points, told


def test_one_has_the_noun_of_one_and_all_other_numbers_that_of_several() -> None:
    assert [counted(number, "run") for number in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]
    assert [counted(number, "box", "boxes") for number in (0, 1, 2)] == ["0 boxes", "1 box", "2 boxes"]


def test_scores_are_told_in_points() -> None:
    assert (points(0.31342), points(-0.005, has_sign=True), points(float("nan"))) == ("31.34", "-0.50", "-")
    assert (told("AP50", 0.5), told("val/ARs", 0.25), told("val/loss", 0.5)) == ("50.00", "25.00", "0.5000")
