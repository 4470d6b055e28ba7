"""The custom operators inside PyTorch: registration, compilation, gradients on demand."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from deta_kernels import deformable_attention
from tests.kernels.scenes import Problem, assert_results_close, random_problem, run_reference, run_with


@pytest.mark.parametrize("reference_needs_gradient", [False, True])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # read by opcheck itself
def test_operator_passes_the_checks_of_pytorch(reference_needs_gradient: bool) -> None:
    problem = random_problem(queries=5).to(torch.float32)
    value, reference, offsets, logits = (tensor.requires_grad_() for tensor in problem.tensors)
    reference = reference.detach().requires_grad_(reference_needs_gradient)
    sizes = [side for size in problem.shapes for side in size]
    arguments = (value, sizes, reference, offsets, logits)
    results = torch.library.opcheck(torch.ops.deta.deformable_attention.default, arguments)
    assert set(results.values()) == {"SUCCESS"}


@pytest.mark.parametrize("with_reference", [False, True])
def test_backward_operator_passes_the_checks_of_pytorch(with_reference: bool) -> None:
    problem = random_problem(queries=5).to(torch.bfloat16, reference=torch.float32)
    value, reference, offsets, logits = problem.tensors
    sizes = [side for size in problem.shapes for side in size]
    output = deformable_attention(value, problem.shapes, reference, offsets, logits)
    results = torch.library.opcheck(
        torch.ops.deta.deformable_attention_backward.default,
        (problem.upstream, output, value, sizes, reference, offsets, logits, with_reference),
    )
    assert set(results.values()) == {"SUCCESS"}


def test_compiled_without_graph_break_equals_eager() -> None:
    problem = random_problem(boxes=True).to(torch.float32)
    compiled = torch.compile(deformable_attention, fullgraph=True, backend="aot_eager")
    leaves = [tensor.requires_grad_() for tensor in problem.tensors]
    output = compiled(leaves[0], problem.shapes, *leaves[1:])
    output.backward(problem.upstream)
    eager = run_with(problem, backend="cpu")
    for found, expected in zip(
        [output, *(leaf.grad for leaf in leaves)],
        [eager.output, eager.value, eager.reference, eager.offsets, eager.logits],
        strict=True,
    ):
        assert found is not None
        assert torch.equal(found, expected)


class AttendToMaps(nn.Module):
    """The operator with sizes that come from the maps, as in a detector."""

    def forward(self, maps: list[Tensor], reference: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
        shapes = tuple((level.shape[1], level.shape[2]) for level in maps)
        value = torch.cat([level.flatten(1, 2) for level in maps], dim=1)
        return deformable_attention(value, shapes, reference, offsets, logits)


def problem_with_maps(side: int) -> tuple[Problem, list[Tensor]]:
    """A problem of two levels whose sizes follow ``side``, and its value as ``[B, h, w, H, D]`` maps."""
    problem = random_problem(((side, side + 2), (side - 2, side - 1)), queries=side * 3, channels=16)
    problem, start, maps = problem.to(torch.float32), 0, []
    for height, width in problem.shapes:
        maps.append(problem.value[:, start : start + height * width].unflatten(1, (height, width)))
        start += height * width
    return problem, maps


@pytest.mark.parametrize(("dynamic", "compilations"), [(True, 1), (None, 2)])  # None: the second size is general
def test_other_image_sizes_do_not_compile_again(dynamic: bool | None, compilations: int) -> None:
    torch.compiler.reset()
    counter = CompileCounter()
    attend = torch.compile(AttendToMaps(), fullgraph=True, backend=counter, dynamic=dynamic)
    for side in (7, 10, 13, 18):
        problem, maps = problem_with_maps(side)
        output = attend(maps, *problem.tensors[1:])
        torch.testing.assert_close(output, run_with(problem, backend="cpu").output, rtol=0, atol=0)
    assert counter.frame_count == compilations


def test_exported_program_serves_other_image_sizes(tmp_path: Path) -> None:
    problem, maps = problem_with_maps(7)
    any_size = torch.export.Dim.AUTO
    dynamic = ([{1: any_size, 2: any_size}] * 2, {1: any_size}, {1: any_size}, {1: any_size})
    program = torch.export.export(AttendToMaps(), (maps, *problem.tensors[1:]), dynamic_shapes=dynamic)
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert "deta.deformable_attention.default" in targets
    torch.export.save(program, tmp_path / "attention.pt2")
    loaded = torch.export.load(tmp_path / "attention.pt2").module()
    for side in (7, 12):
        problem, maps = problem_with_maps(side)
        assert torch.equal(loaded(maps, *problem.tensors[1:]), run_with(problem, backend="cpu").output)


def test_gradients_not_asked_for_are_not_made() -> None:
    problem = random_problem().to(torch.float32)
    value, reference, offsets, logits = problem.tensors
    logits = logits.detach().requires_grad_()
    deformable_attention(value, problem.shapes, reference, offsets, logits).sum().backward()
    assert logits.grad is not None
    assert value.grad is None
    assert reference.grad is None


def test_reference_under_autocast_keeps_its_gradient_in_float32() -> None:
    problem = random_problem(boxes=True).to(torch.bfloat16, reference=torch.float32)
    assert_results_close(run_with(problem, backend="cpu"), run_reference(problem), 2**-7)
    assert run_with(problem, backend="cpu").reference.dtype == torch.float32


def test_second_derivatives_are_refused_instead_of_being_zero() -> None:
    problem: Problem = random_problem(queries=3)
    problem = replace(problem, value=problem.value.requires_grad_(), logits=problem.logits.requires_grad_())
    value, reference, offsets, logits = problem.tensors
    output = deformable_attention(value, problem.shapes, reference, offsets, logits, backend="cpu")
    (first,) = torch.autograd.grad(output.square().sum(), value, create_graph=True)
    with pytest.raises(RuntimeError):
        first.square().sum().backward()
