"""Where a record comes from: code, versions, machine and times."""

import hashlib
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
from pathlib import Path

from effnet_core import paths
from effnet_core.study.records import Made

# What can change the last bits of a result, and what reads the images.
PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "pillow", "papermill")
# The rooms whose code a run executes between its settings and its outcome.
ROOMS = ("data", "model", "training")


class Clock:
    """Wall time of a run by phase, from its creation on."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def made(self) -> Made:
        """The record's section about where and when, as of now."""
        total = time.perf_counter() - self._start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return Made(
            started=self.started.isoformat(timespec="seconds"),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds={n: round(s, 2) for n, s in (self.seconds | {"total": total}).items()},
            # Linux counts in kB, macOS in bytes.
            peak_memory_mb=round(peak / (2**20 if sys.platform == "darwin" else 2**10)),
            commit=commit(),
            versions={"python": platform.python_version()}
            | {name: importlib.metadata.version(name) for name in PACKAGES},
            hardware=hardware(),
        )


def code_fingerprint(*more: str) -> str:
    """sha256 over names and text of the source files that decide an outcome.

    Args:
        more: files of the package that count too, besides those of every run.
    """
    package = Path(__file__).parents[1]
    files = [path for room in ROOMS for path in (package / room).glob("*.py")]
    digest = hashlib.sha256()
    for path in sorted([*files, package / "run.py", *(package / name for name in more)]):
        digest.update(f"{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def commit() -> str:
    """The checked-out git commit, with + when tracked files differ from it; or `unknown`."""
    head = _git("rev-parse", "--short=12", "HEAD")
    if not head:
        return "unknown"
    return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")


def hardware() -> dict[str, str]:
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory_gb": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f}",
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _git(*arguments: str) -> str:
    try:
        result = subprocess.run(
            ["git", "-C", str(paths.ROOT), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return result.stdout.strip()
