"""Delete what the cache keeps on disk between runs, except files that a process uses."""

from pathlib import Path
from typing import NamedTuple

from effnet_core import paths
from effnet_core.cache import KINDS, delete_unused, entries


class Cleared(NamedTuple):
    """The outcome of `clear`.

    Attributes:
        freed: bytes.
        in_use: files that running processes use; they stay.
        undeletable: the reason for each file that could not be deleted.
    """

    freed: int
    in_use: list[Path]
    undeletable: dict[Path, str]


def clear() -> Cleared:
    """Delete every cache file that no process uses.

    Lock files stay, because another process may be waiting for one.
    """
    freed, in_use, undeletable = 0, [], {}
    side_files = [
        path
        for kind in KINDS
        for ending in ("crc", "partial")
        for path in (paths.CACHE / kind).glob(f"*.{ending}")
    ]
    for path in [*(entry.path for entry in entries()), *side_files]:
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
