"""Weights & Biases as a mirror of a run's own record, without a login and without a risk for the training."""

import logging
import os
import re
import secrets
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image

from deta.tracking.mirror import Mirror, harmless
from deta.tracking.wandb_core import answered_within
from deta.tracking.wandb_key import has_wandb_key
from deta.utils.checks import require_choice
from deta.utils.files import write_text

if TYPE_CHECKING:
    import wandb

_log = logging.getLogger(__name__)

ID_FILE = "wandb_id.txt"
"""In the run directory: the id under which W&B knows the run, so that all its parts are one."""
SECONDS_TO_ANSWER = 60.0
"""How long a call may take, and the end of a run; ``wandb sync`` sends what is left."""
SECONDS_TO_UPLOAD = 600.0
"""How long the end of an online run may take that sends checkpoints."""
_SECONDS_TO_START = 45.0
"""For a server that does not answer; shorter than a call may take, since an offline run is then started."""
PER_EPOCH = ("val/*", "assign/*")
"""Metrics that W&B draws over epochs."""
_MODES = ("online", "offline", "disabled")
_OLD_MODES = {"run": "online", "dryrun": "offline"}
"""Names that W&B still accepts in ``WANDB_MODE``."""
_CHECKPOINTS = ("none", "best", "all")
_MAX_NAME = 100
"""Letters of an id before its random part; W&B allows 128 in all."""


class WandbTracker(Mirror):
    """Sends metrics, configuration, pictures, tables and checkpoints to W&B, or keeps them on disk for ``wandb sync``.

    The step of every row is the training step, as in ``metrics.jsonl``; rows of one step are one row at W&B. The run
    starts at the first thing that is sent. A server that cannot be reached turns an online run into an offline one;
    any other failure ends the tracking with a warning.

    Args:
        folder: The run directory; its name is the name of the run.
        mode: ``online`` or ``offline``.
        project: W&B project.
        group: W&B group.
        job_type: W&B's kind of run, such as ``train``.
        checkpoints: Kept as artifacts: ``none``; ``best``: the best one at the end; ``all``: every one that is better
            than those before and, at the end, the last one.
    """

    title = "W&B"

    def __init__(
        self,
        *,
        folder: str | Path,
        mode: str,
        project: str,
        group: str,
        job_type: str = "train",
        checkpoints: str = "none",
    ) -> None:
        super().__init__(folder=folder)
        self.mode = require_choice("logger.wandb.mode", mode, ("online", "offline"))
        self._project = project
        self._group = group
        self._job_type = job_type
        self._checkpoints = require_choice("logger.wandb.checkpoints", checkpoints, _CHECKPOINTS)
        self._best: Path | None = None
        self._run: wandb.Run | None = None

    @property
    def seconds_to_finish(self) -> float:
        """How long the end of the run may take."""
        is_large = self.mode == "online" and self._checkpoints != "none"
        return SECONDS_TO_UPLOAD if is_large else SECONDS_TO_ANSWER

    def within_time(self, method: str) -> AbstractContextManager[None]:
        """Kills W&B's process where a call gets no answer."""
        return answered_within(self.seconds_to_finish if method == "finish" else SECONDS_TO_ANSWER)

    @harmless
    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as Lightning declares it
        """Make ``params`` the configuration of the run."""
        content = dict(params) if isinstance(params, Mapping) else vars(params)
        self._started().config.update(content, allow_val_change=True)  # type: ignore[no-untyped-call]  # W&B leaves it untyped

    @harmless
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send one row."""
        self._started().log(dict(metrics), step=step)

    @harmless
    def log_pictures(self, name: str, pictures: Sequence[Image.Image], *, step: int) -> None:
        """Send pictures."""
        import wandb

        self._started().log({name: [wandb.Image(picture) for picture in pictures]}, step=step)

    @harmless
    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, step: int) -> None:
        """Send a table."""
        import wandb

        table = wandb.Table(columns=list(columns), data=[list(row) for row in rows])
        self._started().log({name: table}, step=step)

    @harmless
    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Note the best checkpoint, and send it if all are wanted."""
        if checkpoint_callback.best_model_path:
            self._best = Path(checkpoint_callback.best_model_path)
            if self._checkpoints == "all":
                self._send(self._best, "best")

    def note_best(self, path: Path) -> None:
        """Note the best checkpoint of an earlier part of the run."""
        self._best = path

    @harmless
    def finish(self, *, exit_code: int = 0, is_preempted: bool = False) -> None:
        """End this part of the run; what was not uploaded in ``seconds_to_finish`` stays on disk.

        Args:
            exit_code: Other than 0 is a failure.
            is_preempted: The run comes back: W&B does not call it failed, and a W&B sweep gives it out again.
        """
        is_worth_a_start = exit_code == 0 and self._best is not None and self._checkpoints != "none"
        if self._run is None and not is_worth_a_start:
            return
        run, self._run = self._started(), None
        try:
            if self._best is not None and self._checkpoints == "best":
                self._send(self._best, "best", run)
            if self._best is not None and self._checkpoints == "all":
                self._send(self._best.with_name("last.ckpt"), "last", run)
            if is_preempted:
                run.mark_preempting()
        finally:
            run.finish(exit_code=exit_code)

    def _send(self, path: Path, alias: str, run: "wandb.Run | None" = None) -> None:
        import wandb

        run = run or self._started()
        if path.is_file():
            artifact = wandb.Artifact(f"{run.id}-{alias}", type="model")
            artifact.add_file(str(path), name=path.name)
            run.log_artifact(artifact, aliases=[alias])

    def _started(self) -> "wandb.Run":
        if self._run is None:
            self._run = self._start_or_stay_offline()
            for pattern in PER_EPOCH:
                self._run.define_metric(pattern, step_metric="epoch")
        return self._run

    def _start_or_stay_offline(self) -> "wandb.Run":
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        if self.mode == "online":
            try:
                if wandb.login(prompt=False):
                    return self._start()
                reason = "no key is known for this server"
            except Exception as error:  # of any kind: a server can fail in many ways
                reason = f"{type(error).__name__}: {error}"
            self.mode = "offline"
            _log.warning("W&B cannot go online (%s): the run is kept below %s for wandb sync", reason, self._folder)
        return self._start()

    def _start(self) -> "wandb.Run":
        import wandb

        return wandb.init(
            project=self._project,
            group=self._group,
            job_type=self._job_type,
            name=self._folder.name,
            id=run_id(self._folder),
            dir=self._folder,
            resume="allow",
            reinit="finish_previous",
            settings=wandb.Settings(
                mode=cast(Literal["online", "offline"], self.mode),
                console="off",
                silent=True,
                x_disable_stats=False,
                init_timeout=_SECONDS_TO_START,
                finish_timeout=self.seconds_to_finish,
            ),
        )


def make_wandb_tracker(
    *,
    folder: str | Path,
    mode: str = "auto",
    project: str = "deta",
    group: str | None = None,
    job_type: str = "train",
    checkpoints: str = "none",
) -> WandbTracker | None:
    """A tracker that never asks for a login: without a key the run is kept on disk for ``wandb sync``.

    Args:
        folder: The run directory.
        mode: ``auto`` (online with a key, else offline; ``WANDB_MODE`` decides where it is set), ``online``,
            ``offline`` or ``disabled``.
        project: W&B project.
        group: W&B group; None is the folder of the run directory, such as a sweep.
        job_type: W&B's kind of run.
        checkpoints: See ``WandbTracker``.

    Returns:
        The tracker, or None where it is disabled.

    Raises:
        ValueError: ``mode`` or ``checkpoints`` is none of the choices, or ``online`` without a key.
    """
    require_choice("logger.wandb.mode", mode, ("auto", *_MODES))
    if mode == "online" and not has_wandb_key():
        raise ValueError("logger.wandb.mode=online needs a key: set WANDB_API_KEY or run wandb login")
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if has_wandb_key() else "offline")
        mode = require_choice("WANDB_MODE", _OLD_MODES.get(mode, mode), _MODES)
    if mode == "disabled":
        require_choice("logger.wandb.checkpoints", checkpoints, _CHECKPOINTS)
        return None
    return WandbTracker(
        folder=folder,
        mode=mode,
        project=project,
        group=Path(folder).resolve().parent.name if group is None else group,
        job_type=job_type,
        checkpoints=checkpoints,
    )


def run_id(folder: Path) -> str:
    """The id of the run in this directory, kept there once it is made: ``<parent>-<name>-<random>``.

    Directories of equal names never share a run, nor does one that was emptied and used again: W&B would add to the
    earlier run, or refuse if that was deleted. Inside a W&B sweep the agent has chosen the id.
    """
    if "WANDB_SWEEP_ID" in os.environ and "WANDB_RUN_ID" in os.environ:
        return os.environ["WANDB_RUN_ID"]
    path = folder / ID_FILE
    if not path.is_file():
        name = re.sub(r"[^A-Za-z0-9._-]", "-", f"{folder.parent.name}-{folder.name}")
        write_text(path, f"{name[-_MAX_NAME:]}-{secrets.token_hex(4)}\n")
    return path.read_text().strip()
