"""What folders or a table list: image files with their classes."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd


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
