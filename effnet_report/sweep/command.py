"""The command `effnet sweep`: find missing runs, execute them, and check that none is missing."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import typer
from rich.console import Console
from rich.markup import escape

from effnet_core import files, paths
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import Study
from effnet_core.study.studies import load_study, study_path
from effnet_report import open_files
from effnet_report.evidence import loader, soundness, weights
from effnet_report.jupyter import hub, parent
from effnet_report.jupyter.notebooks import check_unedited
from effnet_report.sweep import sweep
from effnet_report.sweep.engines import Engine, Here
from effnet_report.sweep.progress import execute_shown
from effnet_report.sweep.tasks import State, Task, slot, state, tasks_of


class Ray(NamedTuple):
    """A Ray cluster.

    Attributes:
        address: `auto` or `HOST:PORT`; None starts a cluster on this machine.
        gpus: GPUs per run, possibly a fraction; None lets runs share a GPU as its memory allows.
    """

    address: str | None
    gpus: float | None


def sweep_shown(
    study: str,
    console: Console,
    *,
    jobs: int | None,
    retry_failed: bool,
    until_decided: bool,
    ray: Ray | None,
) -> None:
    """Train the missing runs of a study.

    Args:
        study: a name in `studies/`, or the path of a YAML file.
        jobs: number of parallel runs; None for as many as fit.
        retry_failed: execute failed runs again.
        until_decided: start no more runs when more seeds would not change the depth.
        ray: cluster that executes the runs; None for this machine.

    Raises:
        InputError: records disagree with the study, or images cannot be read.
        typer.Exit: with status 1 if runs are missing, 130 if the sweep was stopped.
    """
    design = load_study(study)
    everything = tasks_of(design, study)
    sweep.clear_leftovers(everything)
    loaded = loader.load(design.name, design)
    loaded.check_agreement()
    if any(state(task, loaded) is not State.DONE for task in everything):
        open_files.check()
        for folder in (paths.records(design.name), paths.executed(design.name), paths.CACHE):
            files.check_writable(folder)
        hub.check_weights(design.configurations())
        for notebook in {task.notebook for task in everything}:
            check_unedited(notebook)
        if ray is None:
            parent.start_for_sweep()  # imports while the images are read
    with console.status("Reading all images ..."):
        remarks = sweep.check_images(design, loaded)
    if remarks:
        console.print(escape(remarks))
    if edited := sweep.leave_design(design, study_path(study)):
        console.print(f"The design that was edited beside the records is now {edited.name}.")
    pending = _to_do(design, everything, loaded, retry_failed, console)
    failures, stop = 0, sweep.Stop()

    def after_seed() -> None:
        decided = _look(design, console)
        stop.decided = until_decided and decided

    if until_decided:
        after_seed()
    if pending and not stop.decided:
        engine = _engine(design, len(pending), jobs, ray, console)
        console.print(f"{len(pending)} of {len(everything)} runs to do, {engine}.")
        with sweep.ctrl_c(stop, console.print):
            failures = execute_shown(pending, engine, stop, console, after_seed)
        if stop.times:
            console.print("Stopped. Finished runs are kept; the same command continues.")
            raise typer.Exit(130)
    # Looks at the records instead of counting, so success means that all records exist.
    loaded = loader.load(design.name, design)
    loaded.check_agreement()
    missing = [task for task in everything if state(task, loaded) is not State.DONE]
    if failures or (missing and not stop.decided):
        console.print(
            f"[red]{len(missing)} runs are not done.[/] See `effnet status {escape(study)}`."
        )
        raise typer.Exit(1)
    if missing:
        console.print(f"{len(missing)} runs are left out: more seeds would not change the depth.")
    elif not pending:
        console.print(f"All {len(everything)} runs of {design.name} are done; nothing to train.")
    keep_best(design.name, console)


def _look(design: Study, console: Console) -> bool:
    """Say whether the depth is decided, and how narrow the intervals will be.

    Two complete seeds can decide at the earliest.

    Returns:
        Whether it is decided.
    """
    # SciPy takes a second to import, which the start of a sweep does not wait for.
    from effnet_report.inference import analysis, enough  # noqa: PLC0415

    study = analysis.load(design.name)
    complete, depths = len(study.correctness.seeds), design.factors.get("freeze", [])
    if not complete or len(depths) < 2 or 0 not in depths:
        return False
    decided = False
    if complete > 1:
        look = enough.look(study)
        console.print(look.sentence)
        decided = look.freeze is not None
    if complete < len(design.seeds) and not decided:
        console.print(enough.outlook(study))
    return decided


def _to_do(
    design: Study, everything: list[Task], loaded: loader.Loaded, again: bool, console: Console
) -> list[Task]:
    """The tasks to execute; sets damaged records aside, and prints what is left out."""
    pending = []
    for task in everything:
        so_far = state(task, loaded)
        if so_far is State.DAMAGED:
            so_far = _set_damaged_aside(task, loaded.damaged.keys() & set(task.leaves), console)
        if so_far is State.DONE and task.notebook == paths.TRAIN_NOTEBOOK:
            # Left by a kill between writing the record and deleting the checkpoint.
            records.drop_checkpoints(task.settings)
        elif so_far is State.RUNNING:
            console.print(f"{task.run_id} is left out: another process is training it.")
        elif so_far is State.FAILED and not again:
            console.print(
                f"{task.run_id} failed before. Retry: `effnet sweep {design.name} --retry-failed`."
            )
        if so_far is State.MISSING or (so_far is State.FAILED and again):
            pending.append(task)
    return pending


def _set_damaged_aside(task: Task, damaged: set[str], console: Console) -> State:
    """Set the damaged records of a task aside, unless another sweep has dealt with them.

    Reading the images takes a while after the records were loaded. Meanwhile another sweep may
    have set the records aside, and trained the run again.

    Args:
        damaged: names of the records that were damaged when they were loaded.

    Returns:
        The state of the task: running if another process trains it, else missing. If another sweep
        has trained it, `sweep.execute` leaves it out.

    Raises:
        InputError: a record cannot be read, or its folder cannot be written.
    """
    study = task.settings.study
    with ExitStack() as stack:
        try:
            for name in (slot(task), task.run_id):
                stack.callback(records.claim(study, name).release, force=True)
        except records.TakenError:
            return State.RUNNING
        for name in sorted(damaged):
            path = records.record_path(study, name)
            if os.path.lexists(path) and not _is_sound(path):
                console.print(f"Damaged, set aside as {records.set_aside(path).name}")
    return State.MISSING


def _is_sound(path: Path) -> bool:
    try:
        soundness.read(path)
    except InputError:
        return False
    return True


def _engine(
    design: Study, pending: int, jobs: int | None, ray: Ray | None, console: Console
) -> Engine:
    if ray is None:
        return Here(min(jobs or sweep.automatic_jobs(design), pending))
    from effnet_report.sweep.on_ray import OnRay  # noqa: PLC0415  an optional extra

    return OnRay(design, ray.address, ray.gpus, jobs, console.print)


def keep_best(study: str, console: Console) -> None:
    """Keep only the weights of the best run; if they are missing, train it again."""
    try:
        weights.best(study, console.print)
    except InputError as error:
        console.print(
            "The runs are done, but the model for `effnet predict` is not ready. "
            f"{escape(str(error))}"
        )
    weights.keep_best(study)
