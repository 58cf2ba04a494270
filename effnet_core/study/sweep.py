"""Run what is missing of a study: each run one papermill execution, several side by side."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Thread
from typing import Any

from filelock import FileLock, Timeout
from joblib import Parallel, delayed

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study import records, warm
from effnet_core.study.design import Settings, Study
from effnet_core.study.records import AnyRecord


@dataclass(frozen=True)
class Task:
    """One papermill execution and the record it is to leave.

    Attributes:
        study: as the notebook is to be told it: a name, or the path of a YAML file.
    """

    run_id: str
    notebook: Path
    study: str
    settings: Settings

    def parameters(self) -> dict[str, Any]:
        parameters: dict[str, Any] = {"study": self.study, "seed": self.settings.seed}
        if self.notebook == paths.TRAIN_NOTEBOOK:
            parameters |= self.settings.model_dump(include={"freeze", "head", "scheduler"})
        return parameters


class State(StrEnum):
    DONE = "done"
    RUNNING = "running"
    FAILED = "failed"
    DAMAGED = "damaged"
    MISSING = "missing"


@dataclass(frozen=True)
class Finished:
    """How a task ended: with a record, or with an error."""

    task: Task
    seconds: float
    record: AnyRecord | None
    error: str


def tasks(study: Study, reference: str) -> list[Task]:
    """The fine-tuning runs, seed by seed, and after each seed its classical comparison."""
    found: list[Task] = []
    for seed in study.seeds:
        runs = [settings for settings in study.runs() if settings.seed == seed]
        found += [Task(s.run_id, paths.TRAIN_NOTEBOOK, reference, s) for s in runs]
        classical = Settings(**study.protocol.model_dump(), study=study.name, seed=seed)
        notebook = paths.CLASSICAL_NOTEBOOK
        found.append(Task(records.classical_id(seed), notebook, reference, classical))
    return found


def state(task: Task) -> State:
    """How far a task is.

    Raises:
        InputError: its record was made with other settings than the study has now.
    """
    study = task.settings.study
    path = records.record_path(study, task.run_id)
    if path.is_file():
        try:
            record = records.load(path)
        except InputError:
            return State.DAMAGED
        _same_settings(path, record.settings, task.settings)
        return State.DONE
    if _locked(records.lock_path(study, task.run_id)):
        return State.RUNNING
    failed = records.failure_path(study, task.run_id).is_file()
    return State.FAILED if failed else State.MISSING


def _same_settings(path: Path, recorded: Settings, wanted: Settings) -> None:
    was, now = recorded.model_dump(), wanted.model_dump(exclude={"cache_gb"})
    changed = [f"{name} {was[name]} -> {now[name]}" for name in now if was[name] != now[name]]
    if changed:
        raise InputError(
            f"{path} was made with other settings than the study has now: {', '.join(changed)}. "
            "Give the study another name, or move its results away."
        )


def _locked(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def set_aside(task: Task) -> Path:
    """Rename a damaged record, so that it is neither counted nor lost."""
    path = records.record_path(task.settings.study, task.run_id)
    return path.rename(path.with_suffix(".json.damaged"))


def automatic_jobs(study: Study) -> int:
    """One run a core on a CPU; one run at a time on a GPU."""
    if study.protocol.device == "cuda":
        return 1
    return max(1, len(os.sched_getaffinity(0)) // study.protocol.threads)


def execute_all(pending: list[Task], jobs: int) -> Iterator[Finished]:
    """Execute tasks in `jobs` processes; yields each as it ends, in whatever order."""
    # Costly runs come first in a study (nothing frozen), so the processes end together.
    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", initializer=_prepare_worker)
    yield from parallel(delayed(execute)(task) for task in pending)


def _prepare_worker() -> None:
    """Start kernels warm, and end with the sweep: killed, it must not go on training unseen."""
    os.environ["JUPYTER_DEFAULT_PROVISIONER_NAME"] = warm.NAME
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def execute(task: Task) -> Finished:
    """Run one notebook in a kernel of its own; an error becomes a note beside the records."""
    start = time.perf_counter()
    study = task.settings.study
    working = paths.CACHE / "running" / study / f"{task.run_id}.ipynb"
    place = paths.executed(study) / working.name
    working.parent.mkdir(parents=True, exist_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    error = _twice_if_it_does_not_start(lambda: _execute_notebook(task, working))
    # Moved when whole: the book never meets half a notebook.
    if working.is_file():
        working.replace(place)
    record = None
    if not error:
        record = records.load(records.record_path(study, task.run_id))
    else:
        notebook = place.relative_to(paths.ROOT).as_posix()
        records.save_failure(study, task.run_id, error, notebook)
    return Finished(task, time.perf_counter() - start, record, error)


def _execute_notebook(task: Task, output: Path) -> str:
    """The error that ended the notebook, or an empty string."""
    # Imported where a kernel is about to start: the status of a study does not need it.
    from papermill import PapermillExecutionError, execute_notebook  # noqa: PLC0415
    from traitlets.config import Config  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="effnet-") as sockets:
        # Sockets in a folder of its own: no port to race for, and nobody else can connect.
        ipc = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        try:
            execute_notebook(
                task.notebook, output, task.parameters(), progress_bar=False, config=ipc
            )
        except PapermillExecutionError as error:
            known = error.ename == InputError.__name__
            return error.evalue if known else f"{error.ename}: {error.evalue}"
    return ""


def _twice_if_it_does_not_start(attempt: Callable[[], str]) -> str:
    """Starting a kernel can fail for no fault of the run, so it gets one more chance."""
    for _ in range(2):
        try:
            return attempt()
        except Exception as error:  # whatever a kernel dies of is this run's error, not ours
            reason = f"{type(error).__name__}: {error}"
    return reason
