"""The share of time that passes without data."""

import time
from pathlib import Path

from torch import Generator

from deta.data import Sample
from deta.training.callbacks import DataWait
from tests.training.tiny import detection_module, logged, make_trainer, shapes


class _Slow:
    """A transform that takes its time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, sample: Sample, generator: Generator) -> Sample:
        time.sleep(self._seconds)
        return sample


def test_slow_reading_is_waiting(cache: Path, tmp_path: Path) -> None:
    shares = {}
    for seconds in (0.2, 0.0):
        data = shapes(cache, train_transform=_Slow(seconds), val_transform=_Slow(seconds))
        folder = tmp_path / str(seconds)
        begin = time.perf_counter()
        make_trainer(folder, callbacks=[DataWait()]).fit(detection_module(data), datamodule=data)
        whole = time.perf_counter() - begin
        for key, num_images in (("data/train_wait", 4), ("data/val_wait", 2)):
            (share,) = logged(folder, key)
            shares[seconds, key] = share
            assert seconds * num_images / whole <= share <= 1
    assert all(shares[0.2, key] > shares[0.0, key] for key in ("data/train_wait", "data/val_wait"))


def test_an_evaluation_alone_is_measured(cache: Path, tmp_path: Path) -> None:
    data = shapes(cache, val_transform=_Slow(0.1))
    trainer = make_trainer(tmp_path, callbacks=[DataWait()])
    trainer.validate(detection_module(data), datamodule=data, verbose=False)
    share = float(trainer.callback_metrics["data/val_wait"])
    assert 0 < share < 1
