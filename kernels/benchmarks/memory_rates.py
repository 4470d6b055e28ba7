# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: ANN001, ANN201, N803
"""The two rates that bound deformable attention on a GPU: gathering rows, and adding to rows by reduction.

    python -m benchmarks.memory_rates --output memory_rates.csv
    TRITON_INTERPRET=1 python -m benchmarks.memory_rates --device cpu --programs 2 --repeats 2   # only a rehearsal

Gather: every program reads random rows of 64 or 128 bytes of a table; the smaller tables fit the L2 cache.
Reduction: every program adds rows of 32 numbers, float32 or int64, to random rows of a table; the fewer rows, the more
additions meet on one address, as on the coarse levels of a feature pyramid. Neighbouring numbers lie in one thread as
Triton chooses (``packed``, a vector reduction for float32 on compute capability 9.0) or in neighbouring threads. Rates
count the bytes of the rows.
"""

import argparse
from collections.abc import Callable
from itertools import product
from pathlib import Path

import torch
import triton
import triton.language as tl

from benchmarks.timing import Row, machine_facts, markdown_table, spread, time_once, write_csv

ROWS_PER_PROGRAM = 256
BLOCK = 8


@triton.jit
def gather_kernel(table_ptr, index_ptr, output_ptr, ROWS: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr):
    """Sum ``ROWS`` rows of ``WIDTH`` numbers chosen by ``index`` into ``output [programs, BLOCK, WIDTH]``."""
    program = tl.program_id(0)
    column = tl.arange(0, WIDTH)
    lane = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK, WIDTH), tl.float32)
    for start in range(0, ROWS, BLOCK):
        row = tl.load(index_ptr + program * ROWS + start + lane).to(tl.int64)
        total += tl.load(table_ptr + row[:, None] * WIDTH + column[None, :]).to(tl.float32)
    tl.store(output_ptr + (program * BLOCK + lane)[:, None] * WIDTH + column[None, :], total)


@triton.jit
def reduce_kernel(
    table_ptr, index_ptr, ROWS: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr, PACKED: tl.constexpr
):
    """Add 1 to every number of ``ROWS`` rows of ``WIDTH`` numbers chosen by ``index``."""
    program = tl.program_id(0)
    column = tl.arange(0, WIDTH)
    lane = tl.arange(0, BLOCK)
    ones = tl.full((BLOCK, WIDTH), 1, table_ptr.dtype.element_ty)
    for start in range(0, ROWS, BLOCK):
        row = tl.load(index_ptr + program * ROWS + start + lane).to(tl.int64)
        place = table_ptr + row[:, None] * WIDTH + column[None, :]
        if not PACKED:
            place = tl.multiple_of(place, (1, 1))
        tl.atomic_add(place, ones, sem="relaxed")


def gather_rate(dtype: torch.dtype, table_rows: int, num_programs: int, repeats: int, device: str) -> dict[str, float]:
    """Gathered 10^12 bytes per second."""
    table = torch.randn(table_rows, 32, device=device).to(dtype)
    index = torch.randint(table_rows, (num_programs * ROWS_PER_PROGRAM,), device=device, dtype=torch.int32)
    output = torch.empty(num_programs, BLOCK, 32, device=device)

    def run() -> None:
        gather_kernel[(num_programs,)](
            table, index, output, ROWS_PER_PROGRAM, BLOCK, 32, num_warps=1, enable_fp_fusion=True
        )

    return _rate(run, index.numel() * 32 * table.element_size(), repeats, device)


def reduction_rate(
    dtype: torch.dtype, packed: bool, table_rows: int, num_programs: int, repeats: int, device: str
) -> dict[str, float]:
    """Added 10^12 bytes per second; raises ``RuntimeError`` if an addition was lost."""
    table = torch.zeros(table_rows, 32, device=device, dtype=dtype)
    index = torch.randint(table_rows, (num_programs * ROWS_PER_PROGRAM,), device=device, dtype=torch.int32)

    def run() -> None:
        reduce_kernel[(num_programs,)](
            table, index, ROWS_PER_PROGRAM, BLOCK, 32, packed, num_warps=1, enable_fp_fusion=True
        )

    run()
    counts = torch.bincount(index, minlength=table_rows)
    if not torch.equal(table, counts.to(dtype)[:, None].expand(-1, 32)):
        raise RuntimeError("reductions lost an addition")
    return _rate(run, index.numel() * 32 * table.element_size(), repeats, device)


def _rate(run: Callable[[], None], num_bytes: int, repeats: int, device: str) -> dict[str, float]:
    seconds = [time_once(run, device) for _ in range(repeats + 2)]
    return spread([num_bytes / value for value in seconds[2:]], scale=1e-12)


def main() -> None:
    """Measure both rates and write CSV and table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("memory_rates.csv"))
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--programs", type=int, default=40_000)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for dtype in (torch.float32, torch.bfloat16):
        for table_rows in (1_000, 16_000, 160_000):
            rate = gather_rate(dtype, table_rows, arguments.programs, arguments.repeats, arguments.device)
            rows.append({"kind": "gather", "dtype": str(dtype), "table_rows": table_rows, **_named(rate)})
    additions = arguments.programs * ROWS_PER_PROGRAM
    for dtype, packed, per_row in product((torch.float32, torch.int64), (True, False), (1, 64, 4096)):
        table_rows = max(1, additions // per_row)
        rate = reduction_rate(dtype, packed, table_rows, arguments.programs, arguments.repeats, arguments.device)
        row: dict[str, object] = {"kind": "reduction", "dtype": str(dtype), "packed": packed, "table_rows": table_rows}
        rows.append({**row, "additions_per_row": additions / table_rows, **_named(rate)})
    rows = [{**row, **machine_facts(arguments.device)} for row in rows]
    write_csv(arguments.output, rows)
    print(markdown_table(rows, ["kind", "dtype", "packed", "table_rows", "additions_per_row", "median_tb_per_s"]))


def _named(rate: dict[str, float]) -> dict[str, float]:
    return {f"{key}_tb_per_s": value for key, value in rate.items()}


if __name__ == "__main__":
    main()
