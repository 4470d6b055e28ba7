"""The inverse of the sigmoid."""

import torch

from deta.ops.logit import inverse_sigmoid


def test_sigmoid_undoes_it() -> None:
    probability = torch.linspace(0.01, 0.99, 99)
    torch.testing.assert_close(inverse_sigmoid(probability).sigmoid(), probability, rtol=1e-6, atol=1e-6)


def test_values_at_and_beyond_the_ends_stay_finite() -> None:
    found = inverse_sigmoid(torch.tensor([-1.0, 0.0, 1.0, 2.0]))
    limit = torch.tensor(1e5).log()  # logit of 1 with the complement limited to 1e-5
    torch.testing.assert_close(found, torch.stack((-limit, -limit, limit, limit)))
