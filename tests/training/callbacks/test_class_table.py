"""The file of average precision by class."""

import csv
from pathlib import Path

from deta.training.callbacks import ClassTable
from tests.training.tiny import detection_module, make_trainer, shapes


def test_every_class_has_a_row_with_the_figures_of_the_result(cache: Path, tmp_path: Path) -> None:
    data = shapes(cache)
    module = detection_module(data)
    trainer = make_trainer(tmp_path, callbacks=[ClassTable(folder=tmp_path / "run")])
    trainer.validate(module, datamodule=data, verbose=False)
    with (tmp_path / "run" / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert module.result is not None
    assert [row["class"] for row in rows] == list(module.class_names)
    for row, result in zip(rows, module.result.per_class, strict=True):
        assert int(row["objects"]) == result.num_objects
        assert row["AP"] == ("" if result.num_objects == 0 else str(result.ap))
    assert {row["AP"] == "" for row in rows} == {True, False}  # two images do not hold every class
