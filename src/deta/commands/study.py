"""``deta study``: plan, check, train, evaluate and collect a declared comparison."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from deta.building.word_trust import remember_words
from deta.console.datasets import require_data, require_same_data
from deta.console.naming import cell_name, effective, known_name
from deta.console.places import require_inside
from deta.console.quoting import shell_line
from deta.console.terminal import describe, reports_errors, user_errors
from deta.console.words import SEARCH_PATH, job_words, search_path_words
from deta.launching.trainings import compose_training, further_words, run_here, submit
from deta.runs.cells import add_cells
from deta.runs.state import TAKEN, RunState, read_status, read_statuses
from deta.runs.table import terminal_width
from deta.studies.lint import check_cells
from deta.studies.plan import Plan, PlannedRun, Study, describe_cell
from deta.studies.tables import to_text
from deta.utils.checks import require_bool, require_choice, require_int
from deta.utils.terminal import show
from deta.utils.wording import counted, points

ACTIONS = ("run", "plan", "collect")
OF_THE_STUDY = {"seed": "study.seeds=[0,1]", "name": "study.name=<name>"}
"""Keys of a training that the study sets, and how they are set."""
LOG = "training.log"
"""In every run directory: what its processes write."""
REPORT = "report"
"""In the folder of the study: page and tables."""


@reports_errors
def run(cfg: DictConfig) -> None:
    """Do what is missing of a study and print its table; exit with 1 if a run failed."""
    require_choice("action", cfg.action, ACTIONS)
    cluster = require_choice("cluster", HydraConfig.get().runtime.choices["cluster"], ("none", "sbatch"))
    if cfg.bootstrap is not None:
        require_int("bootstrap", cfg.bootstrap, low=100)
    require_inside(cfg.study.name, cfg.folder, key="study.name", own="folder")
    folder = Path(cfg.folder)
    if cfg.action == "collect":
        _collect(folder, cfg.bootstrap)
        return
    extra = [*search_path_words(HydraConfig.get()), *further_words(cfg, OF_THE_STUDY)]
    study = _study(cfg)
    composed = compose_cells(study, extra)
    plan = make_plan(study, composed, extra, folder)
    cells, seeds = len(composed), len(study.seeds)
    print(
        f"{study.name}: {study.title}\n{counted(cells, 'cell')} x {counted(seeds, 'seed')}, and they differ as declared"
    )
    is_dry = require_bool("dry_run", cfg.dry_run)
    if is_dry or cfg.action == "run":
        _try_cells(study, composed, needs_data=not is_dry and cluster == "none")
    if is_dry or cfg.action == "plan":
        _show(plan, folder)
        if cluster == "sbatch" and (commands := _missing(plan, folder)):
            submit(commands, folder, dry_run=True)
        return
    _require_same_data(plan, folder)
    plan.write(folder)
    add_cells(folder, {planned.folder: planned.words for planned in plan.runs})
    for planned in plan.runs:
        remember_words(folder / planned.folder, planned.words)
    if cluster == "sbatch":
        _submit(plan, folder)
        return
    _train(plan, folder, parallel=cfg.parallel, threads=cfg.threads)
    _evaluate(plan, folder, parallel=cfg.parallel, threads=cfg.threads)
    _collect(folder, cfg.bootstrap)
    statuses = read_statuses([folder / planned.folder for planned in plan.runs])
    failed = [status for status in statuses if status.state != RunState.DONE]
    if failed:
        print(f"\n{len(failed)} of {counted(len(plan.runs), 'run is', 'runs are')} not done:", file=sys.stderr)
        for status in failed:
            print(f"  {status.folder / LOG}: {status.state} {status.message}".rstrip(), file=sys.stderr)
        sys.exit(1)


def compose_cells(study: Study, extra: Sequence[str] = ()) -> list[DictConfig]:
    """The configuration of every cell, with the first seed.

    Args:
        study: The study.
        extra: Overrides for all of its runs.

    Raises:
        ValueError: The cells differ otherwise than declared.
    """
    composed = [compose_training(study.words(factors, study.seeds[0], extra)) for factors in study.cells()]
    check_cells(study, [effective(config) for config in composed])
    return composed


def make_plan(
    study: Study, composed: Sequence[DictConfig], extra: Sequence[str] = (), folder: Path | None = None
) -> Plan:
    """Name the runs of a study.

    Args:
        study: The study.
        composed: ``compose_cells`` of it.
        extra: Overrides for all of its runs.
        folder: Where the study lies, if it does already: a run that is there keeps its name.
    """
    runs = []
    for factors, config in zip(study.cells(), composed, strict=True):
        for seed in study.seeds:
            config.seed = seed
            words = tuple(study.words(factors, seed, extra))
            name = cell_name(factors, config)
            runs.append(PlannedRun(name if folder is None else known_name(folder, name), factors, seed, words))
    return Plan(study, tuple(runs))


def _try_cells(study: Study, composed: Sequence[DictConfig], *, needs_data: bool) -> None:
    """Find a wrong value of the last cell, and with ``needs_data`` missing annotations, before the first one trains.

    Raises:
        ValueError: A cell has a wrong value.
        FileNotFoundError: There are no annotations.
    """
    from deta.commands.rehearsal import rehearse  # late: it imports PyTorch

    for factors, config in zip(study.cells(), composed, strict=True):
        if needs_data:
            require_data(config)
        try:
            rehearse(config)
        except user_errors() as error:
            raise ValueError(f"{describe_cell(factors)}: {describe(error)}") from error


def _study(cfg: DictConfig) -> Study:
    content: Any = OmegaConf.to_container(cfg.study, resolve=True)
    return Study.from_config(content)


def _show(plan: Plan, folder: Path) -> None:
    for planned in plan.runs:
        print(f"\n{_describe(planned)}: {read_status(folder / planned.folder).state}")
        print("  deta train", shell_line(job_words(planned.words, folder / planned.folder)))


def _submit(plan: Plan, folder: Path) -> None:
    commands = _missing(plan, folder)
    if not commands:
        print("Every run is done or on its way; deta study without cluster=sbatch collects")
        return
    submit(commands, folder)
    print(f"When they are done: deta study study={plan.study.name} action=collect")


def _missing(plan: Plan, folder: Path) -> dict[Path, list[str]]:
    """Run directory to the words of its ``deta train``, where that is neither done nor under way."""
    places = {folder / planned.folder: planned for planned in plan.runs}
    missing = [status.folder for status in read_statuses(places) if status.state not in TAKEN]
    return {path: job_words(list(places[path].words), path) for path in missing}


def _require_same_data(plan: Plan, folder: Path) -> None:
    """What is done is part of the study only if it was trained with the data of today."""
    for factors in plan.study.cells():
        runs = [planned for planned in plan.runs if planned.factors == factors]
        done = [path for run in runs if read_status(path := folder / run.folder).state == RunState.DONE]
        if done:
            require_same_data(compose_training(runs[0].words), done)


def _train(plan: Plan, folder: Path, *, parallel: int, threads: int | None) -> None:
    quiet = "trainer.enable_progress_bar=false"
    commands = {path: ["train", quiet, *words] for path, words in _missing(plan, folder).items()}
    names = {folder / planned.folder: _describe(planned) for planned in plan.runs}
    skipped = len(plan.runs) - len(commands)
    if skipped:
        print(f"{skipped} of {counted(len(plan.runs), 'run is', 'runs are')} done or under way")
    ended = run_here(commands, parallel=parallel, threads=threads, log=LOG)
    for number, each in enumerate(ended, start=skipped + 1):
        status = read_status(each.folder)
        what = (
            f"AP {points(status.metric)} of epoch {status.metric_epoch or 'unknown'}"
            if status.state == RunState.DONE and status.metric is not None
            else str(status.state)
        )
        print(f"[{number}/{len(plan.runs)}] {names[each.folder]}: {what}, {each.seconds:.0f} s", flush=True)


def _evaluate(plan: Plan, folder: Path, *, parallel: int, threads: int | None) -> None:
    """Evaluate finished runs under the selections that their training did not evaluate."""
    for name in plan.study.postprocess:
        commands = {}
        for planned in plan.runs:
            path = folder / planned.folder
            place = path / "evaluations" / name
            if read_status(path).state == RunState.DONE and not (place / "metrics.json").is_file():
                commands[place] = ["eval", *_evaluation_words(planned.words, name, path, place)]
        for each in run_here(commands, parallel=parallel, threads=threads, log="evaluation.log"):
            if each.code:
                raise ValueError(f"the evaluation of a run failed, see {each.folder / 'evaluation.log'}")


def _evaluation_words(words: Sequence[str], name: str, run: Path, place: Path) -> list[str]:
    own = f"evaluations.{name}."
    chosen = [f"postprocess.{word.removeprefix(own)}" for word in words if word.startswith(own)]
    checkpoint = run.resolve() / "checkpoints" / "last.ckpt"
    return [
        *(word for word in words if word.startswith(SEARCH_PATH)),
        f"ckpt='{checkpoint}'",
        f"postprocess={name}",
        *chosen,
        "num_pictures=0",
        f"hydra.run.dir='{place.resolve()}'",
    ]


def _collect(folder: Path, bootstrap: int | None) -> None:
    """Print the table of what is done and write the report into the folder of the study."""
    from deta.studies.ablation import ablation_table
    from deta.studies.collect import collect  # late: it imports PyTorch
    from deta.studies.report import write_report

    comparison = collect(folder, bootstrap=bootstrap)
    show(f"\n{to_text(ablation_table(comparison), terminal_width())}\n{write_report(comparison, folder / REPORT)}")


def _describe(planned: PlannedRun) -> str:
    return f"{describe_cell(planned.factors)} seed={planned.seed}"
