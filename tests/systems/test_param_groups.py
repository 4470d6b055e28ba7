"""Learning rate, weight decay and frozen parameters of the published recipes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from deta.building.build import make, plain
from deta.models.releases import layout_of
from deta.training.optim import PARAMETER_NAMES, parameter_groups
from tests.systems.published import DENSE, TWINS, composed, published_detector, read, recipe_of, stems

PATTERNS = "--num_patterns"
FIXED_NORMS = {"fcos_r50_fpn_mmdet"}
"""Models whose norms are not trained at all, but are published with the counters of trained ones."""


def published_names(
    own: dict[str, torch.Tensor], aliases: dict[str, str], layout_name: str | None = None
) -> dict[str, str]:
    """The name under which a parameter stands in the list of a publication, by ours.

    Rows that are published below those of another parameter have the name of that one.
    """
    layout = layout_of(own, layout_name)
    joined = {further: main for main, further in layout.joined}
    numbers = {name: torch.tensor([float(number)]) for number, name in enumerate(own) if name not in joined}
    ours = list(own)
    names: dict[str, str] = {}
    for published, number in layout.to_release(numbers).items():
        if published in layout.constants:
            continue
        names.setdefault(ours[int(number)], aliases.get(published, published))
    return {name: names[joined.get(name, name)] for name in own}


@pytest.mark.gate
@pytest.mark.parametrize("stem", stems("param_groups"))
def test_every_parameter_learns_as_it_was_published(stem: str, systems_dir: Path) -> None:
    reference = read(systems_dir, stem, "param_groups")
    cfg = composed(stem)
    detector = published_detector(stem)
    names = published_names(detector.state_dict(), reference["tied_keys"])
    groups = parameter_groups(
        detector.named_parameters(), lr=cfg.optimizer.lr, lr_factors=plain(cfg.optimizer.lr_factors)
    )
    optimizer = make(cfg.optimizer.make)(groups)
    found = {
        names[own]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for own in group[PARAMETER_NAMES]
    }
    frozen = {names[own] for own, parameter in detector.named_parameters() if not parameter.requires_grad}
    expected = reference["param_groups"]
    trained = {name: entry for name, entry in expected.items() if entry["requires_grad"]}
    assert found == {name: (pytest.approx(entry["lr"]), entry["weight_decay"]) for name, entry in trained.items()}
    assert frozen == expected.keys() - trained.keys()


@pytest.mark.gate
@pytest.mark.parametrize("stem", stems("param_groups", among=sorted(DENSE.keys() - FIXED_NORMS)))
def test_what_a_dense_system_does_not_train_is_what_was_published_so(stem: str, systems_dir: Path) -> None:
    reference = read(systems_dir, stem, "param_groups")
    detector = published_detector(stem)
    names = published_names(detector.state_dict(), {}, TWINS.get(stem))
    found = {names[own]: parameter.requires_grad for own, parameter in detector.named_parameters()}
    trained = {name: entry["requires_grad"] for name, entry in reference["param_groups"].items()}
    assert found == trained
    assert sum(parameter.numel() for parameter in detector.parameters()) == reference["num_parameters"]


@pytest.mark.parametrize("stem", stems("param_groups", where=recipe_of))
def test_the_schedule_and_clipping_are_those_of_the_recipe(stem: str, systems_dir: Path) -> None:
    recipe = recipe_of(systems_dir, stem)
    cfg = composed(stem)
    assert cfg.trainer.gradient_clip_val == recipe["clip_max_norm"]
    optimizer = make(cfg.optimizer.make)([nn.Parameter(torch.zeros(1))])
    assert type(optimizer).__name__ == recipe["optimizer"]
    if "epochs" in recipe:
        assert cfg.trainer.max_epochs == recipe["epochs"]
        assert list(cfg.schedule.make.milestones) == [recipe["lr_drop"]]


def said(cfg: DictConfig) -> dict[str, Any]:
    """What a configuration says of all that a recipe may tell."""
    body, rules = cfg.model.body, cfg.criterion.rules
    denoise = body.get("groups", {}).get("denoise", {})
    return {
        "num_queries": body.source.num_queries,
        "dim_feedforward": body.encoder.ffn_dim if body.encoder.ffn_dim == body.decoder.ffn_dim else None,
        "dropout": body.encoder.dropout if body.encoder.get("dropout") == body.decoder.get("dropout") else None,
        "scalar": denoise.get("groups"),
        "label_noise_scale": denoise.get("label_noise"),
        "box_noise_scale": denoise.get("box_noise"),
        "dilation_layer4": cfg.model.backbone.dilated,
        "num_patterns": body.source.get("num_patterns", 0),
        "weights": {
            f"{begin}loss_{name}": rules[role][terms][term].weight
            for begin, role in (("", "layers"), ("tgt_", "denoise"))
            if role in rules
            for name, terms, term in (
                ("ce", "class_terms", "class"),
                ("bbox", "box_terms", "l1"),
                ("giou", "box_terms", "giou"),
            )
        },
    }


@pytest.mark.parametrize("stem", stems("param_groups", where=recipe_of))
def test_sizes_noise_and_weights_are_those_of_the_recipe(stem: str, systems_dir: Path) -> None:
    recipe = recipe_of(systems_dir, stem)
    found = said(composed(stem))
    arguments = recipe.get("arguments", [])
    patterns = {"num_patterns": int(arguments[arguments.index(PATTERNS) + 1])} if PATTERNS in arguments else {}
    told = {"dilation_layer4": "--dilation" in arguments, **patterns, **recipe}
    assert {name: found[name] for name in told if name in found} == {name: told[name] for name in told if name in found}
    layers = {name: weight for name, weight in recipe.get("weight_dict", {}).items() if name[-1].isalpha()}
    layers = {name: weight for name, weight in layers.items() if not name.endswith("_enc")}  # which have no loss
    assert layers in ({}, found["weights"])
