"""Settings that stand side by side on a command line become the parts of a data module."""

import re
from dataclasses import fields
from typing import Any

import pytest
import yaml

from deta.data.settings import Choice, DataSettings, Files, Loading, Reading
from deta.studies.conf import config_dir

PATHS: dict[str, Any] = {
    "root": "/data",
    "train_annotations": "train.json",
    "train_images": "train",
    "val_annotations": "val.json",
    "val_images": "val",
}


def test_every_setting_reaches_the_part_that_has_it() -> None:
    found = DataSettings.of(
        {**PATHS, "batch_size": 3, "exif": "apply", "seed": 7, "layout": "lvis", "num_sampled_classes": 5}
    )
    assert found == DataSettings(
        files=Files(**PATHS, layout="lvis"),
        reading=Reading(exif="apply"),
        choice=Choice(seed=7, num_sampled_classes=5),
        loading=Loading(batch_size=3),
    )


def test_what_is_not_given_has_the_default_of_its_part() -> None:
    assert DataSettings.of(PATHS) == DataSettings(
        files=Files(**PATHS), reading=Reading(), choice=Choice(), loading=Loading()
    )


def test_no_two_parts_have_a_setting_of_one_name_and_the_configuration_shows_all() -> None:
    names = [field.name for part in (Files, Reading, Choice, Loading) for field in fields(part)]
    assert len(names) == len(set(names))
    shown = yaml.safe_load((config_dir() / "data" / "coco.yaml").read_text())
    assert set(names) == set(shown) - {"defaults", "_target_", "train_transform", "val_transform"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**PATHS, "batchsize": 3}, "data.batchsize is no setting of the data: is data.batch_size meant?"),
        ({**PATHS, "qqq": 3}, "data.qqq is no setting of the data: --cfg job shows what there is"),
        (
            {"root": "/data", "val_images": "val"},
            "data.train_annotations, data.train_images, data.val_annotations must",
        ),
        ({**PATHS, "source": "tar"}, "data.source must be one of folder, shards, got 'tar'"),
        ({**PATHS, "layout": "voc"}, "data.layout must be one of coco, lvis, got 'voc'"),
        ({**PATHS, "follow_links": 1}, "data.follow_links must be true or false, got 1"),
        ({**PATHS, "check_files": None}, "data.check_files must be true or false, got None"),
        ({**PATHS, "max_bad_fraction": 2}, "data.max_bad_fraction must be in [0, 1], got 2"),
        ({**PATHS, "min_image_side": 0}, "min_image_side must be at least 1, got 0"),
        ({**PATHS, "keep_empty_images": "no"}, "data.keep_empty_images must be true or false, got 'no'"),
        ({**PATHS, "shuffle_window": 0}, "data.shuffle_window must be at least 1, got 0"),
        ({**PATHS, "repeat_threshold": 1.5}, "data.repeat_threshold must be in [0, 1], got 1.5"),
        ({**PATHS, "num_sampled_classes": 2}, "data.num_sampled_classes must be 0 unless data.layout is lvis, got 2"),
        ({**PATHS, "eval_batch_size": 0}, "data.eval_batch_size must be at least 1, got 0"),
        ({**PATHS, "read_timeout": -1}, "data.read_timeout must be at least 0, got -1"),
        ({**PATHS, "pad_to": [8]}, "pad_to must be [height, width], got [8]"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        DataSettings.of(settings)
