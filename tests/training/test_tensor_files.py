"""Files of tensors appear whole or not at all."""

import resource
import signal
from pathlib import Path

import pytest
import torch

from deta.training.checkpoint import AtomicCheckpointIO
from deta.training.tensor_files import save_tensors


def test_what_is_written_reads_back_equal(tmp_path: Path) -> None:
    weight = torch.arange(7.0)
    save_tensors({"weight": weight, "step": 3}, tmp_path / "a.pt")
    read = torch.load(tmp_path / "a.pt", weights_only=True)
    assert torch.equal(read["weight"], weight)
    assert read["step"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("limit", [0, 100, 50_000])
def test_a_file_that_cannot_be_written_to_its_end_is_named_and_the_earlier_one_stays(
    limit: int, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    before = path.read_bytes()
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # as a disk that is full after so many bytes
    try:
        with pytest.raises(OSError, match=rf"File too large.*{path}"):
            AtomicCheckpointIO().save_checkpoint({"step": 2, "weight": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
