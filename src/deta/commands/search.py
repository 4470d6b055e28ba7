"""``deta search``: look for good values, one training after the other."""

import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from deta.building.build import make, plain
from deta.building.word_trust import remember_words
from deta.commands.rehearsal import rehearse
from deta.console.catalogue import environment_of_another
from deta.console.datasets import require_data, require_same_data
from deta.console.terminal import reports_errors, termination_as_exception
from deta.console.words import job_words, search_path_words
from deta.runs.cells import add_cells
from deta.runs.data_record import DATA
from deta.runs.former import present_key
from deta.studies.space import Parameter, Value, as_override
from deta.utils.checks import require_choice
from deta.utils.wording import told


@reports_errors
def run(cfg: DictConfig) -> None:
    """Search as configured; the folder holds Optuna's record, ``trials.csv`` and a run directory for each trial.

    The same command goes on with a search that was ended in whatever way.
    """
    if find_spec("optuna") is None:
        raise ModuleNotFoundError("deta search needs Optuna: pip install optuna")
    from deta.studies.search import Search, StoppedSearch

    folder = Path(HydraConfig.get().runtime.output_dir)
    require_choice("cluster", HydraConfig.get().runtime.choices["cluster"], ("none",))
    require_data(cfg)
    rehearse(cfg)
    require_same_data(cfg, sorted(path.parent for path in folder.glob(f"*/{DATA}")))
    search_path = search_path_words(HydraConfig.get())
    words = [str(word) for word in HydraConfig.get().overrides.task]
    words = [word for word in words if not word.lstrip("+~").startswith("search")]
    content = plain(cfg.search)
    parameters = [
        Parameter.from_content(present_key(key), range_) for key, range_ in content.get("parameters", {}).items()
    ]

    def start(trial: Path, values: Mapping[str, Value]) -> subprocess.Popen[bytes]:
        chosen = [*search_path, *words, *(as_override(key, value) for key, value in values.items())]
        add_cells(folder, {trial.name: chosen})
        remember_words(trial, chosen)
        command = [sys.executable, "-m", "deta", "train", *job_words(chosen, trial)]
        trial.mkdir(exist_ok=True)
        with (trial / "output.log").open("ab") as output:
            return subprocess.Popen(command, env=environment_of_another(), stdout=output, stderr=subprocess.STDOUT)

    search = Search(
        folder=folder,
        parameters=parameters,
        num_trials=content["num_trials"],
        num_epochs=cfg.trainer.max_epochs,
        metric=content["metric"],
        sampler=make(cfg.search.sampler),
        pruner=make(cfg.search.pruner),
        seed=content["seed"],
        start=start,
        settings=sorted(words),
        seconds_between_looks=content["seconds_between_looks"],
    )
    try:
        with termination_as_exception():  # so that the running training is asked to save and stop
            trials = search.run()
    except (StoppedSearch, RuntimeError) as error:
        print(f"\ndeta: {error}", file=sys.stderr)
        sys.exit(1)
    values = {trial.number: trial.value for trial in trials if trial.value is not None}
    counts = {state: sum(trial.state.name == state for trial in trials) for state in ("COMPLETE", "PRUNED", "FAIL")}
    print(f"\n{', '.join(f'{count} {state.lower()}' for state, count in counts.items() if count)}; {folder}/trials.csv")
    if values:
        best = max(values, key=lambda number: values[number])
        metric = content["metric"]
        print(f"Best: trial {best} with {metric} {told(metric, values[best])}, {trials[best].params}")
