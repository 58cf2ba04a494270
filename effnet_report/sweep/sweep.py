"""Execute the missing runs of a study in parallel, each with one papermill execution."""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import yaml

from effnet_core import files, paths
from effnet_core.data.datasets import Dataset, dataset_of
from effnet_core.data.duplicates import describe_duplicates, first_of_equals
from effnet_core.data.images import decode, load_images
from effnet_core.data.splits import split_dataset
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import FREEZE, SCHEDULERS, Study
from effnet_core.study.schema import AnyRecord
from effnet_core.study.studies import read_study
from effnet_report.evidence import failures, weights
from effnet_report.evidence.loader import Loaded
from effnet_report.sweep.engines import Engine
from effnet_report.sweep.tasks import Task, is_running, locked, slot


@dataclass(frozen=True)
class Finished:
    """The end of a task.

    Attributes:
        record: the record of the task, possibly from another sweep.
        error: the error message; with a record, only the executed notebook can be missing.
        left: reason why the task was left out without an error.
    """

    task: Task
    seconds: float
    record: AnyRecord | None = None
    error: str = ""
    left: str = ""


@dataclass
class Stop:
    """Why no more runs start.

    Attributes:
        times: how often Ctrl-C was pressed: once starts no more runs, twice ends all runs.
        decided: more seeds would not change the recommended depth.
    """

    times: int = 0
    decided: bool = False

    @property
    def soon(self) -> bool:
        return self.decided or self.times > 0

    @property
    def now(self) -> bool:
        return self.times > 1


@contextmanager
def ctrl_c(stop: Stop, tell: Callable[[str], None]) -> Iterator[None]:
    """Let Ctrl-C set a `Stop` and print a message, instead of raising an exception."""

    def pressed(*_: object) -> None:
        stop.times += 1
        tell(
            "Stopping now. Runs go on from their last epoch when they are started again."
            if stop.now
            else "Finishing the runs that have begun and starting no more. Ctrl-C again: stop now."
        )

    before = signal.signal(signal.SIGINT, pressed)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def check_images(design: Study, loaded: Loaded) -> str:
    """Make sure that all images can be read and are those of the existing records.

    Decodes every image, once for all runs, so no run starts that would fail at a bad file.

    Returns:
        Sentences about what is not evident of the classes and parts, and about images with equal
        pixels; mostly empty.

    Raises:
        InputError: the images, their parts or groups are missing or have changed; the images are
            too few for a split; or some cannot be read (the message names all of them).
    """
    dataset = dataset_of(design.protocol)
    looks = {(run.image_size, run.resize, run.background): run for run in design.runs()}
    try:
        copies = [first_of_equals(load_images(dataset, *look)) for look in looks]
    except InputError:  # the message names the first one
        _check_readable(dataset)
        raise
    loaded.check_images(dataset.fingerprint)
    for seed in design.seeds:
        seen = [run.model_copy(update={"seed": seed}) for run in looks.values()]
        splits = [
            split_dataset(dataset, *pair).fingerprint for pair in zip(seen, copies, strict=True)
        ]
        if len(set(splits)) > 1:
            most = max(copies, key=lambda first: int((first != np.arange(len(first))).sum()))
            raise InputError(
                "At some levels of the factors image_size, resize or background more images look "
                "equal than at others, so that runs of one seed would be tested on different "
                "images. Remove the copies, or leave the factor out. "
                f"{describe_duplicates(dataset, most)}"
            )
        loaded.check_split(seed, splits[0])
    return " ".join(filter(None, [*dataset.remarks, describe_duplicates(dataset, copies[0])]))


def _check_readable(dataset: Dataset) -> None:
    def error(image: Path | np.ndarray) -> str:
        try:
            decode(image, size=1)
        except InputError as unreadable:
            return str(unreadable)
        return ""

    with ThreadPoolExecutor() as pool:
        bad = [problem for problem in pool.map(error, dataset.images) if problem]
    if bad:
        raise InputError("\n".join([*bad, f"{len(bad)} of {len(dataset)} images are unreadable."]))


def automatic_jobs(study: Study) -> int:
    """Default number of parallel runs: one per core; on a GPU at most as many as fit in memory."""
    cores = len(os.sched_getaffinity(0))
    if study.protocol.device == "cuda":
        return min(cores, runs_on_the_gpu(study))
    return max(1, cores // study.protocol.threads)


def runs_on_the_gpu(study: Study) -> int:
    """Measured number of runs that fit into the GPU's free memory; one without a GPU."""
    # Only for a GPU, because it imports PyTorch; in a subprocess, which frees its memory.
    from effnet_report.sweep.plan import runs_that_fit  # noqa: PLC0415

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(runs_that_fit, study).result()


def relative_time(task: Task) -> int:
    """Estimate the time of a task relative to other tasks of its study.

    The time of a run is about proportional to the number of trained stages, its epochs and the
    area of its images. The classical comparison takes about as long as a medium run.
    """
    settings = task.settings
    trains = task.notebook == paths.TRAIN_NOTEBOOK
    stages = len(FREEZE) - (settings.freeze if trains else len(FREEZE) // 2)
    return stages * settings.trained_epochs * settings.image_size**2


def in_order(pending: list[Task], jobs: int) -> list[Task]:
    """The start order of tasks for `jobs` parallel places.

    Seeds follow each other, and the longest tasks of a seed start first, so that the last ones
    end together. Runs that share a first epoch start `jobs` places apart, so the second run finds
    the epoch finished.
    """
    alike: dict[object, list[Task]] = {}
    for task in sorted(pending, key=lambda task: (task.settings.seed, -relative_time(task))):
        alike.setdefault((task.notebook, task.settings.schedules[0].run_id), []).append(task)
    groups = list(alike.values())
    rounds = (zip_longest(*groups[i : i + jobs]) for i in range(0, len(groups), jobs))
    return [task for group in rounds for turn in group for task in turn if task]


def longest_first(pending: list[Task]) -> list[Task]:
    """The start order if all seeds can be trained in parallel.

    Among runs of equal length, those of one schedule start first. Most other runs then find their
    shared first epoch finished.
    """
    return sorted(
        pending, key=lambda t: (-relative_time(t), SCHEDULERS.index(t.settings.scheduler))
    )


def execute_all(pending: list[Task], engine: Engine, stop: Stop) -> Iterator[Finished]:
    """Execute tasks in parallel, as many as the engine has room for; yield each as it ends.

    Each task has a thread, which waits for the engine.
    """
    waiting = deque(
        in_order(pending, engine.places()) if engine.seed_by_seed else longest_first(pending)
    )
    running: set[Future[Finished]] = set()
    with ThreadPoolExecutor(len(pending) or 1) as pool:
        while running or (waiting and not stop.soon):
            while waiting and len(running) < engine.places() and not stop.soon:
                running.add(pool.submit(execute, waiting.popleft(), engine, stop))
            ended, running = wait(running, timeout=1, return_when=FIRST_COMPLETED)
            if stop.now:
                engine.end_all()
            for future in ended:
                yield future.result()


def execute(task: Task, engine: Engine, stop: Stop) -> Finished:
    """Execute one task, unless another sweep has done it or is doing it.

    An error is written to a note beside the records.
    """
    start = time.perf_counter()
    study = task.settings.study
    try:
        lock = records.claim(study, slot(task))
    except records.TakenError:
        return Finished(task, 0, left="another sweep trains it")
    except InputError as unwritable:
        return Finished(task, 0, error=str(unwritable))
    with lock:
        if record := _record(task):
            return Finished(task, 0, record, left="another sweep has trained it")
        error = _executed(task, engine, stop)
        weights.keep_within_budget(study)
        seconds = time.perf_counter() - start
        record = _record(task)
        if error and not record:
            if stop.now:
                return Finished(task, seconds, left="stopped")
            if locked(records.lock_path(study, task.run_id)):
                return Finished(task, seconds, left="another process trains it")
            error = _noted(task, error)
    return Finished(task, seconds, record, error)


def _record(task: Task) -> AnyRecord | None:
    """The task's first record if all its records exist and are valid, else None."""
    try:
        study = task.settings.study
        first, *_ = [records.load(records.record_path(study, name)) for name in task.leaves]
    except InputError:
        return None
    return first


def _noted(task: Task, error: str) -> str:
    """Write an error to a note beside the records, unless the disk is full."""
    notebook = _place(task).relative_to(paths.ROOT).as_posix()
    try:
        failures.save(task.settings.study, task.run_id, error, notebook)
    except InputError as another:
        return f"{error} {another}"
    return error


def _place(task: Task) -> Path:
    return paths.executed(task.settings.study) / f"{task.run_id}.ipynb"


def _executed(task: Task, engine: Engine, stop: Stop) -> str:
    """Execute a notebook and move it to its folder; return the error or an empty string."""
    place = _place(task)
    working = paths.CACHE / "running" / task.settings.study / place.name
    try:
        working.parent.mkdir(parents=True, exist_ok=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        error = engine.run(task, working)
        if working.is_file():
            if not stop.now:
                files.copy(working, place)  # the book never reads a partial notebook
            working.unlink()
    except (OSError, InputError) as problem:
        return f"The executed notebook cannot be written: {problem}."
    return error


def leave_design(design: Study, source: Path) -> Path | None:
    """Copy the design of a study outside `studies/` to its records, so later its name suffices.

    A design that is there already is not written again, because a person may have commented it.

    Returns:
        The new place of an earlier design that a person has edited; None without one.
    """
    place = paths.design(design.name)
    elsewhere = source.resolve().parent != paths.STUDIES.resolve()
    there = _read(place, design.name)
    if elsewhere and place.is_file() and (place.samefile(source) or there == design):
        return None
    edited = files.set_aside(place, _content(there) if there else b"")
    if elsewhere:
        files.write(place, _content(design))
    else:
        place.unlink(missing_ok=True)
    return edited


def _content(design: Study) -> bytes:
    settings = design.model_dump(exclude={"name"})
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).encode()


def _read(place: Path, name: str) -> Study | None:
    """The design in a file; None if there is none."""
    try:
        return read_study(place, name)
    except InputError:
        return None


def clear_leftovers(tasks: list[Task]) -> None:
    """Delete partial files of killed runs, unless another process trains these runs."""
    for task in tasks:
        study = task.settings.study
        working = paths.CACHE / "running" / study
        folders = (
            *(working, paths.records(study), paths.executed(study)),
            *(place(study, task.run_id).parent for place in (paths.checkpoint, paths.weights)),
        )
        leftovers = [
            *working.glob(f"{task.run_id}.ipynb"),
            *(path for folder in folders for path in folder.glob(f".{task.run_id}.*")),
        ]
        if leftovers and not is_running(task, study):
            for leftover in leftovers:
                with suppress(OSError):
                    leftover.unlink()
