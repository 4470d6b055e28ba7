"""A quantity over epochs or steps."""

from deta.drawing.series import series

RUN: list[dict[str, object]] = [
    {"epoch": 0, "step": 0, "train/loss": 9.0, "val/AP": None},
    {"epoch": 0, "step": 50, "train/loss": "7.0", "val/AP": ""},
    {"epoch": 0, "step": 99, "val/AP": 0.1, "val/APs": float("nan")},
    {"epoch": 1, "step": 100, "train/loss": 5.0},
]


def test_values_of_one_epoch_are_averaged_and_gaps_left_out() -> None:
    positions, values = series(RUN, "train/loss")
    assert (positions.tolist(), values.tolist()) == ([1, 2], [8, 5])
    positions, values = series(RUN, "train/loss", x="step")
    assert (positions.tolist(), values.tolist()) == ([0, 50, 100], [9, 7, 5])
    assert series(RUN, "val/APs")[0].shape == series(RUN, "absent")[0].shape == (0,)
