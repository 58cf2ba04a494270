"""Find all images below a folder, in the same way for training, `effnet new` and `predict`."""

import unicodedata
from pathlib import Path
from typing import NamedTuple

from effnet_core.data.formats import is_image
from effnet_core.errors import InputError

# Files and folders that file managers, archives and network drives create; not meant as images.
LITTER = {
    *("thumbs.db", "desktop.ini", "icon\r", "__macosx", "$recycle.bin", "lost+found"),
    *("@eadir", "@recycle", "#recycle", "#snapshot", "system volume information", "recycler"),
    *("recycled", "@recently-snapshot"),
}
# Folders that the kernel makes up; some have no end.
KERNEL = (Path("/proc"), Path("/sys"))


class Walk(NamedTuple):
    """The files below a folder, at any depth, sorted.

    Attributes:
        images: files that are images.
        refused: paths that may be images or hold images and cannot be read, with reason and remedy.
        left_out: other files, and files or whole folders that programs created.
    """

    images: list[Path]
    refused: dict[Path, str]
    left_out: list[Path]


NOT_WRITTEN = "has a name that cannot be written down. Rename it."


def walk(root: Path, top: Path | None = None) -> Walk:
    """Sort everything below a folder into images, refused paths and other files.

    Args:
        top: links to folders are followed in this folder, by default `root`, but not below it,
            because they can form loops.
    """
    below = Walk([], {}, [])
    pending = [root]
    while pending:
        folder = pending.pop()
        if any(map(folder.resolve().is_relative_to, KERNEL)):
            below.refused[folder] = "belongs to the system. Give a folder of images."
            continue
        try:
            inside = sorted(folder.iterdir())
        except OSError as error:
            below.refused[folder] = unreadable(error)
            continue
        for path in inside:
            try:
                if is_folder(path, top or root):
                    pending.append(path)
                else:
                    sort(path, below)
            except OSError as error:
                below.refused[path] = unreadable(error)
    refused = dict(sorted(below.refused.items()))
    return Walk(sorted(below.images), refused, sorted(below.left_out, key=_litter_last))


def is_folder(path: Path, top: Path) -> bool:
    """Whether to look into a path as a folder."""
    plain = not is_litter(path) and can_be_written(path.name) and path.is_dir()
    return plain and (path.parent == top or not path.is_symlink())


def sort(path: Path, below: Walk) -> None:
    """Add a path that is not looked into to one of the lists."""
    if is_litter(path):
        below.left_out.append(path)
    elif not can_be_written(path.name):
        below.refused[path] = NOT_WRITTEN
    elif not path.is_file():
        below.refused[path] = (
            "is neither an image nor a folder: a link to a folder, a link to nothing, or a "
            "special file. Put the images themselves there, or move it out of the data folder."
        )
    else:
        try:
            (below.images if is_image(path) else below.left_out).append(path)
        except InputError as error:  # a photo that needs another package
            below.refused[path] = str(error).removeprefix(f"{path} ")


def only_readable(below: Walk) -> Walk:
    """Make sure that no path was refused.

    Raises:
        InputError: an image may be missing, because a path was refused.
    """
    for path, reason in below.refused.items():
        shown = path if can_be_written(path.name) else repr(str(path))
        raise InputError(f"{shown} {reason}")
    return below


def subfolders(folder: Path) -> list[Path]:
    """List the folders in a folder, links included, without those that programs created.

    Raises:
        InputError: the folder cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not is_litter(path))
    except OSError as error:
        raise InputError(f"{folder} {unreadable(error)}") from None


def is_litter(path: Path) -> bool:
    """Whether a file or folder is hidden or was created by a program."""
    return path.name.startswith(".") or path.name.lower() in LITTER


def can_be_written(name: str) -> bool:
    """Whether a table can hold a name: valid UTF-8 without control characters."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)


def unreadable(error: OSError) -> str:
    """The reason why a path is refused, with the remedy."""
    return (
        f"cannot be read ({error.strerror}). Make it readable, or move it out of the data folder."
    )


def _litter_last(path: Path) -> tuple[bool, Path]:
    return is_litter(path), path
