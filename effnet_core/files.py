"""Files that nobody ever meets half-written, not after a power cut either."""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from effnet_core.errors import InputError


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary name to write to, which becomes `path` when the block ends well.

    Contents are on the disk before the name is, and the name is before this returns.

    Raises:
        InputError: the folder cannot be written, or the disk is full; `path` is as it was.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            _flush(partial)
            partial.replace(path)
            _flush(path.parent)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"Cannot write {path}: {error.strerror or error}. "
            "Make the folder writable, or free some space, and start again."
        ) from None


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; errors as in `replaced`."""
    with replaced(path) as partial:
        partial.write_bytes(data)


def _flush(path: Path) -> None:
    """Wait until a file's contents, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def package_folder(module: str, distribution: str) -> Path:
    """Where an installed data package lies; it is not imported."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise InputError(
            f"Package {distribution} is missing. Install it: pip install {distribution}"
        )
    return Path(spec.origin).parent
