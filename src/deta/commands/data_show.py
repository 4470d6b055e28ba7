"""``deta data show``: annotated images before and after augmentation."""

from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from deta.building.build import make
from deta.console.terminal import reports_errors
from deta.data.datamodule import CocoDataModule
from deta.data.dataset import CocoDataset
from deta.drawing.boxes import save_picture
from deta.drawing.sheets import sample_sheet
from deta.utils.checks import require_choice, require_int
from deta.utils.wording import counted


@reports_errors
def run(cfg: DictConfig) -> None:
    """Write ``sheet_<k>.jpg``: a row for every image, as annotated and as each epoch would see it."""
    split = require_choice("split", cfg.split, ("train", "val"))
    num_images = require_int("num_images", cfg.num_images, low=1)
    num_epochs = require_int("num_epochs", cfg.num_epochs, low=1) if split == "train" else 1
    rows = require_int("rows", cfg.rows, low=1)
    datamodule: CocoDataModule = make(cfg.data)
    datamodule.prepare_data()
    datamodule.setup("fit" if split == "train" else "validate")
    dataset = datamodule.train_dataset if split == "train" else datamodule.val_dataset
    indices = _indices(cfg, dataset, num_images)
    folder = Path(cfg.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    sheets = [indices[start : start + rows] for start in range(0, len(indices), rows)]
    for number, chosen in enumerate(sheets, start=1):
        path = folder / f"sheet_{number:02d}.jpg"
        save_picture(sample_sheet(dataset, chosen, epochs=range(num_epochs)), path)
    if dataset.orientation_report():
        print(dataset.orientation_report())
    drawn = f"{counted(len(indices), 'image')} of {len(dataset)}"
    print(f"{drawn} on {counted(len(sheets), 'sheet')} in {folder.resolve()}")


def _indices(cfg: DictConfig, dataset: CocoDataset, num_images: int) -> list[int]:
    """Positions of the images asked for by id, or of random ones, in the order of the data set."""
    ids = dataset.annotations.image_ids
    if cfg.image_ids is None:
        drawn = np.random.default_rng(require_int("data.seed", cfg.data.seed, low=0)).permutation(len(ids))
        return sorted(drawn[:num_images].tolist())
    positions = {identity: index for index, identity in enumerate(ids.tolist())}
    unknown = [identity for identity in cfg.image_ids if identity not in positions]
    if unknown:
        raise ValueError(f"image_ids must be images of the {cfg.split} split, {unknown[:5]} are not")
    return [positions[identity] for identity in cfg.image_ids]
