"""One run, from an image file to its record."""

from pathlib import Path

from effnet_core import processor

# Before NumPy is imported, which would otherwise have chosen its instructions already: this is
# the one place that sets environment variables before a run asks for it.
processor.set_portable()

ROOT = Path(__file__).parents[1]
# Folders whose code decides outcomes: a package that trains something else adds its own.
PACKAGES = ["effnet_core"]


def read_sources() -> dict[str, bytes]:
    """Their source files as they are on the disk now, by path."""
    files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in files}


# Read before all else is imported: what a process runs is this, or it differs from the disk.
SOURCES = read_sources()


def add_sources(package: str) -> None:
    """Take in a package that is about to be imported, given as its path from the root."""
    PACKAGES.append(package)
    SOURCES.update({name: text for name, text in read_sources().items() if name not in SOURCES})
