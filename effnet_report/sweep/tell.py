"""What `effnet status` and `effnet plan` print."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import Settings, Study, is_url
from effnet_core.study.studies import PUBLISHED, load_study
from effnet_report import words
from effnet_report.evidence import failures as notes
from effnet_report.evidence import loader
from effnet_report.evidence.loader import load_design
from effnet_report.sweep.tasks import State, state, tasks_of

MARKS = {
    State.DONE: "[green]done[/]",
    State.RUNNING: "[cyan]running[/]",
    State.FAILED: "[red]failed[/]",
    State.DAMAGED: "[red]damaged[/]",
    State.ASIDE: "[red]set aside[/]",
    State.MISSING: "[dim]missing[/]",
}


@contextmanager
def _keeping_all() -> Iterator[None]:
    """Turn the garbage collector off, which takes as long as parsing thousands of records."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@_keeping_all()
def tell_status(study: str, console: Console) -> None:
    """Print the state of each run of a study, and what is not counted.

    Args:
        study: a name in `studies/`, the path of a YAML file, or `published/quick`.

    Raises:
        InputError: there is no such study.
    """
    published = study.startswith(f"{PUBLISHED}/")
    design = load_design(study) if published else load_study(study)
    everything = {task.run_id: task for task in tasks_of(design, study)}
    loaded = loader.load(study if published else design.name, design)
    _check_images(loaded, console)
    states = {run_id: state(task, loaded) for run_id, task in everything.items()}
    table = Table("#", *design.factors, *[f"seed {s}" for s in design.seeds])
    table.title = _heading(design)
    for task in everything.values():
        settings = task.settings
        if settings.seed != design.seeds[0] or task.notebook == paths.CLASSICAL_NOTEBOOK:
            continue
        cells = []
        for seed in design.seeds:
            twin = settings.model_copy(update={"seed": seed})
            cells.append(_cell(twin.run_id, states, loaded))
        table.add_row(str(settings.number), *_levels(settings), *cells)
    classical = [records.classical_id(seed) for seed in design.seeds]
    cells = [_cell(name, states, loaded) for name in classical]
    table.add_row("", "classical", *[""] * (len(design.factors) - 1), *cells)
    table.caption = f"Per cent: {design.protocol.criterion.replace('_', ' ')} on test images."
    console.print(table)
    counts = {state: list(states.values()).count(state) for state in State}
    console.print(", ".join(f"{count} {state}" for state, count in counts.items() if count))
    for run_id, error in notes.load(loaded.reference).items():
        console.print(f"[red]{escape(run_id)}[/]: {escape(error)}")
    for name, why in loaded.set_aside.items():
        console.print(f"[red]{escape(name)}[/] is not counted: {escape(why)}")


def _check_images(loaded: loader.Loaded, console: Console) -> None:
    """Make sure that a study's records were made from its images, if these are on this machine."""
    protocol = loaded.design.protocol
    places = [place for place in (protocol.data_dir, protocol.labels) if place]
    if not (loaded.believed and places) or any(map(is_url, places)):
        return
    from effnet_core.data.datasets import imagefolder  # noqa: PLC0415  slow to import

    with console.status("Reading all images ..."):
        try:
            fingerprint = imagefolder(
                protocol.data_dir, protocol.labels, protocol.groups
            ).fingerprint
        except InputError as error:
            console.print(f"The images cannot be compared with the records: {escape(str(error))}")
            return
    loaded.check_images(fingerprint)


def tell_plan(study: str, console: Console) -> None:
    """Print what each configuration of a study needs, and how long all runs take.

    Args:
        study: a name in `studies/`, or the path of a YAML file.

    Raises:
        InputError: there is no such study, or its images cannot be read.
    """
    from effnet_report.numbers import duration  # noqa: PLC0415
    from effnet_report.sweep import hours  # noqa: PLC0415
    from effnet_report.sweep import plan as planning  # noqa: PLC0415  imports torch
    from effnet_report.sweep.sweep import automatic_jobs  # noqa: PLC0415

    design = load_study(study)
    with console.status("Counting, and timing a few steps ..."):
        result = planning.plan(design)
    costs = ("trainable", "GFLOP per step", "memory", "time")
    table = Table("#", *design.factors, *costs)
    table.title = _heading(design)
    for row in result.rows:
        settings, cost = row.settings, row.cost
        table.add_row(
            str(settings.number),
            *_levels(settings),
            f"{cost.trainable / 1e6:.2f} M",
            f"{cost.flop / 1e9:,.1f}",
            f"{cost.memory / 1e9:.1f} GB",
            "does not fit" if row.hours is None else duration(3600 * row.hours),
        )
    console.print(table)
    if result.classes:
        shown = [f"{name} {count}" for name, count in result.classes.items()]
        console.print(f"Images of the {len(shown)} classes: {escape(', '.join(shown))}.")
    runs, jobs = len(result.rows) * len(design.seeds), automatic_jobs(design)
    images = result.train_images + result.validation_images + result.test_images
    classical = hours.classical_hours(
        design.protocol, result.train_images, images, len(result.classes) or 2
    )
    fitting = [row.hours for row in result.rows if row.hours is not None]
    each = hours.task_hours(fitting, classical, len(design.seeds))
    together = hours.in_parallel(each, jobs)
    console.print(
        f"{runs} runs on {result.device}, each with {result.train_images} training, "
        f"{result.validation_images} validation and {result.test_images} test images and at most "
        f"{design.protocol.epochs} epochs. With the classical comparison they take at most "
        f"{duration(3600 * sum(each))} one after another, and {duration(3600 * together)} with "
        f"{jobs} in parallel, as here. A run needs the memory of its row and about 1 GB for Python "
        f"and its libraries. Activations of frozen stages take up to {result.disk / 1e9:.1f} GB on "
        "disk per seed."
    )
    if result.too_large:
        console.print(
            f"[yellow]{result.too_large} configurations do not fit into the free memory,[/] and "
            "their time is not counted. Close other programs, or lower batch_size or image_size."
        )
    if result.note:
        console.print(escape(result.note))


def _levels(settings: Settings) -> list[str]:
    return [
        escape(level if isinstance(level, str) else words.level(name, level))
        for name, level in settings.levels.items()
    ]


def _heading(design: Study) -> str:
    """The name of a study, and its title if that says more."""
    same = design.title == design.name
    return escape(design.name if same else f"{design.name}: {design.title}")


def _cell(run_id: str, states: dict[str, State], loaded: loader.Loaded) -> str:
    if states[run_id] is not State.DONE:
        return MARKS[states[run_id]]
    record = loaded.believed[run_id]
    return f"{MARKS[State.DONE]} {record.outcome.test.score(record.settings.criterion):.1f} %"
