"""Copies of the project in temporary folders, and commands run in them."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import click
import papermill.cli as papermill_cli
import pytest
from factories import save_run, use_folders, write_notebook, write_study
from rich.console import Console

from effnet_core import paths
from effnet_core.study import records
from effnet_core.study.studies import load_study
from effnet_report import cli
from effnet_report.evidence import failures
from effnet_report.jupyter import papermill_plugin, parent

# The truth: all runs of the study, one after the other in one process, nothing around them.
ALONE = """
    from effnet_core import run
    from effnet_core.study.studies import load_study

    for settings in load_study("tiny").runs():
        run.execute(settings.model_dump())
    """


class Clone:
    """A copy of the project's code in a temporary folder, and commands run in it.

    Commands are the installed ones; PYTHONPATH makes them import the copy, whose folders for
    results, caches and executed notebooks are then its own.
    """

    TINY = """
        title: Two configurations of a few digits
        seeds: [0]
        factors: {freeze: [5, 6], head: [none], scheduler: [plateau]}
        protocol: {dataset: digits, max_images: 120, image_size: 32, weights: none, epochs: 2,
          backbone: tinynet_e, batch_size: 16}
        """

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("bench", "effnet_core", "effnet_report", "notebooks", "studies"):
            # Compiled files come along, but for those that are just being written.
            ignored = shutil.ignore_patterns("*.pyc.*", ".ipynb_checkpoints")
            shutil.copytree(paths.ROOT / folder, root / folder, ignore=ignored)
        (root / "studies" / "tiny.yml").write_text(textwrap.dedent(self.TINY))
        # Its epochs take no time, and can be gone on from.
        self.edit("effnet_core/training/checkpoints.py", r"WORTH_SAVING = .*", "WORTH_SAVING = 0.0")
        # Forests take longest, and are nothing new here.
        slow = r'    "(random forest|.* boosting)": {.*\n'
        self.edit("effnet_report/baseline/classical.py", slow, "", times=2)

    def edit(self, file: str, pattern: str, new: str, times: int = 1) -> None:
        """Replace what a pattern matches in a file of the copy, as often as it has to be there."""
        path = self.root / file
        changed, count = re.subn(pattern, lambda _: new, path.read_text())
        assert count == times, f"{count} times in {file}: {pattern}"
        path.write_text(changed)

    def bring_book(self, *pages: str) -> None:
        """Copy the book with its first page, these pages, and those that no build lacks."""
        needed = {"index", *pages, "references", "runs"}
        left_out = [page.stem for page in paths.BOOK.glob("*.md") if page.stem not in needed]
        ignored = shutil.ignore_patterns("runs", *(f"{name}.md" for name in left_out))
        shutil.copytree(paths.BOOK, self.root / "book", ignore=ignored)
        shutil.copy(paths.ROOT / "_config.yml", self.root)
        listed = rf" *- file: ({'|'.join(left_out)})\n"
        self.edit("book/_toc.yml", listed, "", times=len(left_out))

    @property
    def environment(self) -> dict[str, str]:
        # Rich and papermill word things by the width of the terminal.
        return os.environ | {"PYTHONPATH": str(self.root), "COLUMNS": "200"}

    def run(self, *command: str, **options) -> subprocess.CompletedProcess:
        """Run a command of this environment in the copy, its streams piped."""
        program = Path(sys.executable).with_name(command[0])
        return subprocess.run(
            [program, *command[1:]],
            cwd=self.root,
            env=self.environment,
            text=True,
            check=False,
            **({"capture_output": True, "stdin": subprocess.DEVNULL} | options),
        )

    def files(self) -> set[str]:
        return left_behind(self.root)


def left_behind(root: Path) -> set[str]:
    """Everything that runs have left in a project, hidden files aside."""
    left = [*root.glob("results/**/*"), *root.glob("book/runs/**/*")]
    names = [path.relative_to(root) for path in left if path.is_file()]
    return {n.as_posix() for n in names if not any(p.startswith(".") for p in n.parts)}


class Here:
    """The commands `effnet` and `papermill` in this process, with folders of the test's own.

    What no command does alike in its own process is for a `Clone`: training, starting kernels.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch, capsys) -> None:
        self._patch, self._capsys = patch, capsys
        self.use(root)
        shutil.copytree(paths.ROOT / "studies", root / "studies")
        (root / "studies" / "tiny.yml").write_text(textwrap.dedent(Clone.TINY))
        patch.setenv("COLUMNS", "200")
        patch.setattr(cli, "console", Console(width=200))
        patch.setattr(parent, "start_for_sweep", lambda: None)  # starts processes
        patch.chdir(paths.ROOT)

    def use(self, root: Path) -> None:
        """Take the folders of another project, in which real processes have run."""
        self.root = root
        for name, place in (("RESULTS", "results"), ("CACHE", ".cache"), ("STUDIES", "studies")):
            self._patch.setattr(paths, name, root / place)
        self._patch.setattr(paths, "EXECUTED", root / "book" / "runs")

    def run(self, *command: str) -> subprocess.CompletedProcess:
        """Call what the command calls; gives its exit status and what it printed."""
        self._capsys.readouterr()
        with self._patch.context() as patch:
            patch.setattr(sys, "argv", [*command])
            main = {"effnet": cli.main, "papermill": self._papermill}[command[0]]
            try:
                status = main()
            except SystemExit as end:
                status = end.code
        return subprocess.CompletedProcess(command, status or 0, *self._capsys.readouterr())

    def _papermill(self) -> None:
        """As the command does it, which has looked for entry points when it is imported."""
        with self._patch.context() as patch:
            for place, name in ((click.Command, "parse_args"), (papermill_cli, "execute_notebook")):
                patch.setattr(place, name, getattr(place, name))  # put back afterwards
            papermill_plugin._watch_command_line()
            papermill_cli.papermill()

    def files(self) -> set[str]:
        return left_behind(self.root)


@dataclass(frozen=True)
class Swept:
    """A copy of the project in which a sweep of the study `tiny` has ended, and what it told."""

    root: Path
    told: str

    def bring_to(self, root: Path) -> None:
        """Copy the records and executed notebooks to another project; caches stay behind."""
        for folder in ("results", "book/runs"):
            shutil.copytree(self.root / folder, root / folder, dirs_exist_ok=True)


def swept_study(folder: Path) -> Swept:
    clone = Clone(folder)
    done = clone.run("effnet", "sweep", "tiny", "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    return Swept(folder, done.stdout)


@dataclass(frozen=True)
class Book:
    """A built book, after it was built again unchanged, and once more with another record.

    Attributes:
        unchanged: what the second build said, and whether it wrote a page again.
        changed: what the third build said.
    """

    root: Path
    unchanged: tuple[str, bool]
    changed: str

    @property
    def site(self) -> Path:
        return self.root / "_build" / "html"


def troubled_book(root: Path) -> Book:
    """Build the book of a study in trouble, in a copy of the repository.

    Configuration 5 is missing, 6 failed, 7 is damaged, 11's notebook is half-written; a study
    that is not shown has a run page too. The other record has an accuracy of 99 %.
    """
    root.mkdir()
    for part in ("bench", "effnet_core", "effnet_report", "studies", "book", "_config.yml"):
        source = paths.ROOT / part
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, root / part)
    shutil.rmtree(root / "book" / "runs", ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        use_folders(root, patch)
        patch.setattr(paths, "EXECUTED", root / "book" / "runs")
        write_study("quick", skip=(5, 6))
        pages = paths.executed("quick")
        for notebook in sorted(pages.iterdir())[8:]:
            notebook.unlink()
        runs = {settings.number: settings for settings in load_study("quick").runs()}
        failures.save("quick", runs[6].run_id, "The <b>disk</b> was full.", "")
        records.record_path("quick", runs[7].run_id).write_text("{")
        (pages / f"{runs[11].run_id}.ipynb").write_text('{"cells": [')
        write_notebook(runs[8].model_copy(update={"study": "other"}))
        build_book(root)
        page = root / "_build" / "html" / "results.html"
        before = page.stat().st_mtime_ns
        again = build_book(root)
        rewritten = page.stat().st_mtime_ns != before
        save_run(runs[1], accuracy=99.0)
        return Book(root, (again, rewritten), build_book(root))


def build_book(root: Path) -> str:
    """Build the book of a copy of the repository, warnings being errors; returns the log."""
    command = Path(sys.executable).with_name("jupyter-book")
    done = subprocess.run(
        [command, "build", "book", "-W", "-n", "--keep-going"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root), "EFFNET_STUDY": "quick"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
