"""One run, from an image file to its record."""

from pathlib import Path

from effnet_core import processor

# Before NumPy is imported, which would otherwise have chosen its instructions already.
processor.set_portable()

PACKAGE = Path(__file__).parent


def read_sources() -> dict[str, bytes]:
    """The package's source files as they are on the disk now, by their path in it."""
    files = sorted(PACKAGE.rglob("*.py"))
    return {path.relative_to(PACKAGE).as_posix(): path.read_bytes() for path in files}


# Read before all else is imported: what a process runs is this, or it differs from the disk.
SOURCES = read_sources()
