"""Find which images show the same object, such as a patient."""

import json
import re
import subprocess
import sys
from collections import Counter

import numpy as np

from effnet_core.data.layout.listing import Listing
from effnet_core.data.names import is_not_known, likeness
from effnet_core.errors import InputError

# Seconds for matching all names, because some patterns take years on a long name.
PATTERN_SECONDS = 10
MATCH = """
import json, re, sys
rule, names = json.load(sys.stdin)
matches = [re.search(rule, name) for name in names]
json.dump([match and (match.groups("") or [match[0]]) for match in matches], sys.stdout)
"""


def objects_of(listing: Listing, rule: str | None) -> tuple[np.ndarray | None, list[str]]:
    """Number of the object in each image, shape (N,), int64, and remarks; None without a rule.

    Names that look alike, such as `P1` and `p1 `, stand for the same object, which is remarked.

    Args:
        rule: a column of the table, in any case; or a regular expression whose match in an image's
            name (or whose groups) names the object.

    Raises:
        InputError: the regular expression is invalid or too slow, an image has no object, or all
            images show the same object.
    """
    if rule is None:
        return None, []
    if not rule.strip():
        raise InputError("groups is empty. Name a column or a pattern, or leave it out.")
    column = next((name for name in listing.columns if name.lower() == rule.lower()), None)
    if column is not None:
        shown = listing.columns[column].tolist()
        _check_one_object_each(rule, shown)
    else:
        shown = ["\0".join(match or [""]) for match in _matches(rule, listing)]
        _check_no_folder(rule, shown)
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


def _check_no_folder(rule: str, shown: list[str]) -> None:
    """Make sure that a pattern without a slash does not part an object by its folders.

    The same object would be another one in each folder, such as in those of two classes.
    """
    by_end: dict[str, str] = {}
    for name in [] if "/" in rule else sorted(set(shown)):
        one = by_end.setdefault(name.rpartition("/")[2], name)
        if one != name:
            raise InputError(
                f"groups = {rule!r} takes a folder into the name of an object: {one!r} and "
                f"{name!r} would be two. Write [^/] for any letter but the one between folders, or "
                "/ where a folder belongs to the name."
            )


def _check_one_object_each(rule: str, shown: list[str]) -> None:
    """Make sure that no cell lists several objects, such as `p1;p2`.

    A comma or a slash may be a part of a name, so it counts only between two known objects.
    """
    names = sorted(set(shown))
    listed = [parts for name in names if len(parts := re.split("[;|]", name)) > 1]
    pieces = Counter(likeness(piece) for parts in listed for piece in parts)
    known = {*map(likeness, names), *(piece for piece, count in pieces.items() if count > 1)}
    for name in names:
        certain, possible = (
            [likeness(piece) for piece in re.split(f"[{letters}]", name) if piece.strip()]
            for letters in (";|", ",/")
        )
        several = len(certain) > 1 and not known.isdisjoint(certain)
        if several or (len(possible) > 1 and known.issuperset(possible)):
            raise InputError(
                f"groups = {rule!r}: {name!r} names several objects. Give all images of these "
                "objects one name, so that they stay in one part."
            )


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
