"""Images of your own: one folder a class, or a table of paths and labels."""

import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from effnet_core.data.formats import is_image
from effnet_core.errors import InputError

# Left by file managers; nobody means them as images.
IGNORED_NAMES = {"thumbs.db", "desktop.ini"}
# Folders with these names are parts of a data set, not classes of it, and so are `Training_set`,
# `test-images` and the like. The first group is the part.
PARTS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
TESTS = {"test", "testing"}
PART = re.compile(
    f"({'|'.join(sorted(PARTS, reverse=True))})([ _-]?(set|split|data|images|photos))?",
    re.IGNORECASE,
)
# Columns of a table: of these the first that is there.
PATH_COLUMNS = ("path", "file", "filename", "file_name", "image", "image_path")
LABEL_COLUMNS = ("label", "class", "category", "target")


class Listing(NamedTuple):
    """Image files, each with its class and a unique name, in an order that is fixed.

    Attributes:
        columns: of the table that names them, if one does.
        left_out: files below the folder that belong to no class or are no images.
    """

    kinds: list[str]
    names: list[str]
    files: list[Path]
    columns: pd.DataFrame
    left_out: list[str]


def class_folders(root: Path) -> Listing:
    """The images `root/<class>/<any depth>/<image>`.

    A class folder and an image may be links; a folder inside a class may not, as links can
    lead in circles.

    Raises:
        InputError: the folder is missing or empty, has one class, a class without images, or
            parts such as `train` instead of classes; something in it is neither a file nor a
            folder; a name cannot be written down.
    """
    if not root.is_dir():
        raise InputError(
            f"data_dir {root} is not a folder. Give the folder that holds the classes."
        )
    folders = sorted(path for path in root.iterdir() if path.is_dir() and _counts(path))
    for folder in folders:
        _check_name(folder)
    parts = [folder.name for folder in folders if PART.fullmatch(folder.name)]
    if parts and len(parts) in (len(folders), 2, 3):
        raise InputError(
            f"data_dir {root} holds parts of a data set ({', '.join(parts)}), not classes. "
            f"`effnet new NAME --images {root}` puts them together; or give one of them."
        )
    if len(folders) < 2:
        raise InputError(
            f"data_dir {root} holds {len(folders)} class folders; at least 2 are needed: "
            "data_dir/<class>/<images>."
        )
    kinds: list[str] = []
    files: list[Path] = []
    left_out = [path for path in root.iterdir() if path.is_file() and _counts(path)]
    for folder in folders:
        inside = [p for p in sorted(folder.rglob("*")) if _counts(p) and not _is_folder(p)]
        images = [path for path in inside if is_image(path)]
        if not images:
            raise InputError(f"Class folder {folder} is empty. Add images or remove the folder.")
        left_out += sorted(set(inside) - set(images))
        files += images
        kinds += [folder.name] * len(images)
    names = [path.relative_to(root).as_posix() for path in files]
    aside = [path.relative_to(root).as_posix() for path in left_out]
    return Listing(kinds, names, files, pd.DataFrame(index=names), aside)


def _is_folder(path: Path) -> bool:
    """Whether a path inside a class is a folder and not a file.

    Raises:
        InputError: it is neither, so images would be left out silently; or no table could
            hold its name, for control characters or bytes that are not UTF-8.
    """
    _check_name(path)
    if path.is_file():
        return False
    if path.is_dir() and not path.is_symlink():
        return True
    raise InputError(
        f"{path} is neither an image nor a folder: a link to a folder, a link to nothing, or a "
        "special file. Put the images themselves there, or move it out of the data folder."
    )


def _check_name(path: Path) -> None:
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in path.name):
        raise InputError(f"{str(path)!r} has a name that cannot be written down. Rename it.")


def _counts(path: Path) -> bool:
    return not path.name.startswith(".") and path.name.lower() not in IGNORED_NAMES


def table(labels: Path, root: Path) -> Listing:
    """The images that a CSV file names, by paths relative to `root`, with their classes.

    Raises:
        InputError: no such table or column; an image is missing, twice or without a label; one
            class only.
    """
    try:
        columns = pd.read_csv(labels, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"labels {labels} cannot be read as a CSV table: {error}") from None
    names, kinds = (_column(labels, columns, known) for known in (PATH_COLUMNS, LABEL_COLUMNS))
    files = [root / name for name in names]
    problems = {
        f"are not in {root}": ~pd.Series([file.is_file() for file in files], dtype=bool),
        "have no label": ~kinds.str.strip().astype(bool),
        "are there twice": names.duplicated(),
    }
    for problem, wrong in problems.items():
        if wrong.any():
            raise InputError(
                f"labels {labels}: {wrong.sum()} images {problem}: {names[wrong].iloc[0]}"
            )
    if kinds.nunique() < 2:
        raise InputError(f"labels {labels} name {kinds.nunique()} classes; at least 2 are needed.")
    for name in (*files, *map(Path, kinds.unique())):
        _check_name(name)
    return Listing(kinds.tolist(), names.tolist(), files, columns.set_axis(names), [])


def _column(labels: Path, columns: pd.DataFrame, known: tuple[str, ...]) -> pd.Series:
    for name in known:
        if name in columns:
            return columns[name]
    raise InputError(
        f"labels {labels} has no column {known[0]} (nor {', '.join(known[1:])}), but "
        f"{', '.join(columns)}."
    )


def for_testing(listing: Listing) -> np.ndarray:
    """Which images a table's column `part` keeps for testing, shape (N,), bool."""
    if "part" not in listing.columns:
        return np.zeros(len(listing.names), dtype=bool)
    return listing.columns["part"].str.lower().isin(TESTS).to_numpy()


def objects(listing: Listing, rule: str | None) -> np.ndarray | None:
    """Number of the object that each image shows, shape (N,), int64; None without a rule.

    Args:
        rule: a column of the table; or a regular expression, and what it matches in an image's
            name (or what its brackets match) names the object.

    Raises:
        InputError: not a regular expression, or it matches nothing in a name.
    """
    if not rule:
        return None
    if rule in listing.columns:
        shown = listing.columns[rule].tolist()
    else:
        try:
            found = [re.search(rule, name) for name in listing.names]
        except re.error as error:
            raise InputError(f"groups = {rule!r} is no column and no pattern ({error}).") from None
        if None in found:
            name = listing.names[found.index(None)]
            raise InputError(f"groups = {rule!r} matches nothing in the image name {name!r}.")
        shown = ["\0".join(map(str, match.groups() or [match[0]])) for match in found if match]
    return np.unique(shown, return_inverse=True)[1].astype(np.int64)
