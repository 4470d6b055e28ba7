"""Words that are neither options nor overrides."""

import pytest

from tests.commands.running import deta


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("train experiment deta_shapes", "did you mean experiment=deta_shapes?"),
        ("train deta_shpes", "did you mean experiment=deta_shapes?"),
        ("train --lr 0.1", "--lr 0.1: values are given without dashes: optimizer.lr=0.1"),
        ("train --multirn", "did you mean --multirun?"),
        ("study tau2_shapes --batch-size 2", "values are given without dashes: data.batch_size=2"),
        ("predict runs/x a.jpg b.jpg", "alone stand only CKPT and SOURCE"),
        ("doctor now", "now: an override is key=value; see deta doctor --help"),
    ],
)
def test_what_was_probably_meant_is_told_before_anything_is_composed(line: str, advice: str) -> None:
    outcome = deta(*line.split())
    assert outcome.code == 2
    assert advice in outcome.err
    assert outcome.err.count("\n") == 1
