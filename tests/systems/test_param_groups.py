"""Learning rate, weight decay and frozen parameters of the published recipes."""

from pathlib import Path

import pytest
import torch
from torch import nn

from deta.commands.build import make, plain
from deta.models.releases import layout_of
from deta.training.optim import PARAMETER_NAMES, parameter_groups
from tests.systems.published import composed, published_detector, read, stems


def published_names(own: dict[str, torch.Tensor], aliases: dict[str, str]) -> dict[str, str]:
    """The name under which a parameter stands in the list of a publication, by ours.

    Rows that are published below those of another parameter have the name of that one.
    """
    layout = layout_of(own)
    joined = {further: main for main, further in layout.joined}
    numbers = {name: torch.tensor([float(number)]) for number, name in enumerate(own) if name not in joined}
    ours = list(own)
    names: dict[str, str] = {}
    for published, number in layout.to_release(numbers).items():
        if published in layout.constants:
            continue
        names.setdefault(ours[int(number)], aliases.get(published, published))
    return {name: names[joined.get(name, name)] for name in own}


@pytest.mark.parametrize("stem", stems("param_groups"))
def test_every_parameter_learns_as_it_was_published(stem: str, systems_dir: Path) -> None:
    reference = read(systems_dir, stem, "param_groups")
    cfg = composed(stem)
    detector = published_detector(cfg)
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


@pytest.mark.parametrize("stem", stems("param_groups"))
def test_the_schedule_and_clipping_are_those_of_the_recipe(stem: str, systems_dir: Path) -> None:
    recipe = read(systems_dir, stem, "param_groups").get("recipe")
    if recipe is None:
        pytest.skip(f"the file of {stem} tells no recipe")
    cfg = composed(stem)
    assert cfg.trainer.gradient_clip_val == recipe["clip_max_norm"]
    optimizer = make(cfg.optimizer.make)([nn.Parameter(torch.zeros(1))])
    assert type(optimizer).__name__ == recipe["optimizer"]
    if "epochs" in recipe:
        assert cfg.trainer.max_epochs == recipe["epochs"]
        assert list(cfg.schedule.make.milestones) == [recipe["lr_drop"]]
