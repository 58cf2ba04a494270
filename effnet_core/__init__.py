"""One run, from an image file to its record."""

from pathlib import Path

from effnet_core import processor

# NumPy chooses its instructions when it is imported, so they are set before that. Nothing else sets
# environment variables before a run asks for it.
processor.set_portable()

ROOT = Path(__file__).parents[1]
# Packages whose code decides outcomes. A package that trains other models adds itself.
PACKAGES = ["effnet_core"]


def read_sources() -> dict[str, bytes]:
    """Read the source files of `PACKAGES` from the disk, by path."""
    files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in files}


# Read before other modules are imported, so that these sources are the code that this process runs.
SOURCES = read_sources()


def add_sources(package: str) -> None:
    """Add a package, given by its path from the root, before it is imported."""
    PACKAGES.append(package)
    SOURCES.update({name: text for name, text in read_sources().items() if name not in SOURCES})
