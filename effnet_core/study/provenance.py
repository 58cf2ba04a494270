"""Origin of a record: code, versions, machine and times."""

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from effnet_core import SOURCES, paths, processor, read_sources
from effnet_core.errors import InputError
from effnet_core.study.schema import Made

# Packages that can change the last bits of a result or that read the images.
PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "pillow", "papermill")


class Clock:
    """Wall and CPU time of a run per phase, from the creation of the clock on.

    Times are pairs, shape (2,): wall seconds, and CPU seconds of all threads of the process. Both
    clocks are monotonic, so changes of the system time do not matter.

    Attributes:
        ended: the phases that have ended, in order.
    """

    def __init__(self) -> None:
        self.ended: list[str] = []
        _forget_peak_memory()
        self.started = datetime.now(UTC)
        self._begun = {"total": _now()}
        self._spent: dict[str, np.ndarray] = {}
        self._earlier: dict[str, np.ndarray] = {}  # what other clocks measured, by their start

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self._begun[name] = _now()
        yield
        self._spent[name] = self.spent(name)
        self.ended.append(name)

    def spent(self, name: str) -> np.ndarray:
        """Time since an open phase began; for `total`, since the run began."""
        return _now() - self._begun[name]

    def resume(self, name: str, earlier: np.ndarray, started: str) -> None:
        """Add time that was spent on an open phase before an interruption.

        Args:
            earlier: the time spent.
            started: start of the clock that measured it. If that is this clock, its total already
                includes the time.
        """
        self._begun[name] -= earlier
        if started != self.started.isoformat():
            # A step that is repeated in one kernel resumes from the same checkpoint again.
            added = self._earlier.get(started, np.zeros_like(earlier))
            self._earlier[started] = np.maximum(added, earlier)
            self._begun["total"] -= self._earlier[started] - added

    def made(self) -> Made:
        """The record's section about place and time, as of now."""
        spent = self._spent | {"total": self.spent("total")}
        return Made(
            started=self.started.isoformat(timespec="seconds"),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds={name: round(float(wall), 2) for name, (wall, _) in spent.items()},
            cpu_seconds={name: round(float(cpu), 2) for name, (_, cpu) in spent.items()},
            peak_memory_mb=_peak_memory_mb(),
            commit=COMMIT,
            versions=VERSIONS,
            hardware=hardware(),
        )


def _forget_peak_memory() -> None:
    """Measure peak memory from now on: an earlier run of this process may have needed more."""
    with suppress(OSError):  # only Linux can
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory_mb() -> int:
    """Largest memory of this process, MB; on Linux since the last `_forget_peak_memory`."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        line = next(line for line in lines if line.startswith("VmHWM:"))
        return round(int(line.split()[1]) / 2**10)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))  # macOS counts in bytes


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a bit of the outcome."""
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version()} | packages


def _now() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def check_unchanged() -> None:
    """Make sure that the code and the packages on the disk are those that this process runs.

    Raises:
        InputError: a source file or the version of a package changed since it was imported.
    """
    now = read_sources()
    changed = [n for n in sorted(now.keys() | SOURCES) if now.get(n) != SOURCES.get(n)]
    changed += [name for name, version in versions().items() if VERSIONS[name] != version]
    if changed:
        raise InputError(
            f"{', '.join(changed)} changed on the disk after this run began. Nothing was recorded. "
            "Start the run again."
        )


def commit() -> str:
    """The checked-out git commit, with + if tracked files differ from it; or `unknown`.

    Changed results do not count, because runs write them.
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


# Read at import, like the code: later installations and checkouts do not concern this process.
COMMIT = commit()
VERSIONS = versions()
