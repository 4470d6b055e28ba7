"""The metric in several processes and under Lightning."""

import json
import os
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.utils.data import DataLoader, TensorDataset

from deta.evaluation import CocoEvaluator, CocoResult
from deta.structures import Detections

NUM_IMAGES = 5


def write(folder: Path) -> Path:
    """One object in each image."""
    path = folder / "instances.json"
    content = {
        "images": [{"id": image, "width": 200, "height": 200, "file_name": "x"} for image in range(NUM_IMAGES)],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {"id": image, "image_id": image, "category_id": 1, "bbox": [10 * image, 0, 100, 100]}
            for image in range(NUM_IMAGES)
        ],
    }
    path.write_text(json.dumps(content))
    return path


def detections_of(image_ids: Tensor) -> Detections:
    """One box per image, too narrow by 5 pixels per image id; none for image 3, two slots."""
    boxes = torch.zeros(len(image_ids), 2, 4)
    is_detection = torch.zeros(len(image_ids), 2, dtype=torch.bool)
    for index, image in enumerate(image_ids.tolist()):
        boxes[index, 0] = torch.tensor([10 * image, 0, 10 * image + 100 - 5 * image, 100])
        is_detection[index, 0] = image != 3
    scores = torch.full((len(image_ids), 2), 0.5) - image_ids[:, None] / 100
    return Detections(boxes, scores, torch.zeros(len(image_ids), 2, dtype=torch.int64), is_detection)


def single_process(path: Path) -> CocoResult:
    """The expected result."""
    metric = CocoEvaluator(annotations=path, category_ids=[1])
    metric.update(detections_of(torch.arange(NUM_IMAGES)), torch.arange(NUM_IMAGES))
    result = metric.compute()
    assert isinstance(result, CocoResult)
    return result


def worker(rank: int, world_size: int, folder: str) -> None:
    """One rank: evaluate a share with padding, then fail, and write down both outcomes."""
    os.environ.update(MASTER_ADDR="127.0.0.1", GLOO_SOCKET_IFNAME="lo")
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world_size)
    metric = CocoEvaluator(annotations=Path(folder) / "instances.json", category_ids=[1])
    shares = {0: [0, 2, 4], 1: [1, 3, 0], 2: []}  # image 0 fills up the second rank; the third has none
    for image in shares[rank]:
        metric.update(detections_of(torch.tensor([image])), torch.tensor([image]))
    result = metric.compute()
    metric.reset()
    try:
        metric.compute()
        failure = ""
    except (ValueError, RuntimeError) as error:
        failure = f"{type(error).__name__}: {error}"
    outcome = {"metrics": result.metrics(), "repeats": result.num_repeats, "failure": failure}
    (Path(folder) / f"rank{rank}.json").write_text(json.dumps(outcome))
    dist.destroy_process_group()


@pytest.mark.slow
def test_every_rank_gets_the_result_of_a_single_process(tmp_path: Path) -> None:
    expected = single_process(write(tmp_path))
    spawn(worker, args=(3, str(tmp_path)), nprocs=3)
    for rank in range(3):
        outcome = json.loads((tmp_path / f"rank{rank}.json").read_text())
        assert outcome["metrics"] == pytest.approx(expected.metrics(), nan_ok=True)
        assert outcome["repeats"] == 1
        error = "ValueError" if rank == 0 else "RuntimeError: the first rank failed: ValueError"
        assert outcome["failure"].startswith(f"{error}: all 5 images")


class Validation(lightning.LightningModule):
    """The least module that validates with the evaluator."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.evaluator = CocoEvaluator(annotations=path, category_ids=[1])
        self.result: CocoResult | None = None

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        """Collect."""
        self.evaluator.update(detections_of(batch[0]), batch[0])

    def on_validation_epoch_end(self) -> None:
        """Evaluate."""
        result: CocoResult = self.evaluator.compute()
        self.log_dict({f"val/{name}": value for name, value in result.metrics().items()})
        self.result = result
        self.evaluator.reset()


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # Lightning 2.6 with torch 2.15
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_lightning_validates_with_it(tmp_path: Path) -> None:
    module = Validation(write(tmp_path))
    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(accelerator="cpu", enable_model_summary=False, **options)
    loader = DataLoader(TensorDataset(torch.arange(NUM_IMAGES)), batch_size=2)
    logged = trainer.validate(module, loader, verbose=False)[0]
    expected = single_process(tmp_path / "instances.json")
    assert logged["val/AP"] == pytest.approx(expected.ap, abs=1e-7)
    assert module.result is not None
    assert module.result.ap == expected.ap
    assert module.state_dict() == {}
