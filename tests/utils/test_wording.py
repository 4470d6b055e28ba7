"""Words of messages."""

from deta.utils.wording import counted


def test_one_has_the_noun_of_one_and_all_other_numbers_that_of_several() -> None:
    assert [counted(number, "run") for number in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]
    assert [counted(number, "box", "boxes") for number in (0, 1, 2)] == ["0 boxes", "1 box", "2 boxes"]
