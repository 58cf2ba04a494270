"""All that lies in a folder of images, by one rule, for training, `effnet new` and `predict`."""

import unicodedata
from pathlib import Path
from typing import NamedTuple

from effnet_core.data.formats import is_image
from effnet_core.errors import InputError

# Left by file managers, archives and network drives; nobody means what is in them as images.
LITTER = {
    *("thumbs.db", "desktop.ini", "__macosx", "$recycle.bin", "lost+found"),
    *("@eadir", "@recycle", "#recycle", "#snapshot", "system volume information"),
}


class Walk(NamedTuple):
    """What lies below a folder, at any depth, sorted.

    Attributes:
        images: files that are images.
        refused: what may hold images and cannot be read, each with the reason and the remedy.
        left_out: other files, and what programs left there; a folder stands for what is in it.
    """

    images: list[Path]
    refused: dict[Path, str]
    left_out: list[Path]


def walk(root: Path) -> Walk:
    """Look at everything below a folder.

    A link to a folder is followed in `root` itself and nowhere below it: it may lead back.
    """
    found = Walk([], {}, [])
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            inside = sorted(folder.iterdir())
        except OSError as error:
            found.refused[folder] = _unreadable(error)
            continue
        for path in inside:
            try:
                if _is_folder(path, root):
                    pending.append(path)
                else:
                    sort(path, found)
            except OSError as error:
                found.refused[path] = _unreadable(error)
    refused = dict(sorted(found.refused.items()))
    return Walk(sorted(found.images), refused, sorted(found.left_out, key=_litter_last))


def _is_folder(path: Path, root: Path) -> bool:
    """Whether to look into it."""
    plain = not is_litter(path) and can_be_written(path.name) and path.is_dir()
    return plain and (path.parent == root or not path.is_symlink())


def sort(path: Path, found: Walk) -> None:
    """Put what is not looked into, such as a file, where it belongs."""
    if is_litter(path):
        found.left_out.append(path)
    elif not can_be_written(path.name):
        found.refused[path] = "has a name that cannot be written down. Rename it."
    elif not path.is_file():
        found.refused[path] = (
            "is neither an image nor a folder: a link to a folder, a link to nothing, or a "
            "special file. Put the images themselves there, or move it out of the data folder."
        )
    else:
        try:
            (found.images if is_image(path) else found.left_out).append(path)
        except InputError as error:  # a photo that needs a plugin
            found.refused[path] = str(error).removeprefix(f"{path}: ")


def only_readable(found: Walk) -> Walk:
    """The same, if nothing was refused.

    Raises:
        InputError: images would be left out for no good reason.
    """
    for path, reason in found.refused.items():
        shown = path if can_be_written(path.name) else repr(str(path))
        raise InputError(f"{shown} {reason}")
    return found


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, links included, that a person put there.

    Raises:
        InputError: the folder cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not is_litter(path))
    except OSError as error:
        raise InputError(f"{folder} {_unreadable(error)}") from None


def is_litter(path: Path) -> bool:
    """Whether a file or folder was left by a program; all hidden ones are."""
    return path.name.startswith(".") or path.name.lower() in LITTER


def can_be_written(name: str) -> bool:
    """Whether a table can hold a name: no control characters, nothing that is not UTF-8."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)


def _unreadable(error: OSError) -> str:
    return (
        f"cannot be read ({error.strerror}). Make it readable, or move it out of the data folder."
    )


def _litter_last(path: Path) -> tuple[bool, Path]:
    return is_litter(path), path
