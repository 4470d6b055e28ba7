"""Runs in a store on disk, read by MLflow's own client."""

from pathlib import Path

import pytest
from PIL import Image

from deta.tracking import mlflow
from deta.tracking.mlflow import ID_FILE, MlflowTracker


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_parts_of_a_continued_run_are_one_run(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    run = tmp_path / "group" / "run"
    statuses = []
    client = None
    for part, (rate, is_preempted) in enumerate(((0.1, True), (0.2, False))):
        tracker = MlflowTracker(folder=run, store=tmp_path)
        tracker.log_hyperparams({"optimizer": {"lr": rate, "fused": None}, "seed": 0})
        tracker.log_metrics({"val/AP": 0.5 + part, "lr-AdamW/base": float("nan")}, part)
        tracker.log_pictures("val/pictures", [Image.new("RGB", (8, 8))], step=part)
        tracker.log_table("val/classes", ["class", "AP"], [["cat", 0.5]], step=part)
        tracker.finish(exit_code=int(is_preempted), is_preempted=is_preempted)
        assert not tracker.is_broken
        client = client or MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
        statuses.append(client.get_run((run / ID_FILE).read_text().strip()).info.status)
    assert client is not None
    assert statuses == ["SCHEDULED", "FINISHED"]
    experiment = client.get_experiment_by_name("deta")
    assert experiment is not None
    other = MlflowTracker(folder=run.with_name("other"), store=tmp_path)
    other.log_metrics({"val/AP": 0.5}, 0)
    assert not other.is_broken
    runs = {found.info.run_name: found for found in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"run", "other"}
    found = runs["run"]
    assert found.data.params == {"optimizer.lr": "0.1", "optimizer.fused": "None", "seed": "0"}
    assert {key: found.data.tags[key] for key in ("group", "changed.optimizer.lr")} == {
        "group": "group",
        "changed.optimizer.lr": "0.2",
    }
    assert [metric.value for metric in client.get_metric_history(found.info.run_id, "val/AP")] == [0.5, 1.5]
    assert len(client.list_artifacts(found.info.run_id, "val/pictures")) == 2
    assert len(client.list_artifacts(found.info.run_id, "val/classes")) == 2
    assert (tmp_path / "mlflow-artifacts").is_dir()


def test_without_the_package_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"^logger=mlflow needs .* pip install mlflow$"):
        MlflowTracker(folder=tmp_path, store=tmp_path)
