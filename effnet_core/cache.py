"""What is kept on disk between runs: decoded images, activations, first epochs, trained weights.

Nothing here decides an outcome, and all of it can be deleted at any time: it is made again.
Whoever maps or writes an array holds a shared lock on the file itself for as long as the mapping
exists; a file is deleted only under an exclusive lock. So clearing skips what is in use.
"""

import fcntl
import hashlib
import os
import secrets
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

from effnet_core import paths

KINDS = {"images": "*.npy", "prefix": "*.npy", "epochs": "*/*.pt", "weights": "*/*.safetensors"}
# Of the disk space that is free, or taken by the cache already; a setting can say otherwise.
SHARE_OF_DISK = 0.25


@dataclass(frozen=True)
class Entry:
    """One file of the cache.

    Attributes:
        kind: `images`, `prefix`, `epochs` or `weights`.
        used: when a run last opened it.
    """

    path: Path
    kind: str
    size: int
    used: datetime


def keyed(kind: str, name: str, *decides: object) -> Path:
    """The path of a file, keyed by a hash of all that decides its content."""
    key = hashlib.sha256("\0".join(str(part) for part in decides).encode()).hexdigest()[:16]
    return paths.CACHE / kind / f"{name}-{key}.npy"


def checksums_path(array: Path) -> Path:
    """The file beside an array that holds a checksum of each row."""
    return array.with_suffix(".crc")


def checksum(row: np.ndarray) -> int:
    """CRC-32, and never 0, which is what a new file holds."""
    return zlib.crc32(np.ascontiguousarray(row).data) or 1


def open_array(path: Path, mode: Literal["r", "r+"] = "r") -> np.memmap:
    """Map an array file; it is in use until the mapping is garbage.

    Raises:
        OSError, ValueError: it is missing, or no whole array file.
    """
    with path.open("rb" if mode == "r" else "r+b") as file:
        _use(file)
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return np.memmap(file, dtype, mode, offset=file.tell(), shape=shape)


@contextmanager
def new_array(
    path: Path, dtype: type, shape: tuple[int, ...], *, sparse: bool = False
) -> Iterator[np.memmap]:
    """An array file of zeros to write to, which gets its name when the block ends well.

    Its blocks are on the disk before: writing to a mapped file that the disk has no room for
    would end the process (SIGBUS). Each call writes to a file of its own, so two processes that
    make the same array never write into each other's.

    Args:
        sparse: take no blocks yet; then `reserve` each row before it is written.

    Raises:
        OSError: the disk is full, the folder cannot be written, or somebody deleted the file.
    """
    for leftover in path.parent.glob(f"{path.name}.*.partial"):  # of a killed process
        with suppress(OSError):
            delete_unused(leftover)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("x+b") as file:
            _use(file)
            header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            array = np.memmap(file, dtype, "r+", offset=file.tell(), shape=shape)
            if not sparse:
                os.posix_fallocate(file.fileno(), 0, partial.stat().st_size)
        yield array
        array.flush()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _use(file: BinaryIO) -> None:
    """Mark a file as in use; a mapping of it keeps the descriptor, and with it the lock."""
    with suppress(OSError):  # a file system without locks: deleting a mapped file harms nobody
        fcntl.flock(file, fcntl.LOCK_SH)


def delete_unused(path: Path) -> bool:
    """Delete a file unless a process uses it.

    Returns:
        Whether it is gone.

    Raises:
        OSError: it cannot be deleted.
    """
    with suppress(FileNotFoundError), path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            pass
        path.unlink()
    return True


def reserve(path: Path, array: np.ndarray, indices: np.ndarray) -> None:
    """Give rows of a sparse array file their blocks on the disk; those of others stay holes.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    header, row = path.stat().st_size - array.nbytes, array.strides[0]
    with path.open("r+b") as file:
        for index in indices:
            os.posix_fallocate(file.fileno(), header + int(index) * row, row)


def entries() -> list[Entry]:
    """All files of the cache, the least recently used first."""
    found = []
    for kind, names in KINDS.items():
        for path in (paths.CACHE / kind).glob(names):
            with suppress(FileNotFoundError):  # deleted meanwhile
                status = path.stat()
                used = datetime.fromtimestamp(status.st_mtime, UTC)
                found.append(Entry(path, kind, status.st_blocks * 512, used))
    return sorted(found, key=lambda entry: entry.used)


class Cleared(NamedTuple):
    """What `clear` has done.

    Attributes:
        freed: bytes.
        in_use: files that running processes use, which stay.
        undeletable: why files could not be deleted, by file.
    """

    freed: int
    in_use: list[Path]
    undeletable: dict[Path, str]


def clear() -> Cleared:
    """Delete what no process uses; lock files stay, because somebody may wait for one."""
    freed, in_use, undeletable = 0, [], {}
    kept = [entry.path for entry in entries()]
    beside = [path for kind in KINDS for end in ("crc", "partial")
              for path in (paths.CACHE / kind).glob(f"*.{end}")]  # fmt: skip
    for path in [*kept, *beside]:
        if path.suffix == ".crc" and path.with_suffix(".npy").exists():
            continue
        try:
            size = path.stat().st_blocks * 512
            if delete_unused(path):
                freed += size
            else:
                in_use.append(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            undeletable[path] = error.strerror or str(error)
    return Cleared(freed, in_use, undeletable)


def make_room(wanted: Path, size: int, budget_gb: float | None) -> bool:
    """Whether `size` bytes for a file of activations fit the budget.

    Files that were not used for the longest time are deleted to make them fit. With a budget
    of 0 nothing is used, not what is there already either.
    """
    if budget_gb == 0:
        return False
    if wanted.is_file():
        with suppress(OSError):  # a cache that can only be read is of use too
            wanted.touch()  # the time of its last use
        size -= wanted.stat().st_blocks * 512  # more views of its images may be wanted
        if size <= 0:
            return True
    kept = [entry for entry in entries() if entry.kind == "prefix"]
    taken = sum(entry.size for entry in kept)
    budget = 1e9 * budget_gb if budget_gb is not None else SHARE_OF_DISK * (_free() + taken)
    if size > budget:
        return False
    for entry in kept:
        if taken + size <= budget:
            break
        if entry.path == wanted:
            continue
        with suppress(OSError):  # another user's
            taken -= entry.size if delete_unused(entry.path) else 0
    return taken + size <= budget


def _free() -> int:
    existing = next(folder for folder in (paths.CACHE, *paths.CACHE.parents) if folder.is_dir())
    return shutil.disk_usage(existing).free
