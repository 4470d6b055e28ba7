import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch import Tensor

from deta.data import (
    Categories,
    Compose,
    ImageError,
    RandomHorizontalFlip,
    RandomSizeCrop,
    ResizeShortSide,
    TrainLoader,
)
from deta.structures import Batch
from tests.data.folders import annotation, data_module, document, image, write_dataset, write_json

AUGMENT = Compose(transforms=[RandomHorizontalFlip(), RandomSizeCrop(min_side=12, max_side=24)])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 training and 7 validation images."""
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, num_images=13)
    write_dataset(folder, num_images=7, split="val")
    return folder


def train_loader(root: Path, **options: Any) -> TrainLoader:  # noqa: ANN401
    module = data_module(root, **{"train_transform": AUGMENT, "batch_size": 4, **options})
    module.setup("fit")
    return module.train_dataloader()


def epochs(loader: TrainLoader, numbers: Sequence[int]) -> list[Batch]:
    batches: list[Batch] = []
    for epoch in numbers:
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        batches += list(loader)
    return batches


def same(first: Batch, second: Batch) -> bool:
    pairs = [(first.images, second.images), (first.targets.boxes, second.targets.boxes)]
    return all(torch.equal(a, b) for a, b in [*pairs, (first.image_ids, second.image_ids)])


def test_batches_do_not_depend_on_the_number_of_workers(root: Path) -> None:
    alone, shared_out = (epochs(train_loader(root, num_workers=workers), [0, 1]) for workers in (0, 2))
    assert len(alone) == len(shared_out) == 6
    assert all(same(first, second) for first, second in zip(alone, shared_out, strict=True))


def test_loading_draws_nothing_from_the_global_random_numbers(root: Path) -> None:
    state = torch.random.get_rng_state()
    epochs(train_loader(root), [0])
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("done", range(1, 6))
def test_training_continues_bit_by_bit_after_any_batch(root: Path, done: int) -> None:
    expected = epochs(train_loader(root), [0, 1])
    stopped = train_loader(root)
    for epoch in range(2):
        stopped.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for number, _ in enumerate(stopped, start=1 + 3 * epoch):
            if number == done:
                break
        if number == done:
            break
    resumed = train_loader(root)
    resumed.load_state_dict(stopped.state_dict())
    rest = epochs(resumed, range(done // 3, 2))
    assert len(rest) == 6 - done
    assert all(same(first, second) for first, second in zip(rest, expected[done:], strict=True))


class _StoppedError(Exception):
    """The end of a training that is killed."""


class _Recorder(LightningModule):
    """Notes what it is trained on; stops by raising after ``stop_after`` batches."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[int]] = []
        self._stop_after = stop_after

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.seen.append([*batch.image_ids.tolist(), int(batch.images.sum())])
        return self.weight * batch.images.float().mean()

    def on_train_batch_end(self, *_: object) -> None:
        if len(self.seen) == self._stop_after:
            self.trainer.save_checkpoint(Path(self.trainer.default_root_dir) / "last.ckpt")
            raise _StoppedError

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop_after", range(1, 9))
def test_lightning_resumes_with_the_next_batch(root: Path, tmp_path: Path, stop_after: int, workers: int) -> None:
    def fit(module: _Recorder, checkpoint: Path | None = None) -> list[list[int]]:
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=3,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            limit_val_batches=0,
            default_root_dir=tmp_path,
        )
        data = data_module(root, train_transform=AUGMENT, batch_size=4, num_workers=workers)
        with contextlib.suppress(_StoppedError):
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=False)
        return module.seen

    whole = fit(_Recorder())
    first = fit(_Recorder(stop_after))
    rest = fit(_Recorder(), tmp_path / "last.ckpt")
    assert len(whole) == 9
    assert first + rest == whole


def test_validation_sees_every_image_once_as_it_is(root: Path) -> None:
    module = data_module(root, eval_batch_size=3)
    module.setup("validate")
    batches = list(module.val_dataloader())
    assert [batch.image_ids.tolist() for batch in batches] == [[1, 2, 3], [4, 5, 6], [7]]
    assert module.val_annotations == root / "annotations/val.json"


def test_ranks_share_out_both_splits(root: Path) -> None:
    seen: list[list[int]] = []
    trained: list[int] = []
    for rank in range(2):
        module = data_module(root, eval_batch_size=2, batch_size=3)
        device = SimpleNamespace(root_device=torch.device("cpu"))
        module.trainer = SimpleNamespace(  # type: ignore[assignment]
            global_rank=rank, world_size=2, is_global_zero=rank == 0, strategy=device
        )
        module.setup("fit")
        seen.append([i for batch in module.val_dataloader() for i in batch.image_ids.tolist()])
        trained += [i for batch in module.train_dataloader() for i in batch.image_ids.tolist()]
    assert seen == [[1, 3, 5, 7], [2, 4, 6]]
    assert len(trained) == len(set(trained)) == 12


def test_fewer_validation_images_than_ranks_are_refused_on_every_rank(root: Path) -> None:
    for rank in (0, 7):
        module = data_module(root)
        module.trainer = SimpleNamespace(global_rank=rank, world_size=8, is_global_zero=rank == 0)  # type: ignore[assignment]
        module.setup("validate")
        with pytest.raises(ValueError, match=r"val\.json has 7 images for 8 processes: use fewer devices"):
            module.val_dataloader()


def test_validation_alone_needs_no_training_file(root: Path, tmp_path: Path) -> None:
    module = data_module(root, train_annotations=tmp_path / "nowhere.json")
    module.setup("validate")
    assert module.num_classes == 2


def test_validation_with_other_categories_is_refused(root: Path, tmp_path: Path) -> None:
    path = write_json(tmp_path / "val.json", document(categories=[{"id": 3, "name": "ant"}]))
    with pytest.raises(ValueError, match=r"val\.json has other categories .*missing 7 'cat'"):
        data_module(root, val_annotations=path).setup("fit")


@pytest.mark.parametrize("is_plain", [False, True])
def test_categories_of_a_checkpoint_decide(root: Path, is_plain: bool) -> None:
    wanted = Categories(ids=(3, 8), names=("ant", "cat"))
    module = data_module(root, categories=wanted.state_dict() if is_plain else wanted)
    with pytest.raises(ValueError, match="missing 8 'cat'; unknown 7 'cat'"):
        module.setup("validate")


def test_checkpoint_of_other_classes_is_refused_on_resume(root: Path) -> None:
    module = data_module(root)
    module.setup("fit")
    module.load_state_dict(module.state_dict())
    with pytest.raises(ValueError, match="other categories"):
        module.load_state_dict({"categories": {"ids": [1], "names": ["dog"]}})


def test_missing_images_are_found_at_setup_with_count_and_names(tmp_path: Path) -> None:
    write_dataset(tmp_path, num_images=9)
    for image_id in range(2, 9):
        (tmp_path / "train" / f"{image_id}.png").unlink()
    message = r"7 of 9 images do not exist in .*train: 2\.png, 3\.png, 4\.png, 5\.png, 6\.png \.\.\."
    with pytest.raises(FileNotFoundError, match=message):
        data_module(tmp_path).setup("fit")


def test_missing_folder_is_named(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist; check data\.root"):
        data_module(root, train_images="nowhere").setup("fit")


def test_images_without_objects_can_be_left_out_of_training(root: Path) -> None:
    module = data_module(root, keep_empty_images=False, batch_size=1)
    module.setup("fit")
    assert 13 - len(module.train_dataset) == 3  # images 4, 8 and 12
    assert len(module.val_dataset) == 7


def test_training_can_be_limited_to_the_first_images(root: Path) -> None:
    module = data_module(root, limit_train_images=2, batch_size=2)
    module.setup("fit")
    assert sorted(next(iter(module.train_dataloader())).image_ids.tolist()) == [1, 2]


def test_crowds_become_ignored_areas(shared: Path) -> None:
    folder = shared / "data/coco_sample"
    small = ResizeShortSide(short_sides=[64])
    module = data_module(
        folder,
        train_annotations="annotations/instances_train2017.json",
        train_images="train2017",
        val_annotations="annotations/instances_val2017.json",
        val_images="val2017",
        train_transform=small,
        val_transform=small,
        batch_size=50,
        eval_batch_size=41,
    )
    module.setup("fit")
    targets = next(iter(module.train_dataloader())).targets
    assert (int(targets.is_object.sum()), int(targets.is_ignore.sum())) == (465, 5)
    targets = next(iter(module.val_dataloader())).targets
    assert (int(targets.is_object.sum()), int(targets.is_ignore.sum())) == (323, 5)
    assert (~targets.is_object.any(dim=1)).sum() == 2
    np.testing.assert_array_equal(targets.size_class()[targets.is_object].bincount(), [150, 113, 60])


def test_repairs_are_logged_once_at_setup(tmp_path: Path, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [annotation(1, bbox=[1, 1, 0, 4]), annotation(2)]
    path = write_json(tmp_path / "train.json", document([image(1, height=25, width=33)], rows))
    module = data_module(root, train_annotations=path, batch_size=1)
    with caplog.at_level(logging.INFO, logger="deta"):
        module.setup("fit")
        module.setup("fit")
    messages = [record.getMessage() for record in caplog.records if "train.json" in record.getMessage()]
    assert len(messages) == 1
    assert "1 box without area left out (annotations 1)" in messages[0]


def test_skipped_images_are_reported_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_dataset(tmp_path, num_images=4)
    write_dataset(tmp_path, num_images=1, split="val")
    (tmp_path / "train/2.png").write_bytes(b"")
    module = data_module(tmp_path, on_bad_image="skip", max_bad_fraction=0.5, num_workers=2, batch_size=4)
    module.setup("fit")
    ids = [i for batch in module.train_dataloader() for i in batch.image_ids.tolist()]
    assert sorted(ids) == [1, 3, 3, 4]
    module.teardown("fit")
    assert "1 training image was skipped as unusable: 2.png" in caplog.text


def test_bad_validation_image_stops_even_where_training_skips(tmp_path: Path) -> None:
    write_dataset(tmp_path, num_images=2, split="val")
    (tmp_path / "val/2.png").write_bytes(b"")
    module = data_module(tmp_path, on_bad_image="skip", max_bad_fraction=1)
    module.setup("validate")
    with pytest.raises(ValueError, match=r"2\.png cannot be decoded"):
        list(module.val_dataloader())


def test_order_of_calls_is_explained(root: Path) -> None:
    module = data_module(root)
    with pytest.raises(RuntimeError, match="setup"):
        _ = module.num_classes
    with pytest.raises(RuntimeError, match=r"setup\('fit'\)"):
        module.train_dataloader()


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"num_workers": -1}, {"seed": 1.5}, {"on_bad_image": "ignore"}, {"limit_train_images": 0}],
)
def test_arguments_out_of_range_are_refused_by_name(root: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"data.{next(iter(options))} must be"):
        data_module(root, **options)


def turn(path: Path, orientation: int = 6) -> None:
    """Give an image an EXIF orientation."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    with Image.open(path) as picture:
        picture.save(path, exif=tags)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_orientations_are_counted_told_and_kept_for_the_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, num_workers: int
) -> None:
    write_dataset(tmp_path, num_images=4)
    write_dataset(tmp_path, num_images=3, split="val")
    turn(tmp_path / "val" / "1.png")  # annotated as stored
    module = data_module(tmp_path, num_workers=num_workers)
    module.setup("fit")
    assert module.state_dict()["exif"] is None
    (first, *_) = list(module.val_dataloader())
    assert first.original_sizes[0].tolist() == [25, 33]
    assert module.exif == "ignore"
    with caplog.at_level("INFO"):
        module.teardown("fit")
    assert "validation: 1 image has an EXIF orientation: 0 applied, 1 ignored (data.exif=auto)" in caplog.text
    later = data_module(tmp_path)
    later.setup("fit")
    later.load_state_dict(module.state_dict())
    assert later.exif == "ignore"


def test_an_orientation_that_was_chosen_is_kept_for_the_checkpoint(tmp_path: Path) -> None:
    assert data_module(tmp_path, exif="apply").exif == "apply"
    with pytest.raises(ValueError, match="exif must be one of apply, auto, ignore, got 'turn'"):
        data_module(tmp_path, exif="turn")


def test_images_left_out_of_every_epoch_are_told_with_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_dataset(tmp_path, num_images=7)
    write_dataset(tmp_path, num_images=1, split="val")
    for batch_size in (3, 7):
        module = data_module(tmp_path, batch_size=batch_size)
        module.setup("fit")
        with caplog.at_level("INFO"):
            module.train_dataloader()
    told = [line for line in caplog.messages if "left out of every epoch" in line]
    assert len(told) == 1
    assert told[0].startswith("1 image is left out of every epoch, each time others: too few for another batch of 3")


def test_an_image_over_the_limit_is_refused_with_the_key_or_skipped(tmp_path: Path) -> None:
    write_dataset(tmp_path, num_images=4)
    write_dataset(tmp_path, num_images=1, split="val")
    limit = 26 * 34 - 1  # of images 1 to 4 only the second is as large
    module = data_module(tmp_path, max_image_pixels=limit)
    module.setup("fit")
    with pytest.raises(
        ImageError, match=rf"2\.png has 884 pixels, at most {limit} are accepted.*data\.max_image_pixels"
    ):
        module.train_dataset[1]
    module = data_module(tmp_path, max_image_pixels=limit, on_bad_image="skip", max_bad_fraction=0.5)
    module.setup("fit")
    assert module.train_dataset[1].image_id == 3
    assert module.train_dataset.bad_images() == ["2.png"]


def test_a_link_out_of_the_image_folder_is_refused_until_it_is_allowed(tmp_path: Path) -> None:
    write_dataset(tmp_path, num_images=2)
    write_dataset(tmp_path, num_images=1, split="val")
    (tmp_path / "train" / "1.png").rename(tmp_path / "elsewhere.png")
    (tmp_path / "train" / "1.png").symlink_to(tmp_path / "elsewhere.png")
    for follow_links in (False, True):
        module = data_module(tmp_path, follow_links=follow_links, on_bad_image="skip", max_bad_fraction=1)
        module.setup("fit")
        if follow_links:
            assert module.train_dataset[0].image_id == 1
        else:
            with pytest.raises(ValueError, match=r"1\.png leads out of the folder .*data\.follow_links=true"):
                module.train_dataset[0]
