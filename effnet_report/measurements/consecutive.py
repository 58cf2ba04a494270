"""`results/consecutive.json`: solar cells in blocks, by `python -m bench.consecutive`."""

from typing import ClassVar

from effnet_report.measurements.file import File


class Consecutive(File):
    """What models have right where blocks of consecutive solar cells stay on one side of a split.

    Attributes:
        study: whose protocol and recipe the models have.
        levels: of its other factors than the number of frozen stages.
        block: number of cells in a block.
        right: by number of frozen stages, 1 or 0 for each cell in the order of its number.
    """

    file: ClassVar[str] = "consecutive.json"
    study: str
    levels: dict[str, str]
    block: int
    right: dict[int, str]
    commit: str
    hardware: dict[str, str]
