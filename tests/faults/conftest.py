"""Attempts at a run in processes of their own, which may be killed."""

import contextlib
import multiprocessing
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from campaign import TALLY
from factories import SMALL, once, read_all, train

from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.schema import Record

# Dropout and stochastic depth, kept activations, three epochs, in under a second.
TINY = SMALL | {
    "batch_size": 16,
    "freeze": 5,
    "head": "mlp",
    "drop_path": 0.2,
    "max_images": 50,
    "epochs": 3,
    "early_stop_patience": 3,
}


class Trainer:
    """Trains the tiny run in forked processes, on the folders of one test."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log.txt"
        self.output = ""
        self.cpu_seconds = 0.0

    def start(self, before=None) -> multiprocessing.Process:
        process = multiprocessing.get_context("fork").Process(target=self._train, args=(before,))
        process.start()
        return process

    def finish(self, before=None) -> int | None:
        """Train to the end that it comes to; gives the exit status, sets output and CPU time."""
        before_it = _cpu_seconds_of_children()
        process = self.start(before)
        process.join()
        self.cpu_seconds = _cpu_seconds_of_children() - before_it
        self.output = self.log.read_text()
        return process.exitcode

    def _train(self, before) -> None:
        with self.log.open("w") as log, contextlib.redirect_stdout(log):
            try:
                if before:
                    before()
                train(**TINY)
            except InputError as error:
                print(f"InputError: {error}")
                sys.exit(1)

    def recorded(self) -> list[Record]:
        """Every file that a reader would take for a record, read as one."""
        studies = [place.name for place in records.paths.RESULTS.glob("*") if place.is_dir()]
        read = [read_all(study) for study in studies]
        assert [text for _, damaged in read for text in damaged] == []
        return [record for whole, _ in read for record in whole]

    def check(self, truth: Record, *, complete: bool) -> None:
        """Whatever is recorded is true, and there is a record if the run is complete."""
        found = [record.model_copy(update={"made": truth.made}) for record in self.recorded()]
        wrong = [record for record in found if record != truth]
        TALLY["false"] += len(wrong)
        TALLY["lost"] += complete and not found
        assert wrong == []
        assert len(found) == 1 or not complete


@pytest.fixture
def trainer(own_folders, every_epoch_saved) -> Trainer:
    return Trainer(own_folders)


@pytest.fixture(scope="session")
def truth(tmp_path_factory) -> Record:
    """What the tiny run leaves when nothing happens to it."""

    def undisturbed_run(folder: Path) -> Record:
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(records.paths, "RESULTS", folder / "results")
            patch.setattr(records.paths, "CACHE", folder / "cache")
            trainer = Trainer(folder)
            assert trainer.finish() == 0, trainer.output
            (record,) = trainer.recorded()
        assert len(record.outcome.history) == TINY["epochs"]
        return record

    return once(tmp_path_factory, undisturbed_run)


def _cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture
def small_disk(tmp_path):
    """Mounts file systems of a given size, such as "64k", on folders of the test."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    mounted = []

    def mount(folder: Path, options: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("this system lets nobody mount a small file system")
        mounted.append(folder)
        return folder

    yield mount
    for folder in reversed(mounted):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
