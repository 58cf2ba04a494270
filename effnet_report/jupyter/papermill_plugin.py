"""Make `papermill notebooks/train.ipynb -p freeze 2` work, for our notebooks only.

Papermill requires an output path, only warns of unknown parameters, and prints every error with a
traceback. It loads this module, as an entry point of the group `papermill.engine`, before it reads
its command line. If the command line names one of our notebooks, parameters are checked first, a
missing output path becomes the run's path under `book/runs/`, and bad input gives one line. Other
notebooks and the library papermill are not affected.
"""

import base64
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, get_args

import click
from jupyter_client.kernelspec import find_kernel_specs
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.translators import papermill_translators
from traitlets.config import Config

from effnet_core import files, paths
from effnet_core.errors import InputError, cannot
from effnet_core.study.design import PARAMETERS, Settings, is_url
from effnet_core.study.plain_yaml import parse, read_yaml
from effnet_core.study.records import classical_id, recorded_run
from effnet_core.study.studies import read_settings
from effnet_report import open_files
from effnet_report.escaping import printable
from effnet_report.jupyter import parent, warm
from effnet_report.jupyter.hub import check_weights
from effnet_report.jupyter.notebooks import check_unedited

# The engine that papermill registers under our name: its own, unchanged.
ENGINE = NBClientEngine

# Stands for the output path until the run is known.
ITS_PLACE = "its place under book/runs"

# Parameters that papermill adds on request; other names would become code unchecked.
ITS_OWN = {"PAPERMILL_INPUT_PATH", "PAPERMILL_OUTPUT_PATH"}


def _takes_text(setting: str) -> bool:
    kind = Settings.model_fields[setting].annotation
    return any(part is str or isinstance(part, str) for part in get_args(kind) or (kind,))


# Settings with text as values.
TEXT = {name for name in PARAMETERS if _takes_text(name)}


def executed_path(notebook: Path, settings: Settings) -> Path:
    """Path of the executed notebook of a run."""
    return paths.executed(settings.study) / f"{_run_id(notebook, settings)}.ipynb"


def _run_id(notebook: Path, settings: Settings) -> str:
    classical = notebook.resolve() == paths.CLASSICAL_NOTEBOOK
    return classical_id(settings.seed) if classical else settings.run_id


def _is_ours(notebook: str | None) -> bool:
    ours = (paths.TRAIN_NOTEBOOK, paths.CLASSICAL_NOTEBOOK)
    return notebook is not None and Path(notebook).resolve() in ours


def _watch_command_line() -> None:
    original = click.Command.parse_args

    def parse_args(command: click.Command, context: click.Context, args: list[str]) -> list[str]:
        rest = original(command, context, args)
        cli: Any = sys.modules.get("papermill.cli")
        if cli and command is cli.papermill and _is_ours(context.params["notebook_path"]):
            context.params["output_path"] = context.params["output_path"] or ITS_PLACE
            try:
                _check_options(context.params)
            except InputError as error:
                raise _told(error) from None
            cli.execute_notebook = _carefully(cli.execute_notebook)
        return rest

    click.Command.parse_args = parse_args  # type: ignore[method-assign, assignment]


def _check_options(options: dict[str, Any]) -> None:
    """Check arguments that papermill would misread or check too late.

    Raises:
        InputError: a number with `_`; YAML that is not plain, or that holds no settings; an engine,
            a language, a kernel or a folder that does not exist.
    """
    # Text stays text: a folder may be called 2024, and `None` is not the head `none`.
    typed = options["parameters"]
    options["parameters_raw"] = (*(p for p in typed if p[0] in TEXT), *options["parameters_raw"])
    options["parameters"] = tuple(p for p in typed if p[0] not in TEXT)
    for name, value in options["parameters"]:
        if re.fullmatch(r"[+-]?\d[\d.]*_[\d_.]*", value):  # Python would read it as a number
            raise InputError(f"-p {name} {value}: write the number without _.")
    given = {f"-y {text}": parse(text, "-y") for text in options["parameters_yaml"]}
    given |= {f"-b {text}": parse(_plain(text), "-b") for text in options["parameters_base64"]}
    files_given = [file for file in options["parameters_file"] if not is_url(file)]
    given |= {f"-f {file}": read_yaml(Path(file)) for file in files_given}
    for option, content in given.items():
        if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
            raise InputError(f"{option} must hold settings by name, such as `freeze: 2`.")
    known_of = {
        "engine": papermill_engines._engines,
        "language": papermill_translators._translators,
    }
    for option, known in known_of.items():
        if options[option] and options[option] not in known:
            names = ", ".join(sorted(filter(None, known)))
            raise InputError(f"There is no {option} {options[option]!r}. Known: {names}.")
    kernel, folder = options["kernel"], options["cwd"]
    if kernel and kernel not in (known := find_kernel_specs()):
        raise InputError(f"There is no kernel {kernel!r}. Kernels: {', '.join(known)}.")
    if folder and not os.path.isdir(folder):  # noqa: PTH112
        raise InputError(f"--cwd {folder}: this folder does not exist.")


def _plain(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        raise InputError(f"-b {text} is not base64 of text. Use -y or -p.") from None


def _carefully(execute_notebook: Callable[..., Any]) -> Callable[..., Any]:
    """Papermill's `execute_notebook` with parameters checked and errors in one line."""

    def execute(
        input_path: str, output_path: str, parameters: dict[str, Any], **options: Any
    ) -> Any:
        try:
            notebook = _prepared(Path(input_path), output_path, parameters, options)
        except InputError as error:
            raise _told(error) from None
        # Printed lines per epoch replace the progress bar of cells.
        options |= {
            "stdout_file": options["stdout_file"] or Plain(sys.stderr),
            "progress_bar": False,
        }
        options["config"] = Config({"NotebookClient": warm.AT_ONCE})
        parent.start_with(*parent.NOTEBOOKS)  # imports in the background
        try:
            result = execute_notebook(
                input_path=input_path,
                output_path=str(notebook.working),
                parameters=parameters,
                **options,
            )
            notebook.put(notebook.target)
        except PapermillExecutionError as error:
            differs = notebook.target.with_name(f"{notebook.target.name}.differs")
            with suppress(InputError):  # on a full disk the original error is more important
                notebook.put(differs if notebook.of_record else notebook.target)
            if error.ename != InputError.__name__:
                raise
            raise _told(error.evalue) from None
        except InputError as error:
            raise _told(error) from None
        except OSError as error:
            notebook.working.unlink(missing_ok=True)  # a partial notebook
            raise _told(cannot(f"write {notebook.shown}", error)) from None
        done = "Prepared" if options.get("prepare_only") else "Executed"
        click.echo(f"{done} notebook: {notebook.shown}", err=True)
        return result

    return execute


@dataclass(frozen=True)
class _Notebook:
    """Where an executed notebook goes.

    Attributes:
        shown: its path as the user gave it.
        target: the same, resolved.
        working: where it is written until it is whole; the path itself if nothing is there.
        of_record: whether it replaces the notebook of an existing record, which stays unless the
            repetition gives the same result.
    """

    shown: str
    target: Path
    working: Path
    of_record: bool

    def put(self, there: Path) -> None:
        """Move the notebook to a path, on any disk."""
        if self.working != Path(self.shown):
            files.copy(self.working, there)
            self.working.unlink()


def _prepared(
    notebook: Path, output: str, parameters: dict[str, Any], options: dict[str, Any]
) -> _Notebook:
    """Check parameters, weights and folders before papermill starts a kernel.

    Raises:
        InputError: one of them is bad, or something is in the way of the executed notebook.
    """
    check_unedited(notebook)
    settings = read_settings({n: v for n, v in parameters.items() if n not in ITS_OWN})
    recorded = recorded_run(settings, _run_id(notebook, settings))
    check_weights([settings])
    place = executed_path(notebook, settings)
    open_files.check()
    for folder in (paths.records(settings.study), paths.CACHE / "running"):
        files.check_writable(folder)
    if output == ITS_PLACE:
        files.check_writable(place.parent)
        output = str(place)
    working, target = Path(output), Path(output).resolve()
    if options.get("prepare_only") and target == place.resolve():
        raise InputError(
            f"--prepare-only: {place} is for the executed notebook. Give another path."
        )
    if not os.path.lexists(output):
        return _Notebook(output, target, working, of_record=False)
    _check_replaceable(working)
    running = paths.CACHE / "running" / settings.study / place.name
    running.parent.mkdir(parents=True, exist_ok=True)
    return _Notebook(output, target, running, bool(recorded) and target == place.resolve())


def _check_replaceable(notebook: Path) -> None:
    """Make sure that a notebook can be replaced by a new one.

    Raises:
        InputError: it is no file, cannot be written, or is the one to execute.
    """
    if _is_ours(str(notebook)):
        raise InputError(f"{notebook} is the notebook itself. Give the executed one another name.")
    if not notebook.is_file():
        raise InputError(f"{notebook} is not a file. Give the notebook another name.")
    if not os.access(notebook, os.W_OK):
        raise InputError(f"{notebook} cannot be written. Allow it, or give another name.")


def _told(error: InputError | str) -> click.ClickException:
    """An error in papermill's format, with names escaped for the terminal."""
    return click.ClickException(printable(str(error)))


class Plain:
    """A stream that escapes everything a run prints."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(printable(text))

    def flush(self) -> None:
        self.stream.flush()


# With `python -m papermill` the program's name is not known yet.
if Path(sys.argv[0]).stem in ("papermill", "-m"):
    _watch_command_line()
