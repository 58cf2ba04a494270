"""List your own images, from one folder per class or from a table of paths and labels."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from effnet_core.data.doubts import check_not_pieces, check_only_photos
from effnet_core.data.formats import is_image
from effnet_core.data.layers import check_layers, doubted_layers, joined_folders
from effnet_core.data.names import check_distinct, is_not_known, likeness, normalised, unquoted
from effnet_core.data.parts import part_of, parts_among, parts_inside
from effnet_core.data.walk import can_be_written, is_litter, only_readable, subfolders, walk
from effnet_core.errors import InputError

# Names of table columns, in any case; the first existing one is used.
PATH_COLUMNS = ("path", "file", "filename", "file_name", "image", "image_path")
LABEL_COLUMNS = ("label", "class", "category", "target")
SEPARATORS = ",;\t|"
# Seconds for matching all names, because some patterns take years on a long name.
PATTERN_SECONDS = 10
MATCH = """
import json, re, sys
rule, names = json.load(sys.stdin)
matches = [re.search(rule, name) for name in names]
json.dump([match and (match.groups("") or [match[0]]) for match in matches], sys.stdout)
"""


class Listing(NamedTuple):
    """Image files with their classes and unique names, in a fixed order.

    Attributes:
        columns: columns of the table that lists the images; empty without a table.
        left_out: files below the folder that are not images or belong to no class.
        remarks: sentences about what is not evident of the classes.
    """

    kinds: list[str]
    names: list[str]
    files: list[Path]
    columns: pd.DataFrame
    left_out: list[str]
    remarks: list[str]


def class_folders(root: Path) -> Listing:
    """List the images `root/<class>/<any depth>/<image>`, inside folders that hold only one folder.

    Class folders and images may be links. Folders inside a class may not, because links can form
    loops.

    Raises:
        InputError: the folder is missing, has fewer than two classes, a class without images, or
            parts such as `train` instead of classes; a file cannot be read; two classes look
            alike; or the folders are no classes, see `doubts` and `layers`.
    """
    if not root.is_dir():
        raise InputError(
            f"data_dir {root} is not a folder. Give the folder that holds the classes."
        )
    root = unwrapped(root)
    folders = subfolders(root)
    parts = parts_among([folder.name for folder in folders])
    if len(parts) > 1 or len(parts) == len(folders) == 1:
        raise InputError(
            f"data_dir {root} holds parts of a data set ({', '.join(parts)}), not classes. "
            f"`effnet new NAME --images {root}` puts them together; or give one of them."
        )
    if len(folders) < 2:
        raise InputError(
            f"data_dir {root} holds {len(folders)} class folders; at least 2 are needed: "
            "data_dir/<class>/<images>."
        )
    below = only_readable(walk(root))
    within = {path: path.relative_to(root).parts for path in below.images}
    files = [path for path in below.images if len(within[path]) > 1]
    filled = {within[path][0] for path in files}
    for folder in folders:
        if folder.name not in filled:
            other = [str(path) for path in below.left_out if path.is_relative_to(folder)]
            but = f", but other files, such as {other[0]}" if other else ""
            raise InputError(
                f"Class folder {folder} is empty: it holds no images{but}. Add images, convert "
                "the files to JPEG or PNG, or remove the folder."
            )
    for name, part in parts.items():  # one at most
        if part != "train":  # a train may be a class
            raise InputError(
                f"{root / name} looks like a part of a data set (for {part}), not like a class. "
                "Move it out of the folder; or rename it if it is a class."
            )
        if all(len(within[path]) > 2 for path in files if within[path][0] == name):
            raise InputError(
                f"{root / name} looks like a part of a data set with class folders in it, not "
                f"like a class. Give data_dir {root / name}; or rename it if it is a class."
            )
    names = [path.relative_to(root).as_posix() for path in files]
    if inside := parts_inside(names):
        raise InputError(
            f"data_dir {root} holds parts of a data set inside of its classes, such as "
            f"{inside[0]}. `effnet new NAME --images {root}` puts them together if all classes "
            "have them; or rename the folder."
        )
    kinds = [normalised(within[path][0]) for path in files]
    check_distinct(f"data_dir {root}", kinds)
    check_only_photos(root, names)
    check_not_pieces(root, sorted(filled), names)
    check_layers(root, names)
    remarks = [*joined_folders(folder.name for folder in folders), *doubted_layers(names)]
    loose = [path for path in below.images if len(within[path]) == 1]
    aside = [path.relative_to(root).as_posix() for path in (*loose, *below.left_out)]
    return Listing(kinds, names, files, pd.DataFrame(index=names), aside, remarks)


def class_names(root: Path, labels: Path | None) -> list[str]:
    """The classes that folders or a table name, sorted, without a look at the images.

    Raises:
        InputError: the folder or the table cannot be read.
    """
    if labels:
        kinds = _column(labels, read_table(labels), LABEL_COLUMNS).map(unquoted).tolist()
    else:
        kinds = [folder.name for folder in subfolders(unwrapped(root))]
    return sorted(set(map(normalised, kinds)))


def unwrapped(root: Path) -> Path:
    """Find the folder with the classes inside folders that hold nothing else, as archives do."""
    inside = subfolders(root)
    if len(inside) != 1 or part_of(inside[0].name) or not subfolders(inside[0]):
        return root
    beside = (path for path in root.iterdir() if path.is_file() and not is_litter(path))
    return root if any(map(is_image, beside)) else unwrapped(inside[0])


def table(labels: Path, root: Path) -> Listing:
    """List the images in a CSV file, by paths relative to `root`, with their classes.

    Raises:
        InputError: the table or a column is missing; an image is missing, outside of `root`,
            repeated or without a label; there is only one class; two classes look alike; a cell
            lists several classes.
    """
    columns = read_table(labels)
    names, kinds = (_column(labels, columns, known) for known in (PATH_COLUMNS, LABEL_COLUMNS))
    names = names.map(
        lambda name: os.path.relpath(name, root) if Path(name).is_absolute() else name
    )
    stated, kinds = kinds, kinds.map(unquoted).map(normalised)
    files = [root / name for name in names]
    plain = names.map(os.path.normpath)
    problems = {
        f"are outside of {root}, so give a data_dir (--images) that holds all of them": (
            plain.str.match(r"\.\.(/|$)")
        ),
        f"are not in {root}": ~pd.Series([_is_file(file) for file in files], dtype=bool),
        "have no label": kinds == "",
        "are there twice": plain.duplicated(),
    }
    for problem, wrong in problems.items():
        if wrong.any():
            name = names[wrong].iloc[0]
            slash = " (write paths with /, not with \\)" if "\\" in name else ""
            raise InputError(f"labels {labels}: {wrong.sum()} images {problem}: {name}{slash}")
    if kinds.nunique() < 2:
        raise InputError(f"labels {labels} name {kinds.nunique()} classes; at least 2 are needed.")
    for name in (*names, *kinds.unique()):
        if not can_be_written(name):
            raise InputError(f"labels {labels}: {name!r} cannot be written down. Rename it.")
    _check_one_class_each(labels, kinds)
    check_distinct(f"labels {labels}", kinds)
    remarks = _evened_out(stated[stated != kinds], kinds)
    return Listing(kinds.tolist(), names.tolist(), files, columns.set_axis(names), [], remarks)


def _evened_out(stated: pd.Series, kinds: pd.Series) -> list[str]:
    """A remark about labels that are not the names of their classes."""
    if stated.empty:
        return []
    return [
        f"Blanks, an apostrophe or the Unicode form of {len(stated)} labels were evened out: "
        f"{stated.iloc[0]!a} means class {kinds[stated.index[0]]!a}."
    ]


def read_table(path: Path) -> pd.DataFrame:
    """Read a table as text, with columns separated by `,`, `;`, tab or `|`.

    Raises:
        InputError: the table cannot be read, is not UTF-8, or its rows differ in length.
    """
    text = _text(path)
    head = text.partition("\n")[0]
    known = {*PATH_COLUMNS, *LABEL_COLUMNS}

    def known_columns(mark: str) -> int:
        return len(known.intersection(name.strip(' "').lower() for name in head.split(mark)))

    separator = max(SEPARATORS, key=lambda mark: (known_columns(mark), mark in head))
    rows: list[list[str]] = []
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        for row in filter(any, lines):
            # Spreadsheets add empty columns without a name at the end.
            width = len(rows[0]) if rows else max(n for n, cell in enumerate(row, 1) if cell)
            if len(row) < width or any(row[width:]):
                raise csv.Error(f"line {lines.line_num} has {len(row)} columns, the first {width}")
            rows.append(row[:width])
    except csv.Error as error:
        raise InputError(f"{path} cannot be read as a CSV table: {error}.") from None
    if not rows:
        raise InputError(f"{path} cannot be read as a CSV table: it is empty.")
    columns = [name.strip() for name in rows[0]]
    if len(set(map(str.lower, columns))) < len(columns):
        raise InputError(f"{path} has two columns of one name: {', '.join(columns)}.")
    return pd.DataFrame(rows[1:], columns=columns, dtype=str)


def _text(path: Path) -> str:
    """The text of a file in UTF-8; UTF-16 of Latin letters would be UTF-8 with null characters."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read as a CSV table: {error.strerror}.") from None
    with suppress(UnicodeDecodeError):
        text = data.decode("utf-8-sig")
        if "\0" not in text:
            return text
    raise InputError(
        f"{path} is not UTF-8 text. Save it as UTF-8; spreadsheets call it `CSV UTF-8`."
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # the name is too long or contains a null character
        return False


def _column(labels: Path, columns: pd.DataFrame, known: tuple[str, ...]) -> pd.Series:
    called = {name.lower(): name for name in columns}
    for name in known:
        if name in called:
            return columns[called[name]]
    raise InputError(
        f"labels {labels} has no column {known[0]} (nor {', '.join(known[1:])}), but "
        f"{', '.join(columns)}."
    )


def _check_one_class_each(labels: Path, kinds: pd.Series) -> None:
    """Make sure that no cell lists several classes, such as `cat,wet` or `['cat', 'wet']`."""
    pieces = {
        kind: [piece.strip(" []()'\"") for piece in re.split("[,;|]", kind)] for kind in set(kinds)
    }
    single = {listed[0] for listed in pieces.values() if len(listed) == 1}
    for kind, listed in sorted(pieces.items()):
        if len(listed) > 1 and single & set(listed):
            raise InputError(
                f"labels {labels}: {kind!r} is several classes in one cell. Give each image one "
                "class."
            )


def objects(listing: Listing, rule: str | None) -> tuple[np.ndarray | None, list[str]]:
    """Number of the object in each image, shape (N,), int64, and remarks; None without a rule.

    Names that look alike, such as `P1` and `p1 `, stand for the same object, which is remarked.

    Args:
        rule: a column of the table, in any case; or a regular expression whose match in an image's
            name (or whose groups) names the object.

    Raises:
        InputError: the regular expression is invalid or too slow, an image has no object, or all
            images show the same object.
    """
    if not rule:
        return None, []
    column = next((name for name in listing.columns if name.lower() == rule.lower()), None)
    if column is not None:
        shown = listing.columns[column].tolist()
    else:
        shown = ["\0".join(match or [""]) for match in _matches(rule, listing)]
    alike = [likeness(name) for name in shown]
    empty = [
        name
        for name, it in zip(listing.names, shown, strict=True)
        if is_not_known(it) or not re.search(r"\w", it)
    ]
    if empty:
        raise InputError(
            f"groups = {rule!r} names no object for {len(empty)} images, such as {empty[0]!r}. "
            "Give each image an object; an independent image needs a name of its own."
        )
    if len(set(alike)) == 1:
        columns = ", ".join(listing.columns) or "none, as there is no table"
        raise InputError(f"groups = {rule!r} makes all images one object. Columns: {columns}.")
    numbers = np.unique(alike, return_inverse=True)[1].astype(np.int64)
    return numbers, _joined_objects(dict(zip(shown, alike, strict=True)))


def _joined_objects(likenesses: dict[str, str]) -> list[str]:
    """A remark about objects with more than one name."""
    first: dict[str, str] = {}
    pairs = [(first.setdefault(like, name), name) for name, like in likenesses.items()]
    joined = [pair for pair in pairs if pair[0] != pair[1]]
    return [
        f"{len(joined)} names of groups look like another and count as the same group, such as "
        f"{one!r} and {other!r}.".replace("\\x00", " ")
        for one, other in joined[:1]
    ]


def _matches(rule: str, listing: Listing) -> list[list[str] | None]:
    """The match of a pattern in each name, from a subprocess, because matching can hang."""
    try:
        re.compile(rule)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(f"groups = {rule!r} is no column and no pattern ({error}).") from None
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", MATCH],
            input=json.dumps([rule, listing.names]),
            capture_output=True,
            text=True,
            check=True,
            timeout=PATTERN_SECONDS + len(listing.names) / 10_000,
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"groups = {rule!r} takes too long on these names. Avoid nested repetitions such as "
            "(a+)+."
        ) from None
    matches: list[list[str] | None] = json.loads(done.stdout)
    if None in matches:
        name = listing.names[matches.index(None)]
        raise InputError(f"groups = {rule!r} matches nothing in the image name {name!r}.")
    return matches
