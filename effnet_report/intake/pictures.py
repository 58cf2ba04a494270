"""Choose the column of photos in a table that holds encoded pictures, and leave out the others."""

import io
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from effnet_core.data.formats import open_image
from effnet_core.data.layout.companions import MASK_WORD
from effnet_core.data.layout.tables import first_of
from effnet_core.errors import InputError

PHOTO_COLUMNS = ("image", "img", "photo", "picture")
SOME = 10  # cells with bytes that tell whether a column of bytes holds pictures


class Apart(NamedTuple):
    """A table without pictures, its photos (None without any), and a remark on what is left out."""

    table: pd.DataFrame
    photos: pd.Series | None
    remark: str


def photos_apart(source: Path, table: pd.DataFrame) -> Apart:
    """Take the photos out of a table, and leave out all other pictures and bytes.

    Args:
        source: where the table comes from, for messages.

    Raises:
        InputError: several columns or one of masks hold pictures, none called like one of photos.
    """
    pictures = {name: column for name in table if (column := _pictures(table[name])) is not None}
    chosen = first_of(table[[*pictures]], PHOTO_COLUMNS)
    if chosen is None and (len(pictures) > 1 or any(map(MASK_WORD.search, pictures))):
        raise InputError(
            f"{source} holds pictures in {', '.join(pictures)}, so it is unclear which are the "
            "photos. Rename the column of the photos to image, or remove the other pictures."
        )
    if chosen is None:
        chosen = next(iter(pictures), None)
    unreadable = [name for name in table if name in pictures or _holds_bytes(table[name])]
    others = [name for name in unreadable if name != chosen]
    remark = ""
    if others:
        photos = f"The photos are those of column {chosen}. " if chosen else ""
        remark = (
            f"{photos}Left out, because they hold other pictures or bytes: {', '.join(others)}."
        )
    taken = None if chosen is None else pictures[chosen]
    return Apart(table.drop(columns=unreadable), taken, remark)


def _pictures(column: pd.Series) -> pd.Series | None:
    """The encoded pictures of a column, each with `bytes` or a `path`; None for other columns.

    Hugging Face's `datasets` writes them so; other programs write the bytes alone.
    """
    if any(map(_is_picture, column)):
        return column
    some = islice((cell for cell in column if isinstance(cell, bytes)), SOME)
    if any(map(_opens, some)):
        return column.map(lambda cell: {"bytes": cell} if isinstance(cell, bytes) else cell)
    return None


def _is_picture(cell: Any) -> bool:
    """Whether a cell is a picture, not a structure such as `{"camera": ..., "path": ...}`."""
    return isinstance(cell, dict) and ("bytes" in cell or cell.keys() == {"path"})


def _opens(data: bytes) -> bool:
    try:
        with open_image(io.BytesIO(data)):
            return True
    except Exception:  # damaged files make Pillow raise almost anything
        return False


def _holds_bytes(column: pd.Series) -> bool:
    """Whether a cell holds bytes that are no text, alone or in a list or a structure."""
    return column.dtype == object and any(map(_has_bytes, column))


def _has_bytes(cell: Any) -> bool:
    if isinstance(cell, bytes):
        return not _is_text(cell)
    if isinstance(cell, dict):
        return any(map(_has_bytes, cell.values()))
    return hasattr(cell, "dtype") and cell.dtype == object and any(map(_has_bytes, cell))


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
