"""Copies of the project in temporary folders, and commands run in them."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
from factories import save_run, use_folders, write_notebook, write_study

from effnet_core import paths
from effnet_core.study import records
from effnet_core.study.studies import load_study
from effnet_report.evidence import failures

# The truth: all runs of the study, one after the other in one process, nothing around them.
ALONE = """
    from effnet_core import run
    from effnet_core.study.studies import load_study

    for settings in load_study("tiny").runs():
        this = run.begin(settings.model_dump())
        data = run.load_data(this)
        model = run.build_model(this, data)
        fitted = run.train(this, data, model)
        run.record(this, data, model, fitted, run.evaluate_parts(this, data, model))
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
        saving = root / "effnet_core" / "training" / "checkpoints.py"
        every = saving.read_text().replace("WORTH_SAVING = 10.0", "WORTH_SAVING = 0.0")
        saving.write_text(every)  # its epochs take no time, and can be gone on from
        comparison = root / "effnet_report" / "baseline" / "classical.py"
        grid, slow = comparison.read_text(), re.compile(r'    "(random forest|.* boosting)": {.*\n')
        assert len(slow.findall(grid)) == 2
        comparison.write_text(slow.sub("", grid))  # forests take longest, and are nothing new here

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
        """Everything that runs have left, hidden files aside."""
        left = [*self.root.glob("results/**/*"), *self.root.glob("book/runs/**/*")]
        names = [path.relative_to(self.root) for path in left if path.is_file()]
        return {n.as_posix() for n in names if not any(p.startswith(".") for p in n.parts)}


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
