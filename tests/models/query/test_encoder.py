"""The encoder of several levels."""

import pytest
import torch

from deta.models import Encoder
from tests.models.tiny import HIDDEN_DIM, levels


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_layers_that_are_computed_again_have_the_same_gradients(dropout: float) -> None:
    torch.manual_seed(0)
    masks = [torch.zeros(2, 4, 6, dtype=torch.bool), torch.zeros(2, 2, 3, dtype=torch.bool)]
    encoder = Encoder(hidden_dim=HIDDEN_DIM, num_levels=2, num_layers=2, ffn_dim=16, dropout=dropout)
    gradients, calls = [], []
    encoder.layers[0].register_forward_pre_hook(lambda *_: calls.append(encoder.checkpoint))
    for encoder.checkpoint in (False, True):
        torch.manual_seed(1)
        encoder.zero_grad()
        encoder(levels(masks)).tokens.square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in encoder.parameters() if parameter.grad is not None])
    assert len(gradients[0]) == len(list(encoder.parameters()))
    assert calls == [False, True, True]
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
