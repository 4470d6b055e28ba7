"""How the Triton kernels are launched: block sizes and warps by GPU generation, type and number of queries.

Compute capability 9.0 was measured (``benchmarks.launches`` on an H100, torch 2.11, triton 3.6; docs/benchmarks.md).
The other entries are chosen from compiled code: no spilled register and the fewest barriers with five levels, four
points and 32 channels (checked by ``tests/kernels/test_triton_compiled.py``). ``DETA_AUTOTUNE=1`` takes the fastest of
all candidates on the machine at hand instead, see tuning.py.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class Config:
    """``block_elements`` numbers (queries times channels) are made by ``num_warps`` warps of 32 threads."""

    block_elements: int
    num_warps: int

    def block_queries(self, block_channels: int) -> int:
        """Queries of one program: a power of two, at least 1 and at most 64."""
        return min(64, max(1, self.block_elements // block_channels))


CANDIDATES = tuple(
    Config(block_elements=elements, num_warps=warps)
    for elements, warps in ((128, 1), (256, 1), (256, 2), (512, 1), (512, 2), (512, 4), (1024, 4), (2048, 4))
)
_DEFAULTS = {
    "forward": Config(block_elements=256, num_warps=1),
    # Without vector reductions the addresses of 256 elements do not fit the registers (8 bytes of stack).
    "backward": Config(block_elements=128, num_warps=1),
    "deterministic": Config(block_elements=128, num_warps=1),
}
# (kernel, compute capability, bytes of a number) -> launch for up to 1,024, up to 8,192 and more queries; the cautious
# defaults serve whatever is not listed.
_TABLE = {
    ("forward", 90, 4): (Config(128, 1), Config(128, 1), Config(128, 1)),
    ("forward", 90, 2): (Config(256, 2), Config(512, 1), Config(512, 1)),
    ("backward", 90, 4): (Config(128, 1), Config(128, 1), Config(128, 1)),
    ("backward", 90, 2): (Config(128, 1), Config(128, 1), Config(128, 1)),
}
_INTERPRETED = Config(block_elements=512, num_warps=1)  # few programs: each takes about 0.1 s


def table_config(kernel: str, capability: int, item_size: int, num_queries: int) -> Config:
    """The launch of a kernel on a GPU of ``capability`` (90 means 9.0).

    Args:
        kernel: ``forward``, ``backward`` or ``deterministic``, the backward pass with integers.
        capability: See above.
        item_size: Bytes of a number of the value: 4 or 2.
        num_queries: Of one image.
    """
    launches = _TABLE.get((kernel, capability, item_size))
    return _DEFAULTS[kernel] if launches is None else launches[queries_bucket(num_queries)]


def run_best(kernel: str, value: Tensor, num_queries: int, shape: Sequence[int], run: Callable[[Config], None]) -> None:
    """Call ``run`` with the configuration for this device, timing all candidates first if asked to.

    Args:
        kernel: ``forward``, ``backward`` or ``deterministic``.
        value: Tells device and dtype.
        num_queries: Of one image.
        shape: What else the best configuration depends on.
        run: Launches the kernel; may be called many times with its result overwritten.
    """
    if value.device.type == "cpu":  # interpreted
        run(_INTERPRETED)
        return
    with torch.cuda.device(value.device):
        run(chosen_config(kernel, value, num_queries, shape, run))


def chosen_config(
    kernel: str, value: Tensor, num_queries: int, shape: Sequence[int], run: Callable[[Config], None]
) -> Config:
    """The launch for a call: that of the table, or the fastest of all candidates where tuning is asked for."""
    if os.environ.get("DETA_AUTOTUNE") == "1":
        from deta_kernels.tuning import tuned_config

        return tuned_config(kernel, value, (*shape, queries_bucket(num_queries)), run)
    major, minor = torch.cuda.get_device_capability(value.device)
    return table_config(kernel, 10 * major + minor, value.element_size(), num_queries)


def queries_bucket(num_queries: int) -> int:
    """Class of the number of queries: 0 up to 1,024, 1 up to 8,192, 2 above."""
    return sum(num_queries > limit for limit in (1024, 8192))


def largest_coarse_level(device: torch.device, num_queries: int, channels: int) -> int:
    """Pixels up to which the backward pass takes a level for coarse, 0 for none: what coarse.py is faster at.

    It costs what a level has pixels; the additions that it replaces cost the same for every level. Few queries do not
    pay for a kernel more, small or large heads do not fit the tensor cores or the registers, and before compute
    capability 8.0 there are no tensor cores for these products.
    """
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return 0
    return 512 if queries_bucket(num_queries) > 0 and 16 <= channels <= 64 else 0


@lru_cache(maxsize=1024)
def sizes_on(device: torch.device, sizes: tuple[int, ...]) -> Tensor:
    """``[2 * L]`` int32 on ``device``, kept: a training batch asks for the same sizes in every layer."""
    return torch.tensor(sizes, dtype=torch.int32, device=device)


def check_extent(sizes: Sequence[int], num_heads: int, channels: int) -> None:
    """Raise ``ValueError`` if the kernels cannot address one image's value or hold a head's channels."""
    pixels = sum(height * width for height, width in zip(sizes[0::2], sizes[1::2], strict=True))
    if pixels * num_heads * channels >= 2**31:
        raise ValueError(
            f"S * H * D must be below 2**31 for backend 'triton', got {pixels} * {num_heads} * {channels}; "
            "choose backend 'reference'"
        )
    if channels > 256:
        raise ValueError(f"D must be at most 256 for backend 'triton', got {channels}; choose backend 'reference'")
