"""The command `effnet`."""

import gc
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.markup import escape
from rich.table import Table

from effnet_core import cache, files, paths
from effnet_core.errors import InputError, cannot
from effnet_core.study import records
from effnet_core.study.design import Settings, Study, is_url
from effnet_core.study.studies import PUBLISHED, load_study, study_path
from effnet_report import clearing, open_files, words
from effnet_report.escaping import Terminal
from effnet_report.evidence import failures as notes
from effnet_report.evidence import loader, locations
from effnet_report.evidence.loader import load_design
from effnet_report.sweep.tasks import State, state, tasks_of

app = typer.Typer(
    help="Fine-tune an EfficientNet in every configuration of a study, and keep the records.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# A width of 0, or one that is no number, would hide all tables.
if not os.environ.get("COLUMNS", "").strip("0").isdecimal():
    os.environ.pop("COLUMNS", None)
# Width of tables if the output is not a terminal, and COLUMNS does not say it.
_KNOWN = bool(sys.stdout and sys.stdout.isatty()) or "COLUMNS" in os.environ
console = Terminal(width=None if _KNOWN else 120)

StudyName = Annotated[str, typer.Argument(help="a name in studies/, or the path of a .yml file")]
MARKS = {
    State.DONE: "[green]done[/]",
    State.RUNNING: "[cyan]running[/]",
    State.FAILED: "[red]failed[/]",
    State.DAMAGED: "[red]damaged[/]",
    State.ASIDE: "[red]set aside[/]",
    State.MISSING: "[dim]missing[/]",
}


class DeviceName(StrEnum):
    CPU = "cpu"
    CUDA = "cuda"


@app.command()
def new(
    name: Annotated[
        str, typer.Argument(help="name of the study; its file will be studies/NAME.yml")
    ],
    images: Annotated[
        Path,
        typer.Option(help="folder with one folder per class, or with parts such as train and test"),
    ],
    *,
    labels: Annotated[
        Path | None, typer.Option(help="CSV or Parquet file of paths and labels")
    ] = None,
    groups: Annotated[
        str | None, typer.Option(help="column, or pattern in names, for images of the same object")
    ] = None,
    hours: Annotated[
        float, typer.Option(min=0.01, help="largest time of the study on this machine")
    ] = 1.0,
    ask: Annotated[
        str,
        typer.Option(
            help="what to compare as well as the depth: recipe, head, schedule, with commas"
        ),
    ] = "depth",
    backbone: Annotated[
        str | None,
        typer.Option(help="timm's name of an EfficientNet; by default one that fits the hours"),
    ] = None,
    device: Annotated[
        DeviceName | None, typer.Option(help="where to train; a GPU by default, if there is one")
    ] = None,
) -> None:
    """Inspect a folder of images, and write a study for it that fits this machine."""
    from effnet_report.intake.new import new as begin  # noqa: PLC0415  imports torch

    begin(
        name,
        images,
        labels=labels,
        groups=groups,
        hours=hours,
        ask=ask,
        backbone=backbone,
        device=device,
        console=console,
    )


class EngineName(StrEnum):
    LOCAL = "local"
    RAY = "ray"


@app.command("sweep")
def sweep_command(
    study: StudyName,
    *,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="number of parallel runs; one per core by default")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="execute failed runs again")
    ] = False,
    until_decided: Annotated[
        bool,
        typer.Option(
            "--until-decided", help="stop when more seeds would not change the recommended depth"
        ),
    ] = False,
    engine: Annotated[
        EngineName, typer.Option(help="executes the runs: here, or on a Ray cluster")
    ] = EngineName.LOCAL,
    address: Annotated[
        str | None,
        typer.Option(
            help="address of a Ray cluster: auto or HOST:PORT; starts one here by default"
        ),
    ] = None,
    gpus_per_run: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="GPUs per run on Ray, such as 0.5; by default runs share a GPU as memory allows",
        ),
    ] = None,
) -> None:
    """Train the missing runs of a study; finished runs are kept."""
    if engine is EngineName.LOCAL and (address or gpus_per_run is not None):
        raise InputError("--address and --gpus-per-run are for Ray: add --engine ray.")
    from effnet_report.sweep.command import Ray, sweep_shown  # noqa: PLC0415  imports Jupyter

    ray = Ray(address, gpus_per_run) if engine is EngineName.RAY else None
    sweep_shown(
        study,
        console,
        jobs=jobs,
        retry_failed=retry_failed,
        until_decided=until_decided,
        ray=ray,
    )


@contextmanager
def _keeping_all() -> Iterator[None]:
    """Turn the garbage collector off, which takes as long as parsing thousands of records."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@app.command()
@_keeping_all()
def status(
    study: Annotated[
        str,
        typer.Argument(help="a name in studies/, the path of a .yml file, or published/quick"),
    ],
) -> None:
    """Show the state of each run: done, running, failed, damaged or missing."""
    published = study.startswith(f"{PUBLISHED}/")
    design = load_design(study) if published else load_study(study)
    everything = {task.run_id: task for task in tasks_of(design, study)}
    loaded = loader.load(study if published else design.name, design)
    _check_images(loaded)
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


def _check_images(loaded: loader.Loaded) -> None:
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


@app.command()
def plan(study: StudyName) -> None:
    """Estimate the time, memory and disk space of a study on this device."""
    from effnet_report.numbers import duration  # noqa: PLC0415
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
    runs = len(result.rows) * len(design.seeds)
    hours = sum(row.hours or 0 for row in result.rows) * len(design.seeds)
    images = result.train_images + result.validation_images + result.test_images
    hours += planning.fixed_hours(design, result.train_images, images, len(result.classes) or 2)
    console.print(
        f"{runs} runs on {result.device}, each with {result.train_images} training, "
        f"{result.validation_images} validation and {result.test_images} test images and at most "
        f"{design.protocol.epochs} epochs. They take at most {duration(3600 * hours)} one after "
        f"another; {automatic_jobs(design)} run in parallel. A run needs the memory of its row and "
        "about 1 GB for Python and its libraries. Activations of frozen stages take up to "
        f"{result.disk / 1e9:.1f} GB on disk per seed."
    )
    if result.too_large:
        console.print(
            f"[yellow]{result.too_large} configurations do not fit into the free memory,[/] and "
            "their time is not counted. Close other programs, or lower batch_size or image_size."
        )
    if result.note:
        console.print(escape(result.note))


@app.command()
def publish(study: StudyName) -> None:
    """Publish a study: its records, its first seed's notebooks, and the verdicts on them."""
    from effnet_report.inference import analysis  # noqa: PLC0415  slow to import, and only here
    from effnet_report.publishing import publish as publishing  # noqa: PLC0415

    design = load_study(study)
    count, notebooks = publishing.publish(design, study_path(study))
    analysis.save_claims(f"{PUBLISHED}/{design.name}")
    console.print(f"Copied {count} records and {notebooks} notebooks of {design.name}.")


@app.command()
def recommend(
    study: Annotated[str, typer.Argument(help="a folder of results/: quick, published/quick")],
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
) -> None:
    """Recommend how many stages to freeze, as on the first page of the report, with reasons."""
    from effnet_report.deploy.recommend import tell_recommendation  # noqa: PLC0415  slow to import

    tell_recommendation(study, as_json, console)


@app.command()
def predict(
    study: Annotated[str, typer.Argument(help="a folder of results/: quick, published/quick")],
    images: Annotated[
        list[str], typer.Argument(help="files, folders, or patterns such as 'x/*.jpg'")
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="as CSV")] = False,
    html: Annotated[Path | None, typer.Option(help="also write a page for a browser")] = None,
    explain: Annotated[
        Path | None, typer.Option(help="folder for heat maps of what supports the predicted class")
    ] = None,
    never_miss: Annotated[
        str | None,
        typer.Option(help="class to find 95 % of; the fewest false alarms that this allows"),
    ] = None,
) -> None:
    """Predict images with the best model of a study, selected on validation."""
    from effnet_report.deploy.tell import tell_predictions  # noqa: PLC0415  imports torch

    if as_json and as_csv:
        raise InputError("--json and --csv exclude each other: give one of them.")
    form = "json" if as_json else "csv" if as_csv else "table"
    tell_predictions(study, images, form, console, page=html, maps=explain, never_miss=never_miss)


@app.command()
def audit(
    study: Annotated[str, typer.Argument(help="a folder of results/: quick, published/quick")],
) -> None:
    """Rank the labels of a finished study by doubt, and report cues that give a class away."""
    from effnet_report.audit.tell import audit as tell_audit  # noqa: PLC0415  slow to import

    tell_audit(study, console)


@app.command("more")
def more_command(
    study: Annotated[str, typer.Argument(help="a study that was swept here, such as quick")],
) -> None:
    """Forecast what more training images would give, from runs on a part of them."""
    from effnet_report.audit.more_images import more_images  # noqa: PLC0415  imports torch

    more_images(study, console)


@app.command()
def export(
    study: Annotated[str, typer.Argument(help="a folder of results/: quick, published/quick")],
) -> None:
    """Export the best model of a study as ONNX and for timm, with a model card."""
    from effnet_report.deploy.tell import tell_export  # noqa: PLC0415  imports torch

    tell_export(study, console)


@app.command()
def verify(
    study: Annotated[str, typer.Argument(help="a folder of results/: quick, published/quick")],
    run: Annotated[
        list[str] | None, typer.Option(help="name of a run; may be given several times")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="number of runs, drawn by the hashes of the records")
    ] = None,
    *,
    jobs: Annotated[int, typer.Option(min=1, help="number of parallel repetitions")] = 1,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="fail unless all runs are equal and their times plausible"),
    ] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="show the result in the report of a published study")
    ] = False,
) -> None:
    """Repeat finished runs, all by default, and compare them with their records."""
    from effnet_report.publishing import verify as verification  # noqa: PLC0415  imports torch

    def line(compared: verification.Comparison) -> None:
        console.print(f"{compared.run_id}: {compared.verdict}")
        for difference in compared.origin:
            console.print(f"  different before the start: {escape(difference)}")
        if compared.seconds:
            recorded, again = compared.seconds
            ratio = recorded / max(again, 0.01)
            console.print(
                f"  training took {again:.1f} CPU seconds, {recorded:.1f} recorded "
                f"(ratio {ratio:.2f})"
            )

    if run and sample:
        raise InputError("--run and --sample exclude each other: give one of them.")
    # A reader's verification changes no file in git.
    readers = study.startswith(f"{PUBLISHED}/") and not publish
    output = locations.verified_here(study) if readers else verification.here(study)
    load_design(study)
    files.check_writable(output.parent)
    compared = verification.verify(
        study, run or [], sample, line, console.print, output=output, jobs=jobs
    )
    where = os.path.relpath(output, paths.ROOT)
    console.print(f"{verification.summary(compared)} Details: {escape(where)}")
    doubtful = verification.implausible(compared)
    for comparison in doubtful:
        console.print(
            f"{comparison.run_id}: its recorded training time does not fit the others: it "
            f"differs by more than a factor of {verification.PLAUSIBLE:g}."
        )
    agreements = {comparison.agreement for comparison in compared}
    if "different" in agreements or (strict and (agreements != {"equal"} or doubtful)):
        raise typer.Exit(1)


@app.command("cache")
def cache_command(
    clear: Annotated[
        bool, typer.Option("--clear", help="delete all files that no run uses")
    ] = False,
) -> None:
    """List the cache: decoded images, activations, first epochs and trained weights."""
    if clear:
        _clear_cache()
        return
    table = Table("kind", "file", "on disk", "last used", title=str(paths.CACHE))
    entries = cache.entries()
    for entry in reversed(entries):
        used = entry.used.astimezone().strftime("%Y-%m-%d %H:%M")
        table.add_row(entry.kind, entry.path.name, f"{entry.size / 1e6:,.1f} MB", used)
    console.print(table)
    total = sum(entry.size for entry in entries) / 1e9
    console.print(f"{total:.2f} GB in total. Delete it at any time: `effnet cache --clear`.")


def _clear_cache() -> None:
    cleared = clearing.clear()
    if cleared.freed or not (cleared.in_use or cleared.undeletable):
        console.print(f"Deleted {cleared.freed / 1e9:.2f} GB from {escape(str(paths.CACHE))}.")
    if cleared.in_use:
        console.print(f"{len(cleared.in_use)} files stay, because running processes use them.")
    if cleared.undeletable:
        first, why = next(iter(cleared.undeletable.items()))
        raise InputError(
            f"{len(cleared.undeletable)} files cannot be deleted, such as {first}: {why}. Make "
            "them and their folders writable, or ask their owner."
        )


def main() -> None:
    """Run the command line; an error ends it with one message and exit status 1.

    Only errors of the program itself show a traceback.
    """
    _prepare_process()
    errors = Terminal(stderr=True)
    try:
        if sys.stdout is None:
            raise InputError("Standard output is closed. Open it, or send it to a file.")
        try:
            app()
        finally:
            sys.stdout.flush()
    except InputError as error:
        _end(errors, str(error))
    except BrokenPipeError:  # the reader of the output has closed it
        _end()
    except OSError as error:
        what = f"use {error.filename}" if error.filename else "go on"
        _end(errors, str(cannot(what, error)))
    except (ImportError, MemoryError, RuntimeError) as error:
        if not _lacks_memory(error):
            raise
        _end(errors, f"There is too little memory ({error}). Close other programs, or allow more: "
                     "`ulimit -v unlimited`.")  # fmt: skip


def _lacks_memory(error: Exception) -> bool:
    """Whether Python, the loader of libraries or PyTorch could not get memory."""
    phrases = "failed to map segment|can(no|')t allocate memory|out of memory"
    return isinstance(error, MemoryError) or bool(re.search(phrases, str(error), re.IGNORECASE))


def _prepare_process() -> None:
    """Make every name printable, and raise the limit of open files."""
    for descriptor in range(3):  # otherwise the next opened file would replace a closed stream
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    open_files.allow_many()


def _end(errors: Terminal | None = None, message: str = "") -> NoReturn:
    """End with status 1, and drop output that could not be written."""
    if errors:
        with suppress(OSError):
            errors.print(f"[red]Error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(1)
