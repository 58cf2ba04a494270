"""Fetch images from URLs (with fsspec) to this machine, once."""

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
    """Return the path of a folder or file that a study names, fetching it if it is a URL.

    The first request copies the data to `.cache/datasets`; later requests read the copy. Delete
    the copy to fetch it again. A copy that turned out to be unreadable is fetched again
    automatically. A copy gets its name when it is complete.

    Args:
        place: a path; or a URL that fsspec reads, such as `s3://bucket/photos` or
            `zip://::https://host/photos.zip`.

    Raises:
        InputError: there is nothing at the URL, or no installed package reads such URLs.
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
    """Mark a fetched copy as unreadable, so that it is fetched again; ignore other paths."""
    copies = paths.CACHE / "datasets"
    if path.is_relative_to(copies):
        folder = copies / path.relative_to(copies).parts[0]
        if folder.with_suffix(".lock").exists():  # only fetched copies have a lock
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
        except Exception as error:  # every fsspec file system raises errors of its own library
            reason = without_secrets(str(error), place)
            raise InputError(
                f"{place_name(place)} cannot be fetched from its URL ({type(error).__name__}: "
                f"{reason}). Check the URL and what it needs: a package such as s3fs, a network, "
                "a permission. Or give a folder of this machine."
            ) from None
        if not partial.exists():
            raise InputError(f"There is nothing at the URL of {place_name(place)}. Check the URL.")
        if copy.is_dir():
            shutil.rmtree(copy)
        partial.replace(copy)


def without_secrets(text: str, url: str) -> str:
    """Remove URLs, and the queries and passwords of a URL, from a library's message.

    Libraries repeat parts of a chained URL, decoded or not: `zip::https://host/a.zip?sig=...`.
    """
    secrets = [part for link in url.split("::") for part in re.split(r"[?#]", link)[1:]]
    secrets += [urlsplit(link).netloc.rpartition("@")[0] for link in url.split("::")]
    values = {value for part in secrets for value in re.split(r"[&;:]|[^&;:=]+=", part)}
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
    """Make sure that unpacking an archive writes only inside its folder."""
    for name in names:
        if ".." in PurePosixPath(name.replace("\\", "/")).parts:
            raise ValueError(f"the name {name!r} leads out of the archive's folder")
