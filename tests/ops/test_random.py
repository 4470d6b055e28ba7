"""Draws are functions of their key."""

import pytest
import torch

from deta.ops.random import Draw

CPU = torch.device("cpu")


def numbers(draw: Draw, name: str = "priority") -> list[float]:
    return draw.uniform(name, (4,), CPU).tolist()


def test_the_same_draw_gives_the_same_numbers_whatever_was_drawn_before() -> None:
    first = numbers(Draw.of(1, 2))
    torch.rand(3)
    numbers(Draw.of(5))
    assert numbers(Draw.of(1, 2)) == first


def test_key_scope_and_name_tell_draws_apart() -> None:
    draw = Draw.of(1, 2)
    draws = [
        numbers(draw),
        numbers(draw, "other"),
        numbers(draw.within("first")),
        numbers(draw.within("layers")),
        numbers(draw.within("layers").within("classes")),
        numbers(Draw.of(1, 3)),
        numbers(Draw.of(2, 2)),
    ]
    assert len({tuple(draw) for draw in draws}) == len(draws)


def test_the_epoch_that_rules_see_does_not_change_the_numbers() -> None:
    assert numbers(Draw.of(1, epoch=3)) == numbers(Draw.of(1))


def test_numbers_are_uniform() -> None:
    drawn = Draw.of(0).uniform("x", (100, 1000), CPU)
    assert drawn.dtype == torch.float32
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert torch.histc(drawn, 10, 0, 1).sub(1e4).abs().max() < 500


def test_drawing_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    numbers(Draw.of(1))
    assert torch.equal(torch.get_rng_state(), state)


def test_recorded_numbers_come_in_place_of_drawn_ones_and_must_fit() -> None:
    draw = Draw(torch.tensor([1]), recorded={"layers/priority": torch.tensor([0.5, 0.25])})
    assert draw.within("layers").uniform("priority", (2,), CPU).tolist() == [0.5, 0.25]
    with pytest.raises(ValueError, match=r"recorded draw 'layers/priority' must have shape \(3,\), got \(2,\)"):
        draw.within("layers").uniform("priority", (3,), CPU)
