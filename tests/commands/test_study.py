"""``deta study``: every shipped study is strict, and a study does what is missing, judges and names what failed."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from deta.cli import config_dir
from deta.commands.study import compose_cells, make_plan
from deta.console.naming import register_resolvers
from deta.runs.state import RunState, read_status
from deta.studies.collect import collect
from deta.studies.plan import Plan, Study
from deta.studies.results import Verdict
from tests.commands.running import FEW_IMAGES, SMALL_MODEL, Outcome, deta, fail, succeed

CONF = config_dir()
QUESTIONS = sorted(path.stem for path in (CONF / "study" / "question").glob("*.yaml"))
SIZES = sorted(path.stem for path in (CONF / "study" / "size").glob("*.yaml"))
STUDIES = [f"{question}_{size}" for question in QUESTIONS for size in SIZES]
TINY = (
    *SMALL_MODEL,
    *FEW_IMAGES,
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "trainer.max_epochs=1",
    "trainer.check_val_every_n_epoch=1",
    "callbacks.pictures.num_images=0",
)


@pytest.fixture
def hydra() -> Iterator[None]:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def declared(name: str) -> Study:
    question, _, size = name.rpartition("_")
    chosen = [f"study/question@study={question}", f"study/size@study={size}"]
    cfg = compose("study", ["study=product", *chosen, f"study.name={name}"]).study
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    return Study.from_config({str(key): value for key, value in content.items()})


def words(folder: Path, *more: str) -> list[str]:
    """Two cells and two seeds of the smallest training."""
    given = ",".join(f'"{word}"' for word in TINY)
    return [
        "study",
        *([] if any(word.startswith("study=") for word in more) else ["study=normalizer_shapes"]),
        *([] if any(word.startswith("study.seeds=") for word in more) else ["study.seeds=[0,1]"]),
        f"overrides=[{given}]",
        "bootstrap=100",
        "threads=1",
        "parallel=2",
        f"folder={folder}",
        *more,
    ]


def study(folder: Path, *more: str) -> Outcome:
    return deta(*words(folder, *more))


def states(folder: Path) -> list[RunState]:
    return [read_status(folder / run.folder).state for run in Plan.read(folder).runs]


def test_every_question_comes_in_every_size() -> None:
    asked = {"assignment", "tau1", "tau2", "gamma", "balance", "closest_box", "proposals", "rematch", "normalizer"}
    assert asked | {"systems", "leading_systems", "rules", "by_heart"} == set(QUESTIONS)
    assert set(SIZES) == {"coco", "shapes", "bccd", "overfit"}
    named = succeed("study", "study=tau2_shapes", "--cfg", "job").out
    assert succeed("study", "study=tau2", "size=shapes", "--cfg", "job").out == named
    assert "name: tau2_shapes" in named


@pytest.mark.gate
def test_runs_of_earlier_days_have_the_names_that_they_had(tmp_path: Path) -> None:
    kept = Path(__file__).parents[2] / "docs" / "results" / "systems_shapes"
    folder = shutil.copytree(kept, tmp_path / "runs")
    told = succeed("study", "study=systems_shapes", f"folder={folder}", "study.seeds=[0]", "action=plan").out
    assert told.count(" seed=0: done\n") == len(list(kept.glob("*-s0-*/done.json"))) > 20


def test_a_name_does_not_lead_out_of_the_folder_of_runs(tmp_path: Path) -> None:
    named = ("study", "study=tau2_shapes", "study.name=../../other", "action=plan")
    assert "study.name=../../other leads out of the folder of runs: give folder=<folder>" in fail(*named)
    succeed(*named, "study.seeds=[0]", "study.axes.tau2.levels=[0.6,0.8]", f"folder={tmp_path}")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.gate if name.endswith("_shapes") else pytest.mark.slow) for name in STUDIES],
)
@pytest.mark.usefixtures("hydra")
def test_every_shipped_study_differs_as_declared_alone(name: str) -> None:
    study = declared(name)
    plan = make_plan(study, compose_cells(study))
    assert study.name == name
    assert len(study.seeds) >= 3
    assert study.postprocess == ("nms", "topk")
    assert len({planned.folder for planned in plan.runs}) == len(study.cells()) * len(study.seeds)


@pytest.mark.usefixtures("hydra")
def test_the_assignment_study_is_two_by_two_stages_with_and_without_nms() -> None:
    study = declared("assignment_coco")
    levels = ("one-to-many", "one-to-one")
    assert [tuple(cell.values()) for cell in study.cells()] == [(a, b) for a in levels for b in levels]
    assert study.base_cell["postprocess"] == "nms"
    composed = compose("train", study.words(study.cells()[-1], 0))
    assert composed.criterion.rules.first.assigner._target_.endswith("HungarianAssigner")
    assert composed.criterion.rules.layers.assigner._target_.endswith("HungarianAssigner")
    assert composed.criterion.rules.layers.rematch == "per_layer"
    assert composed.model.body.source.selection._target_.endswith("TopKPerLevel")


def test_a_plan_trains_nothing_and_does_not_need_pytorch(tmp_path: Path) -> None:
    script = f"""
import sys
sys.argv = ["deta", "study", "study=tau2_shapes", "action=plan", "folder={tmp_path}"]
from deta.cli import main
main()
assert not {{"torch", "lightning", "scipy"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "5 cells x 3 seeds, and they differ as declared" in done.stdout
    assert done.stdout.count("seed=0: missing") == 5
    lines = [shlex.split(line) for line in done.stdout.splitlines() if line.startswith("  deta train ")]
    assert len(lines) == 15
    assert all(sum(word.startswith(f"hydra.run.dir={tmp_path}/") for word in line) == 1 for line in lines)
    assert list(tmp_path.iterdir()) == []


LEVEL = "study.axes.proposals.levels.topk"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            [f"{LEVEL}=['selection=topk','data.batch_size=3']"],
            "data.batch_size is 3 in the cell proposals=topk, but 4 in the base, and study.axes.proposals.keys does",
        ),
        (
            [f"{LEVEL}=['data.num_workers=1']"],
            "the cells proposals=topk_per_level_nms and proposals=topk are the same training",
        ),
        (["study.axes.proposals.keys=[model.proposal]"], "study.axes.proposals.keys: model.proposal is no key of any"),
        (["action=walk"], "action must be one of collect, plan, run, got 'walk'"),
        (["bootstrap=5"], "bootstrap must be at least 100, got 5"),
    ],
)
def test_what_is_not_strict_is_refused_before_anything_runs(tmp_path: Path, more: list[str], message: str) -> None:
    outcome = study(tmp_path / "study", "study=proposals_shapes", *more)
    assert outcome.code == 1
    assert message in outcome.err
    assert not (tmp_path / "study").exists()


def test_an_unknown_study_lists_those_that_there_are() -> None:
    message = fail("study", "study=nothing")
    assert "questions: assignment, balance," in message
    assert "sizes: bccd, coco, overfit, shapes" in message
    assert "study=tau9 size=coco: did you mean study=tau2_coco?" in fail("study", "study=tau9", "size=coco")
    assert "study=assignment: did you mean study=assignment_" in fail("study", "assignment", "action=plan")


@dataclass(frozen=True)
class Finished:
    """A study that was killed once and then done; tests leave it as it is."""

    folder: Path
    code_when_killed: int
    states_when_killed: list[RunState]
    outcome: Outcome


@pytest.fixture(scope="module")
def finished(workplace: Path) -> Finished:
    folder = workplace / "study"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CACHE", "RUNS"):
            patch.setenv(f"DETA_{name}", str(workplace / name.lower()))
        command = [sys.executable, "-m", "deta", *words(folder)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not any(folder.rglob("last.ckpt")):
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            code = process.wait()
        killed = states(folder)
        return Finished(folder, code, killed, study(folder))


@pytest.mark.slow
def test_a_study_that_is_killed_leaves_no_process_and_goes_on(finished: Finished) -> None:
    assert finished.code_when_killed == 128 + signal.SIGTERM
    assert RunState.RUNNING not in finished.states_when_killed
    assert finished.states_when_killed != [RunState.DONE] * 4
    assert finished.outcome.code == 0, finished.outcome.out + finished.outcome.err
    assert states(finished.folder) == [RunState.DONE] * 4
    num_done = finished.states_when_killed.count(RunState.DONE)
    assert f"[{num_done + 1}/4]" in finished.outcome.out
    assert f"[{num_done}/4]" not in finished.outcome.out


@pytest.mark.slow
def test_a_study_ends_in_a_judged_comparison(finished: Finished) -> None:
    folder = finished.folder
    comparison = collect(folder, bootstrap=100)
    assert comparison.base == {"normalizer": "num_targets"}
    assert [tuple(cell.factors.values()) for cell in comparison.cells] == [
        ("num_targets", "nms"),
        ("num_positives", "nms"),
        ("num_targets", "topk"),
        ("num_positives", "topk"),
    ]
    assert [cell.difference is None for cell in comparison.cells] == [True, False, True, False]
    for cell in comparison.cells:
        assert cell.is_complete
        assert [run.seed for run in cell.runs] == [0, 1]
        assert all(set(run.scores) == {"nms", "topk"} for run in cell.runs)
        assert all(run.cost is not None and run.cost.num_steps == 2 for run in cell.runs)
        if cell.difference is not None:
            assert set(cell.difference.pairs) == {0, 1}
            assert cell.difference.over_seeds is not None
            assert cell.difference.over_images is not None
            assert cell.difference.verdict != Verdict.UNKNOWN
    assert (folder / "report" / "report.html").is_file()
    table = (folder / "report" / "table.csv").read_text()
    assert "num_positives" in table
    assert "num_positives" in finished.outcome.out


@pytest.mark.slow
def test_numbers_of_a_study_are_those_of_its_runs(finished: Finished) -> None:
    folder = finished.folder
    plan = Plan.read(folder)
    ap = {
        (run.factors["normalizer"], run.seed): json.loads(
            (folder / run.folder / "evaluations" / "nms" / "metrics.json").read_text()
        )["AP"]
        for run in plan.runs
    }
    base, other = collect(folder, bootstrap=None).cells[:2]
    assert base.summary["AP"].mean == pytest.approx((ap["num_targets", 0] + ap["num_targets", 1]) / 2)
    assert other.difference is not None
    assert other.difference.pairs[1] == pytest.approx(ap["num_positives", 1] - ap["num_targets", 1])
    assert other.difference.over_images is None


@pytest.mark.slow
def test_a_second_call_trains_nothing_and_says_the_same(finished: Finished) -> None:
    folder = finished.folder
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.ckpt")}
    table = (folder / "report" / "table.csv").read_text()
    again = study(folder)
    assert again.code == 0, again.err
    assert "4 of 4 runs are done or under way" in again.out
    assert (folder / "report" / "table.csv").read_text() == table
    assert {path: path.stat().st_mtime_ns for path in before} == before
    collected = succeed("study", "study=normalizer_shapes", f"folder={folder}", "action=collect", "bootstrap=100")
    assert again.out[again.out.rindex("Should losses") :] in collected.out


@pytest.mark.slow
def test_a_selection_that_no_training_evaluated_is_evaluated_later(finished: Finished) -> None:
    folder = finished.folder
    run = folder / Plan.read(folder).runs[0].folder
    path = run / "evaluations" / "topk" / "metrics.json"
    before = json.loads(path.read_text())
    path.unlink()
    outcome = study(folder)
    assert outcome.code == 0, outcome.err
    assert json.loads(path.read_text()) == pytest.approx(before, nan_ok=True)


@pytest.mark.slow
def test_a_failed_run_stops_no_other_and_the_last_lines_name_it(tmp_path: Path) -> None:
    broken = [f"~{LEVEL}", f"{LEVEL}_per_level=['model.body.source.selection.nms_threshold=2']"]
    outcome = study(tmp_path, "study=proposals_shapes", "study.seeds=[0]", *broken)
    assert outcome.code == 1
    assert states(tmp_path) == [RunState.DONE, RunState.FAILED]
    last = outcome.err.splitlines()[-1]
    assert "1 of 2 runs are not done:" in outcome.err
    assert "training.log: failed" in last
    assert "nms_threshold must be in [0, 1], got 2" in last
    assert "proposals=topk_per_level seed=0 is failed" in outcome.out
