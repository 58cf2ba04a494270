"""The tasks of a study and their states; nothing is executed here."""

import fcntl
import os
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Any

from effnet_core import paths
from effnet_core.study import records
from effnet_core.study.design import Settings, Study
from effnet_report.evidence.loader import Loaded


@dataclass(frozen=True)
class Task:
    """One papermill execution and its record.

    Attributes:
        study: the notebook's parameter `study`: a name, or the path of a YAML file.
    """

    run_id: str
    notebook: Path
    study: str
    settings: Settings

    @property
    def leaves(self) -> tuple[str, ...]:
        """Names of the records of a task; the classical comparison has two."""
        trains = self.notebook == paths.TRAIN_NOTEBOOK
        return (self.run_id,) if trains else (self.run_id, records.baseline_id(self.settings.seed))

    def parameters(self) -> dict[str, Any]:
        parameters: dict[str, Any] = {"study": self.study, "seed": self.settings.seed}
        if self.notebook == paths.TRAIN_NOTEBOOK:
            levels = self.settings.model_dump(mode="json", include={*self.settings.factors})
            parameters |= {n: "null" if level is None else level for n, level in levels.items()}
        return parameters


class State(StrEnum):
    DONE = "done"
    RUNNING = "running"
    FAILED = "failed"
    DAMAGED = "damaged"
    ASIDE = "set aside"
    MISSING = "missing"


def tasks_of(study: Study, name: str) -> list[Task]:
    """The fine-tuning runs and the classical comparison, seed by seed.

    Args:
        name: the study as it was requested: its name, or the path of its YAML file.
    """
    reference = _reference(name)
    tasks: list[Task] = []
    for seed, runs in groupby(study.runs(), key=lambda settings: settings.seed):
        tasks += [Task(s.run_id, paths.TRAIN_NOTEBOOK, reference, s) for s in runs]
        first = study.configurations()[0].model_copy(update={"seed": seed})
        notebook = paths.CLASSICAL_NOTEBOOK
        tasks.append(Task(records.classical_id(seed), notebook, reference, first))
    return tasks


def _reference(study: str) -> str:
    """The value of `study` for notebooks, which run in other folders."""
    return os.path.abspath(study) if study.endswith((".yml", ".yaml")) else study  # noqa: PTH100


def state(task: Task, loaded: Loaded) -> State:
    """The state of a task, from the files in the folder that was loaded."""
    if any(name in loaded.disagreeing for name in task.leaves):
        return State.ASIDE
    if any(name in loaded.damaged for name in task.leaves):
        return State.DAMAGED
    if all(name in loaded.believed for name in task.leaves):
        return State.DONE
    if is_running(task, loaded.reference):
        return State.RUNNING
    failed = records.failure_path(loaded.reference, task.run_id).is_file()
    return State.FAILED if failed else State.MISSING


def is_running(task: Task, study: str) -> bool:
    """Whether a process trains a task whose records go to a study's folder."""
    return any(locked(records.lock_path(study, name)) for name in (task.run_id, slot(task)))


def slot(task: Task) -> str:
    """The lock of a task between sweeps; the kernel takes the lock of the run later."""
    return f"{task.run_id}.sweep"


def locked(path: Path) -> bool:
    """Whether a process holds a lock; works for read-only files too."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # the file is missing, or of another user
        return False
    return False
