"""Find the column of a table that says which part of the data set each image belongs to."""

import re
from collections.abc import Sequence

import pandas as pd

from effnet_core.data.layout import part_values
from effnet_core.data.layout.parts import (
    FILLERS,
    KNOWN,
    part_of,
    parts_among,
    parts_and_rest,
    words_of,
)
from effnet_core.data.layout.tables import LABEL_COLUMNS, PATH_COLUMNS, first_of
from effnet_core.data.names import shown
from effnet_core.errors import InputError

# Words that can be the whole name of a column of parts, and words that a longer name can end with.
NAMES = re.compile("(part|set|subset|phase)(id)?")
ENDS = re.compile(r"\w*(splits?|partitions?)(id)?|(k|cv)?folds?(id)?")
# Words beside them that say nothing, as in `split_id` and `used_for_test`.
COUNTING = {"id", "name", "no", "nr", "number", "num", "index", "idx", "type", "label"}
LINKING = {"is", "in", "for", "used", "use", "of", "the", "or", "and", "vs", "flag"}
# As in `istest`; `invalid` means something else.
PREFIX = re.compile(f"is(?=({'|'.join(KNOWN)})(set)?$)|in(?=train(ing)?(set)?$)")
# Words for columns that say which images not to use.
CHOOSING = {
    *("exclude", "excluded", "ignore", "ignored", "discard", "discarded", "drop", "dropped"),
    *("delete", "deleted", "removed", "include", "included", "keep", "use", "usable", "skip"),
}
FLAGS = {"0", "1", "0.0", "1.0", "true", "false", "yes", "no", "y", "n", "t", "f"}


def parts_of(columns: pd.DataFrame, groups: str | None) -> tuple[list[str], list[str]]:
    """The part of each row of a table, or `""`, and remarks about what a reader may not expect.

    A column such as `part`, `split` or `is_test` has to name parts. Any other column names the
    parts if it holds nothing but names of several parts.

    Args:
        columns: the columns of the table by the paths of its images, see `Listing`.
        groups: the rule for images of one object; a column of this name need not name parts.

    Raises:
        InputError: a column that has to name parts, or names them for most images, holds other
            values too; or two columns disagree.
    """
    by_column: dict[str, list[str]] = {}
    remarks = []
    used = {first_of(columns, known) for known in (PATH_COLUMNS, LABEL_COLUMNS)}
    for name, values in columns.items():
        if name in used or not any(values):
            continue
        divides, different = divides_by_name(str(name)), values.unique()
        known = parts_among(different) if divides else {it: part_of(it) for it in different}
        parts = [known.get(value, "") for value in values]
        if all(parts) and (divides or len(set(parts)) > 1):
            by_column[str(name)] = parts
            remarks += [] if divides else part_values.without_training(str(name), parts)
        elif str(name).lower() != (groups or "").lower():
            part_values.check_complete(str(name), values, parts, divides=divides)
            remarks += _not_used(str(name), values)
    if len(set(map(tuple, by_column.values()))) > 1:
        raise InputError(
            f"Columns {', '.join(by_column)} put images in different parts. Remove all but one."
        )
    parts = next(iter(by_column.values()), [""] * len(columns))
    if not by_column and len(columns.columns):
        remarks += part_values.folders_of_parts(list(columns.index))
    return parts, [*remarks, *part_values.put_together(parts)]


def divides_by_name(name: str) -> bool:
    """Whether a column's name, such as `split` or `is_test`, leaves no doubt that it holds parts.

    A word alone, such as `test` or `val`, may be something else.
    """
    words = [word for word in words_of(name) if word not in COUNTING]
    if words and (ENDS.fullmatch(words[-1]) or (len(words) == 1 and NAMES.fullmatch(words[0]))):
        return True
    return _means_a_part(name) and name.strip().lower() not in KNOWN


def _means_a_part(name: str) -> bool:
    """Whether a name has words for parts and no others, such as `istest` or `train_or_test`."""
    words = [PREFIX.sub("", word) for word in words_of(name) if word not in LINKING]
    parts, rest = parts_and_rest(" ".join(words))
    return bool(parts) and rest <= FILLERS


def _not_used(name: str, values: pd.Series) -> list[str]:
    """A remark about a column that seems to hold parts; none about other columns.

    Raises:
        InputError: it divides the images, in words or numbers that no one can be sure about.
    """
    if not divides_by_name(name) and not _means_a_part(name):
        return part_values.seeming_parts(name, values) or _choosing(name, values)
    different: Sequence[str] = sorted(values.unique())
    folds = "fold" in name.lower() and all(value.isdecimal() for value in different)
    few = divides_by_name(name) and 1 < len(different) <= part_values.MOST_PARTS
    flags = len(different) == 2 and FLAGS.issuperset(value.lower() for value in different)
    if (few or flags) and not folds:
        words = " and ".join(value or "empty cells" for value in different)
        raise InputError(
            f"Column {name} says which images belong to which part by {words}, "
            "which are no names of parts. Name the parts train, validation and test, in a "
            "column part; or rename the column if it means something else."
        )
    return [f"Column {shown(name)} is not used, because it names no parts: {part_values.DRAWN}."]


def _choosing(name: str, values: pd.Series) -> list[str]:
    """A remark about a column such as `exclude` that seems to say which images not to use."""
    words = {*words_of(name)}
    chooses = words & CHOOSING and words <= CHOOSING | LINKING | FILLERS
    different = {value.lower() for value in values.unique()}
    if not chooses or len(different) != 2 or not different <= FLAGS | {""}:
        return []
    return [
        f"Look twice: column {shown(name)} is not used, so the images of all rows are. Remove the "
        "rows of images that should not be used."
    ]
