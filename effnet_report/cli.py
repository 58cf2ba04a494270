"""The command `effnet`."""

import io
import os
import re
import sys
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.markup import escape
from rich.table import Table

from effnet_core import cache, paths
from effnet_core.errors import InputError, cannot
from effnet_core.study.studies import load_study, study_path
from effnet_report import clearing, open_files
from effnet_report.escaping import Terminal
from effnet_report.jupyter import parent
from effnet_report.sweep.tell import tell_plan, tell_status

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
    if engine is EngineName.LOCAL and _is_new(study):
        open_files.check()
        parent.start_for_sweep()  # imports at the same time as this process
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


def _is_new(study: str) -> bool:
    """Whether a study is designed, and nothing of it is recorded."""
    design = study_path(study)
    records = paths.records(design.stem)
    return os.path.isfile(design) and not os.path.isdir(records)  # noqa: PTH112, PTH113  long names


@app.command()
def status(
    study: Annotated[
        str,
        typer.Argument(help="a name in studies/, the path of a .yml file, or published/quick"),
    ],
) -> None:
    """Show the state of each run: done, running, failed, damaged or missing."""
    tell_status(study, console)


@app.command()
def plan(study: StudyName) -> None:
    """Estimate the time, memory and disk space of a study on this device."""
    tell_plan(study, console)


@app.command()
def publish(study: StudyName) -> None:
    """Publish a study: its records, its first seed's notebooks, and the verdicts on them."""
    from effnet_report.inference import analysis  # noqa: PLC0415  slow to import, and only here
    from effnet_report.publishing import publish as publishing  # noqa: PLC0415

    design = load_study(study)
    count, notebooks = publishing.publish(design, study_path(study))
    analysis.save_claims_of_source()
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
    from effnet_report.publishing.tell import tell_verification  # noqa: PLC0415  imports torch

    if run and sample:
        raise InputError("--run and --sample exclude each other: give one of them.")
    passed = tell_verification(
        study,
        console,
        run=run or [],
        sample=sample,
        jobs=jobs,
        strict=strict,
        publish=publish,
    )
    if not passed:
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
