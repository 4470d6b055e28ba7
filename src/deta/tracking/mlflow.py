"""MLflow as a mirror of a run's own record: a server's, or a file beside the run directories."""

import os
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from deta.tracking.mirror import Mirror, flat, harmless
from deta.utils.files import write_text

if TYPE_CHECKING:
    from mlflow import MlflowClient

ID_FILE = "mlflow_id.txt"
"""In the run directory: the id under which MLflow knows the run, so that all its parts are one."""
_MOST_AT_ONCE = 100
"""Parameters, or tags, of one call."""
_LONGEST_VALUE = 500
"""Letters of a parameter; servers before version 2.10 take no more."""


class MlflowTracker(Mirror):
    """Sends metrics, configuration, pictures and tables to MLflow. The run starts at the first thing that is sent.

    Parameters of MLflow never change: where a continued run has other settings, those stand as tags
    ``changed.<key>``.

    Args:
        folder: The run directory; its name is the name of the run, the folder above it the tag ``group``.
        tracking_uri: Of the server or store; None is ``MLFLOW_TRACKING_URI``, or without it ``mlflow.db`` in ``store``.
        store: Folder of ``mlflow.db`` and, beside it, ``mlflow-artifacts``.
        experiment: MLflow experiment, made if need be.

    Raises:
        ModuleNotFoundError: MLflow is not installed.
    """

    title = "MLflow"

    def __init__(
        self, *, folder: str | Path, store: str | Path, tracking_uri: str | None = None, experiment: str = "deta"
    ) -> None:
        super().__init__(folder=folder)
        if find_spec("mlflow") is None:
            raise ModuleNotFoundError("logger=mlflow needs a package that is not installed: pip install mlflow")
        self._store = Path(store).resolve()
        self._uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        self._experiment = experiment
        self._client: MlflowClient | None = None
        self._id = ""

    @harmless
    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as Lightning declares it
        """Make ``params`` the parameters of the run."""
        from mlflow.entities import Param, RunTag

        client = self._started()
        values = {key: str(value)[:_LONGEST_VALUE] for key, value in flat(params).items()}
        known = client.get_run(self._id).data.params
        added = [Param(key, value) for key, value in values.items() if key not in known]
        changed = [
            RunTag(f"changed.{key}", value) for key, value in values.items() if key in known and known[key] != value
        ]
        for start in range(0, max(len(added), len(changed)), _MOST_AT_ONCE):
            part = slice(start, start + _MOST_AT_ONCE)
            client.log_batch(self._id, params=added[part], tags=changed[part])

    @harmless
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send one row."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        row = [Metric(name, float(value), now, step or 0) for name, value in metrics.items()]
        self._started().log_batch(self._id, metrics=row)

    @harmless
    def log_pictures(self, name: str, pictures: Sequence[Image.Image], *, step: int) -> None:
        """Send pictures."""
        for k, picture in enumerate(pictures):
            self._started().log_image(self._id, picture, artifact_file=f"{name}/step{step}_{k}.png")

    @harmless
    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, step: int) -> None:
        """Send a table, in the format of ``mlflow.log_table``."""
        content = {"columns": list(columns), "data": [list(row) for row in rows]}
        self._started().log_dict(self._id, content, f"{name}/step{step}.json")

    @harmless
    def finish(self, *, exit_code: int = 0, is_preempted: bool = False) -> None:
        """Tell how this part ended; one that comes back is scheduled."""
        if self._client is not None:
            status = "SCHEDULED" if is_preempted else "FAILED" if exit_code else "FINISHED"
            self._client.set_terminated(self._id, status)

    def _started(self) -> "MlflowClient":
        if self._client is None:
            from mlflow import MlflowClient

            self._folder.mkdir(parents=True, exist_ok=True)
            client = MlflowClient(self._uri or f"sqlite:///{self._store / 'mlflow.db'}")
            path = self._folder / ID_FILE
            if path.is_file():
                self._id = path.read_text().strip()
                client.update_run(self._id, status="RUNNING")
            else:
                where, group = self._experiment_id(client), self._folder.parent.name
                self._id = client.create_run(where, run_name=self.name, tags={"group": group}).info.run_id
                write_text(path, f"{self._id}\n")
            self._client = client
        return self._client

    def _experiment_id(self, client: "MlflowClient") -> str:
        from mlflow.exceptions import MlflowException

        place = None if self._uri else (self._store / "mlflow-artifacts").as_uri()
        try:
            return str(client.create_experiment(self._experiment, artifact_location=place))
        except MlflowException:  # it is there already, or the server refuses
            found = client.get_experiment_by_name(self._experiment)
            if found is None:
                raise
            return str(found.experiment_id)
