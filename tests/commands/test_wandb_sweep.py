"""The command that a W&B agent would run; its server is not needed for that."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from deta.cli import config_dir

SWEEP = Path(__file__).resolve().parents[2] / "scripts" / "wandb" / "sweep.yaml"


@pytest.mark.parametrize(("number", "expected"), [(4, 4), ("null", None)])
def test_the_command_of_an_agent_composes_to_the_values_it_was_given(
    number: int | str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = OmegaConf.to_container(OmegaConf.load(SWEEP))
    assert isinstance(content, dict)
    tau, most = content["parameters"]
    assert number in content["parameters"][most]["values"]
    monkeypatch.setenv("WANDB_RUN_ID", "abc123")
    macros = create_sweep_command_args({"args": {tau: {"value": 0.45}, most: {"value": number}}})
    macros["env"] = ["/usr/bin/env"]
    words: list[str] = []
    for word in create_sweep_command(list(content["command"])):
        words += macros[word[2:-1]] if word.startswith("${") and word.endswith("}") else [word]
    assert words[:3] == ["/usr/bin/env", "deta", "train"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", words[3:], return_hydra_config=True)
        assert OmegaConf.select(cfg, tau) == 0.45
        assert OmegaConf.select(cfg, most) == expected
        assert cfg.logger.wandb.mode == "online"
        assert cfg.hydra.run.dir == f"{cfg.paths.runs}/wandb_sweep/abc123"
