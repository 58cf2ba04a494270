"""List your own images from a table of paths and labels."""

import csv
import io
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd

from effnet_core.data.layout.companions import versions
from effnet_core.data.layout.doubts import doubted_photos
from effnet_core.data.layout.listing import Listing
from effnet_core.data.layout.parts import parts_among
from effnet_core.data.layout.sets import sets_of_versions
from effnet_core.data.layout.walk import can_be_written
from effnet_core.data.names import check_distinct, nearly_alike, normalised, unquoted
from effnet_core.errors import InputError

# Names of table columns, in any case; the first existing one is used.
PATH_COLUMNS = ("path", "file", "filename", "file_name", "image", "image_path")
LABEL_COLUMNS = ("label", "class", "category", "target")
SEPARATORS = ",;\t|"
LISTING = re.compile("[,;|]")
PERHAPS_LISTING = re.compile(r"\s+and\s+|\s*[+/&#]\s*|\s+")
MOST_TOLD, LONGEST_TOLD = 20, 100  # columns, and letters of a cell, in a message


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
            raise InputError(
                f"labels {labels}: {wrong.sum()} images {problem}: {_cut(name)}{slash}"
            )
    if kinds.nunique() < 2:
        raise InputError(f"labels {labels} name {kinds.nunique()} classes; at least 2 are needed.")
    for name in (*names, *kinds.unique()):
        if not can_be_written(name):
            raise InputError(f"labels {labels}: {name!r} cannot be written down. Rename it.")
    _check_no_parts(labels, kinds)
    _check_one_class_each(labels, kinds)
    check_distinct(f"labels {labels}", kinds)
    remarks = [*_unused_columns(columns), *_evened_out(stated[stated != kinds], kinds)]
    remarks += [*nearly_alike(kinds), *versions(names.tolist())]
    remarks += [*sets_of_versions(names.tolist()), *doubted_photos(names)]
    return Listing(kinds.tolist(), names.tolist(), files, columns.set_axis(names), [], remarks)


def class_names(labels: Path) -> list[str]:
    """The classes that a table names, sorted, without a look at the images.

    Raises:
        InputError: the table cannot be read.
    """
    kinds = _column(labels, read_table(labels), LABEL_COLUMNS)
    return sorted({normalised(unquoted(kind)) for kind in kinds})


def _unused_columns(columns: pd.DataFrame) -> list[str]:
    """Sentences about the columns of the paths and of the labels, if several could hold them."""
    called = {name.lower(): name for name in columns}
    remarks = []
    for what, known in {"images": PATH_COLUMNS, "labels": LABEL_COLUMNS}.items():
        used, *unused = [called[name] for name in known if name in called]
        if unused:
            remarks.append(f"The {what} are those of column {used}, not of {', '.join(unused)}.")
    return remarks


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
    if text.lstrip()[:1] in ("{", "[", "<"):
        raise InputError(
            f"{path} is no table but JSON or XML. Save the paths and the classes of the images as "
            f"CSV, with the columns {PATH_COLUMNS[0]} and {LABEL_COLUMNS[0]}."
        )
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


def first_of(columns: pd.DataFrame, known: Sequence[str]) -> str | None:
    """The column whose name comes first among known names, in any case; None without one."""
    called = {name.lower(): name for name in columns}
    return next((called[name] for name in known if name in called), None)


def _column(labels: Path, columns: pd.DataFrame, known: Sequence[str]) -> pd.Series:
    name = first_of(columns, known)
    if name is not None:
        return columns[name]
    more = len(columns.columns) - MOST_TOLD
    there = ", ".join(columns.columns[:MOST_TOLD]) + f" and {more} more" * (more > 0)
    raise InputError(
        f"labels {labels} has no column {known[0]} (nor {', '.join(known[1:])}), but {there}."
    )


def _check_no_parts(labels: Path, kinds: pd.Series) -> None:
    """Make sure that the classes are no parts of a data set, as in a column `category`."""
    parts = parts_among(sorted(kinds.unique()))
    if len(parts) == kinds.nunique() and len(set(parts.values())) > 1:
        raise InputError(
            f"labels {labels}: column {kinds.name} names parts of a data set ({', '.join(parts)}), "
            "not classes. Rename it to part, and name the class of each image in a column label."
        )


def _check_one_class_each(labels: Path, kinds: pd.Series) -> None:
    """Make sure that no cell lists several classes, such as `cat,wet` or `['cat', 'wet']`.

    Other marks and blanks may belong to a name, as in `T-shirt/top`, so they count only between
    names that are classes by themselves.
    """
    certain, possible = (
        {kind: [piece.strip(" []()'\"") for piece in mark.split(kind)] for kind in set(kinds)}
        for mark in (LISTING, PERHAPS_LISTING)
    )
    single = {listed[0] for listed in certain.values() if len(listed) == 1}
    for kind in sorted(certain):
        several = len(certain[kind]) > 1 and not single.isdisjoint(certain[kind])
        all_known = len(possible[kind]) > 1 and single - {kind} >= {*possible[kind]}
        if several or all_known or kind.startswith("{"):
            raise InputError(
                f"labels {labels}: {_cut(kind)!r} is several classes in one cell, or a structure "
                "of another program. Give each image one class."
            )


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TOLD else f"{text[:LONGEST_TOLD]} ..."
