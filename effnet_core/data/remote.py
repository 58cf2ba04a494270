"""Images that lie elsewhere: fetched once to this machine, by whatever a URL names (fsspec)."""

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, unquote_plus, urlsplit

import fsspec
from filelock import FileLock

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study.design import is_url, place_name


def local(place: str) -> Path:
    """A folder or file that a study names, on this machine.

    What a URL names is copied to `.cache/datasets` when it is asked for first, and read there
    from then on: delete the copy to fetch it again. One that turned out not to be readable is
    fetched again by itself. It is complete before it gets its name.

    Args:
        place: a path; or a URL that fsspec reads, such as `s3://bucket/photos` or
            `zip://::https://host/photos.zip`.

    Raises:
        InputError: nothing is there, or nothing installed reads such a URL.
    """
    if not is_url(place):
        return Path(os.path.expanduser(place))  # noqa: PTH111  a user may not exist
    key = hashlib.sha256(place.encode()).hexdigest()[:12]
    copy = paths.CACHE / "datasets" / key / place_name(place)
    doubted = _doubt(copy.parent)
    if copy.exists() and not doubted.exists():
        return copy
    copy.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(copy.parent.with_suffix(".lock")):
        if not copy.exists() or doubted.exists():  # another process may have fetched it meanwhile
            _fetch(place, copy)
            doubted.unlink(missing_ok=True)
    return copy


def doubt(path: Path) -> None:
    """Have a copy fetched again, as what is in it cannot be read; other files are left alone."""
    copies = paths.CACHE / "datasets"
    if path.is_relative_to(copies):
        folder = copies / path.relative_to(copies).parts[0]
        if folder.with_suffix(".lock").exists():  # it was fetched
            _doubt(folder).touch()


def _doubt(folder: Path) -> Path:
    return folder.with_suffix(".doubted")


def _fetch(place: str, copy: Path) -> None:
    print(f"Fetching {place_name(place)}, once for all runs of this machine ...", flush=True)
    with tempfile.TemporaryDirectory(dir=copy.parent) as folder:
        partial = Path(folder) / "partial"
        try:
            system, root = fsspec.core.url_to_fs(place)
            is_folder = system.isdir(root)
            _check_inside(system.find(root) if is_folder else [])
            system.get(root.rstrip("/") + "/" if is_folder else root, str(partial), recursive=True)
        except Exception as error:  # each of its file systems raises what its own library does
            reason = without_secrets(str(error), place)
            raise InputError(
                f"{place_name(place)} cannot be fetched from its URL ({type(error).__name__}: "
                f"{reason}). Look at the URL, and at what it needs: a package such as s3fs, a "
                "network, a permission; or give a folder of this machine."
            ) from None
        if not partial.exists():
            raise InputError(f"Nothing is at the URL of {place_name(place)}. Look at it.")
        if copy.is_dir():
            shutil.rmtree(copy)
        partial.replace(copy)


def without_secrets(text: str, url: str) -> str:
    """A library's message without each word that holds a URL or what a URL asks with.

    Libraries repeat parts of a chained URL, decoded or not: `zip::https://host/a.zip?sig=...`.
    """
    asked = [part for one in url.split("::") for part in re.split(r"[?#]", one)[1:]]
    asked += [urlsplit(one).netloc.rpartition("@")[0] for one in url.split("::")]
    values = {value for part in asked for value in re.split(r"[&;:]|[^&;:=]+=", part)}
    pieces = {
        piece
        for value in values
        for form in (value, unquote(value), unquote_plus(value))
        for piece in re.split(r"\W+", form)
        if len(piece) > 2
    }
    return " ".join(
        "..." if "://" in word or any(piece in word for piece in pieces) else word
        for word in text.split()
    )


def _check_inside(names: list[str]) -> None:
    """Make sure that no name in an archive leads out of the folder that it is unpacked to."""
    for name in names:
        if ".." in PurePosixPath(name.replace("\\", "/")).parts:
            raise ValueError(f"it holds the name {name!r}, which leads out of its folder")
