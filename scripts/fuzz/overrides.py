"""Words that a user may type behind ``deta train``."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from deta.cli import config_dir, main
from deta.console.naming import register_resolvers
from scripts.fuzz.trial import Case

_BASE = (
    "experiment=deta_shapes", "data=coco", "logger=file", "model.body.hidden_dim=32",
    "model.body.encoder.num_layers=1", "model.body.decoder.num_layers=1", "trainer.enable_progress_bar=false",
)  # fmt: skip
"""A training of the data below."""
_DATA = "without-images"
"""A folder with annotations alone: a training ends where it looks for images, and what was asked for has been taken."""
_ANNOTATIONS = {
    "images": [{"id": 1, "file_name": "a.jpg", "height": 64, "width": 64}],
    "categories": [{"id": 1, "name": "ant"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 8, 32, 32], "area": 1024}],
}
_VALUES = (
    "nan", "inf", "-inf", "null", "true", "false", "''", "-1", "0", "1e400", "abc", "../../x", "[]", "[1,2]", "[null]",
    "[[1],[2]]", "{}", "{a:1}", "{_target_:os.getcwd}", "'${oc.env:HOME}'", "???", "99999999999999999999", "1,2",
    "é", "\x1b[31m", "${nowhere}", "x" * 300, "/", "~", "0x10", "1_000", "-0.0", "[1", "{a", "a=b",
)  # fmt: skip
_WORDS = (
    "--hydra-help", "--help", "-h", "--info", "--cfg", "--cfg=job", "--cfg=nonsense", "--multirun", "-m", "--resolve",
    "--x", "--seed=1", "=x", "a", "..=1", "a..b=1", "a.b.c.d=1", ".seed=1", "seed.=1", "seed..x=1", "@x=1", "seed@x=1",
    "'", "\\", "", " ", "seed", "seed=", "+seed", "~seed", "~model", "~trainer.max_epochs", "+x", "++", "~",
    "hydra.run.dir=", "hydra/launcher=nowhere", "hydra.sweeper=null", "hydra.job.name=null", "+callbacks.x=1",
    "+callbacks.x={}", "+logger.x=[1]", "optimizer.make._partial_=-1", "optimizer.make._target_=nowhere.x",
    "model._target_=null", "model.backbone._target_=os", "+evaluations=../../x", "+postprocess@evaluations.x=nms",
    "criterion=[null]", "model=null", "data.root=", "ckpt=/nonexistent", "ckpt=[1]", "weights=/nonexistent",
    "weights=7", "run_dir=null", "paths=null", "experiment=nan",
)  # fmt: skip


class Overrides:
    """Wrong types, NaN, lists, dotted nonsense, groups as values, and options of Hydra."""

    name = "overrides"
    suffix = ".txt"
    seconds = 120.0

    def __init__(self) -> None:
        register_resolvers()
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            cfg = compose("train", [*_BASE], return_hydra_config=False)
        self._values = dict(_leaves(OmegaConf.to_container(cfg, resolve=False)))
        self._groups = sorted(entry.name for entry in config_dir().iterdir() if entry.is_dir())

    def make(self, random: Random) -> Case:
        """Words with values of any type behind keys and groups."""
        how = random.random()
        if how < 0.2:
            words = [random.choice(_WORDS)]
        elif how < 0.35:
            words = [f"{random.choice(self._groups)}={random.choice(_VALUES)}"]
        else:
            words = [
                f"{random.choice(('', '', '', '+', '++', '~'))}{self._key(random)}={random.choice(_VALUES)}"
                for _ in range(random.choice((1, 1, 2)))
            ]
        return Case(" ".join(words), "\n".join(words).encode(), names=tuple(_names(words)))

    def check(self, path: Path, case: Case) -> str | None:
        """Train a step with them, in a process of its own."""
        words = case.content.decode().split("\n")
        if any("\x00" in word for word in words):
            return None
        data = _write_annotations(path.parent / _DATA)
        own = (f"data.root={data}", *words, f"hydra.run.dir={path.parent / 'run'}")
        status, shown = _run(["deta", "train", *_BASE, *own], path, self.seconds)
        if "Traceback (most recent call last)" in shown:
            raise RuntimeError(shown.strip().splitlines()[-1])
        if status not in (0, 1, 2):
            return f"it ended with status {status}"
        if status == 0:
            return None
        is_taken = _DATA in shown and "does not exist" in shown
        if is_taken and any(self._is_nonsense(word) for word in words):
            return "a number was replaced by something else"
        if not is_taken:
            raise ValueError(shown.strip())
        return None

    def _key(self, random: Random) -> str:
        key = random.choice(list(self._values))
        return key if random.random() < 0.9 else key.rpartition(".")[0] or key

    def _is_nonsense(self, word: str) -> bool:
        key, _, value = word.partition("=")
        number = self._values.get(key)
        is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
        return is_number and value in ("nan", "inf", "-inf", "{}", "{a:1}", "abc", "true", "[]", "[1,2]", "[null]")


def _write_annotations(root: Path) -> Path:
    """A data set of which only the annotations are there."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for split in ("train", "val"):
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(_ANNOTATIONS))
    return root


def _names(words: list[str]) -> Iterator[str]:
    """What tells a user which word is meant: the word, its key, the node of the key, or the value."""
    for word in words:
        key, _, value = word.lstrip("+~").partition("=")
        names = (word, key, key.rpartition(".")[0], key.rpartition(".")[2], value, value.strip("${}'\""))
        yield from filter(None, names)
        if not word.strip():
            yield repr(word)


def _leaves(tree: object, path: str = "") -> list[tuple[str, object]]:
    if isinstance(tree, dict):
        return [leaf for key, value in tree.items() for leaf in _leaves(value, f"{path}.{key!s}" if path else str(key))]
    return [(path, tree)]


def _run(words: list[str], path: Path, seconds: float) -> tuple[int, str]:
    """A command in a process of its own: its exit status and all that it printed."""
    output = path.with_name("output.txt")
    child = os.fork()
    if child == 0:
        signal.alarm(int(seconds * 0.8))
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout = sys.stderr = os.fdopen(file, "w", buffering=1)  # a test has put others in their place
        os.chdir(path.parent)
        sys.argv = words
        status = 0
        try:
            main()
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:  # of any kind: it ends as the interpreter would
            sys.excepthook(*sys.exc_info())
            status = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), output.read_text(errors="replace")
