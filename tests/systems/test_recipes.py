"""Schedules, rates and post-processing of the recipes, as their publications give them."""

from dataclasses import dataclass

import pytest
from hydra import compose, initialize_config_dir

from deta.cli import config_dir
from deta.console.naming import register_resolvers
from tests.systems.test_dense_recipes import RECIPES as DENSE_RECIPES

BACKBONE = frozenset({"backbone"})
OFFSETS = BACKBONE | {"sampling_offsets", "reference_points"}
"""Parameters that learn ten times slower."""


@dataclass(frozen=True)
class Recipe:
    """What a publication gives.

    Attributes:
        epochs: Of the training.
        drop: Epochs after which the rate falls to a tenth.
        lr: Base learning rate.
        slower: Parameters that learn at a tenth of it.
        clip: Largest norm of the gradients.
        kept: Detections of an image.
        selection: Class that selects them.
    """

    epochs: int
    drop: int
    lr: float = 1e-4
    slower: frozenset[str] = BACKBONE
    clip: float | None = 0.1
    kept: int = 100
    selection: str = "TopK"


RECIPES = {
    "detr_r50_150ep": Recipe(150, 100, selection="OnePerQuery"),
    "detr_r50_500ep": Recipe(500, 400, selection="OnePerQuery"),
    "detr_r50_dc5_500ep": Recipe(500, 400, selection="OnePerQuery"),
    "deformable_detr_r50_50ep": Recipe(50, 40, 2e-4, OFFSETS),
    "deformable_detr_refine_r50_50ep": Recipe(50, 40, 2e-4, OFFSETS),
    "deformable_detr_two_stage_r50_50ep": Recipe(50, 40, 2e-4, OFFSETS),
    "dab_detr_r50_50ep": Recipe(50, 40, kept=300),
    "dab_deformable_detr_r50_50ep": Recipe(50, 40),
    "dn_detr_r50_50ep": Recipe(50, 40, kept=300),
    "dn_deformable_detr_r50_50ep": Recipe(50, 40),
    "dn_deformable_detr_encoder_only_r50_50ep": Recipe(50, 40, kept=300),
    "dino_r50_12ep": Recipe(12, 11, kept=300),
    "dino_r50_24ep": Recipe(24, 20, kept=300),
    "dino_r50_36ep": Recipe(36, 30, kept=300),
    "dino_5scale_r50_12ep": Recipe(12, 11, kept=300),
    "dino_swinl_36ep": Recipe(36, 30, kept=300),
    "group_detr_r50_12ep": Recipe(12, 11),
    "h_detr_r50_12ep": Recipe(12, 11, 2e-4, OFFSETS),
    "h_detr_r50_36ep": Recipe(36, 30, 2e-4, OFFSETS),
    "efficient_detr_r50_36ep": Recipe(36, 24),
    "fqdet_r50_12ep": Recipe(12, 9, 1e-4, OFFSETS, clip=None, selection="NMS"),
    "fqdet_r50_encoder_12ep": Recipe(12, 9, 1e-4, OFFSETS, clip=None, selection="NMS"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_that_of_its_publication(name: str) -> None:
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", [f"experiment={name}", "name=test", "run_dir=none"])
    (drop,) = cfg.schedule.make.milestones
    factors = cfg.optimizer.lr_factors
    assert RECIPES[name] == Recipe(
        epochs=cfg.trainer.max_epochs,
        drop=drop,
        lr=cfg.optimizer.lr,
        slower=frozenset(factors),
        clip=cfg.trainer.gradient_clip_val,
        kept=cfg.postprocess.max_detections,
        selection=cfg.postprocess._target_.rpartition(".")[2],
    )
    assert set(factors.values()) == {0.1}
    assert (cfg.optimizer.make._target_, cfg.optimizer.make.weight_decay) == ("torch.optim.AdamW", 1e-4)
    assert cfg.augment.short_sides == [*range(480, 801, 32)]
    assert (cfg.augment.crop_short_sides, cfg.augment.crop_sides) == ([400, 500, 600], [384, 600])
    assert cfg.model.backbone.frozen == ([] if "swinl" in name else ["conv1", "layer1"])


def test_every_recipe_of_a_query_system_is_compared() -> None:
    found = {path.stem for path in (config_dir() / "experiment").glob("*.yaml")}
    ours = {name for name in found if name.startswith(("deta_", "improved_baseline_", "demo", "finetune"))}
    assert found - ours - DENSE_RECIPES.keys() - {"deformable_detr_r50_two_stage"} == set(RECIPES)
