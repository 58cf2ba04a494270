"""Where a record comes from: code, versions, machine and times."""

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import numpy as np

from effnet_core import SOURCES, paths, processor, read_sources
from effnet_core.errors import InputError
from effnet_core.study.schema import Made

# What can change the last bits of a result, and what reads the images.
PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "pillow", "papermill")


class Clock:
    """Wall and CPU time of a run by phase, from its creation on.

    Times are pairs, shape (2,): wall seconds, and seconds that all threads of the process
    computed. Neither is read from the calendar, which may jump.
    """

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self._begun = {"total": _now()}
        self._spent: dict[str, np.ndarray] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self._begun[name] = _now()
        yield
        self._spent[name] = self.spent(name)

    def spent(self, name: str) -> np.ndarray:
        """Time since an open phase began, or since the run did for `total`."""
        return _now() - self._begun[name]

    def resume(self, name: str, earlier: np.ndarray, started: str) -> None:
        """Count what was spent on an open phase before, as if it had begun before.

        Args:
            earlier: the time spent.
            started: when the clock that measured it was; this one has the time in its total.
        """
        self._begun[name] -= earlier
        if started != self.started.isoformat():
            self._begun["total"] -= earlier

    def made(self) -> Made:
        """The record's section about where and when, as of now."""
        spent = self._spent | {"total": self.spent("total")}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return Made(
            started=self.started.isoformat(timespec="seconds"),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds={name: round(float(wall), 2) for name, (wall, _) in spent.items()},
            cpu_seconds={name: round(float(cpu), 2) for name, (_, cpu) in spent.items()},
            # Linux counts in kB, macOS in bytes.
            peak_memory_mb=round(peak / (2**20 if sys.platform == "darwin" else 2**10)),
            commit=COMMIT,
            versions=VERSIONS,
            hardware=hardware(),
        )


def versions() -> dict[str, str]:
    """Of Python and of the packages that can change a bit of the outcome."""
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version()} | packages


def _now() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def check_unchanged() -> None:
    """Make sure that what a record is about to name is what this process runs.

    Raises:
        InputError: a source file, or the version of a package, changed since it was imported.
    """
    now = read_sources()
    changed = [n for n in sorted(now.keys() | SOURCES) if now.get(n) != SOURCES.get(n)]
    changed += [name for name, version in versions().items() if VERSIONS[name] != version]
    if changed:
        raise InputError(
            f"{', '.join(changed)} changed on the disk after this run had begun with what was "
            "there before. Nothing was recorded. Start it again."
        )


def commit() -> str:
    """The checked-out git commit, with + when tracked files differ from it; or `unknown`.

    Results are made by the code and do not change it.
    """
    head = _git("rev-parse", "--short=12", "HEAD")
    if not head:
        return "unknown"
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
    return head + ("+" if changed else "")


def hardware() -> dict[str, str]:
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        **processor.describe(),
        "in_force": processor.in_force(),
        "cores": str(os.cpu_count()),
        "memory_gb": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f}",
    }


def _git(*arguments: str) -> str:
    try:
        result = subprocess.run(
            ["git", "-C", str(paths.ROOT), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return result.stdout.strip()


# As of the import, like the code: a run must not claim what is installed or checked out later.
COMMIT = commit()
VERSIONS = versions()
