"""Overrides as nobody should type them, drawn at random: any key of a training with any value."""

import random
from collections.abc import Iterator

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from deta.cli import config_dir
from deta.console.naming import register_resolvers
from deta.studies.settings import leaves

VALUES = (
    *("null", "true", "false", "nan", "inf", "-inf", "-1", "0", "1", "3", "0.5", "-0.0", "1e-400", "1e400", "2.5e9"),
    *("", "''", "abc", "a b", "[]", "{}", "[1,2]", "[null]", "[[]]", "[a,[b]]", "{a:1}", "{a:{b:null}}"),
    *("../../x", "/", ".", "~", "~/x", "/a=b", "a(b", "a)", "[", "]", "{", "}", "'", '"', "a'b", "\\", "*", "a,b"),
    *("${seed}", "${nowhere}", "${", "${oc.env:NOWHERE}", "${oc.env:HOME}", "${now:%Y}", "${run_name:}", "???"),
    *("é", "\x1b[31m", "\n", "\t", "\u202e", "x" * 300, "choice(1,2)", "range(3)", "interval(0,1)", "glob(*)"),
    *(
        "int(3)",
        "str(3)",
        "sort(2,1)",
        "auto",
        "none",
        "int",
        "builtins.dict",
        "deta.assign.IoUAssigner",
        "{_target_:x}",
    ),
)
NAMES = ("x", "a.b", "_target_", "_partial_", "_convert_", "_args_", "hydra", "hydra/launcher", "")
"""Keys that a configuration has not, or not for everybody."""
GROUPS = ("data", "model", "criterion", "optimizer", "callbacks", "logger", "cluster", "experiment", "sweep")
MOUNTED = ("assigner@criterion.rules.layers.assigner", "backbone@model.backbone", "postprocess@evaluations.x", "data@x")
_ENDLESS = ("data.num_train", "data.num_val", "trainer.max_epochs", "trainer.max_steps")
"""Keys whose values may rightly ask for endless work."""
_PLACES = ("dir", "root", "folder", "dirpath", "cache", "run_dir", "filename", "runs")
"""Last parts of keys that name places: the tests write to none but their own."""


def hostile_words(seed: int) -> Iterator[str]:
    """Overrides of ``deta train experiment=deta_shapes`` without end, always the same for a seed."""
    register_resolvers()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", ["experiment=deta_shapes", "logger=file", "run_dir=none", "name=none"])
    keys = [key for key, _ in leaves(OmegaConf.to_container(cfg))]
    values = [key for key in keys if key not in _ENDLESS and key.rpartition(".")[2] not in _PLACES]
    parts = sorted({key.rpartition(".")[0] for key in values} - {""})
    draw = random.Random(seed)
    pools = (values, values, values, parts, GROUPS, MOUNTED, NAMES)
    while True:
        key = draw.choice(draw.choice(pools))
        if draw.random() < 0.1:
            place = draw.randrange(len(key) + 1)
            key = key[:place] + draw.choice(("", ".", "x", "@", "[0]", "=", "-")) + key[place + 1 :]
        prefix = draw.choice(("", "", "", "", "", "+", "++", "~"))
        word = prefix + key if prefix == "~" and draw.random() < 0.5 else f"{prefix}{key}={draw.choice(VALUES)}"
        yield word
