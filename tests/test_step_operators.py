"""The benchmark that counts what the host starts."""

import torch
from torch import nn

from scripts.benchmarks.step_operators import Calls


def test_a_view_is_no_call_and_an_operation_in_place_is_one() -> None:
    values = torch.zeros(4)
    with Calls() as calls, calls.counting("neck"):
        values.view(2, 2).add_(1).transpose(0, 1)
    assert dict(calls.by_phase["neck"]) == {"aten.add_.Tensor": 1}
    assert calls.bytes == {"neck": 4 * 4}


def test_calls_of_a_module_count_for_its_phase_alone() -> None:
    detector = nn.Module()
    for name in ("backbone", "neck"):
        detector.add_module(name, nn.ReLU())
    detector.body = nn.Module()
    for name in ("encoder", "source", "decoder"):
        detector.body.add_module(name, nn.Identity())
    calls, values = Calls(), torch.zeros(4)
    calls.watch(detector)
    with calls:
        detector.get_submodule("neck")(values).add(1)
    assert {phase: found.total() for phase, found in calls.by_phase.items() if found} == {
        "neck": 1,
        "rest of the detector": 1,
    }
