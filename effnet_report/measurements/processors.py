"""`results/processors.json`: results on other processors, by `make processors`."""

from typing import ClassVar

from pydantic import BaseModel

from effnet_report.measurements.file import File


class OtherProcessor(BaseModel):
    """A processor, or a change of the environment, and what it computed differently.

    Attributes:
        emulated: the model that qemu emulates; empty on this processor.
        variables: of the environment, changed.
        different: names of the hashes that differ.
    """

    what: str
    emulated: str
    variables: dict[str, str]
    different: list[str]


class Processors(File):
    """The same training steps on other processors."""

    file: ClassVar[str] = "processors.json"
    machine: dict[str, str]
    versions: dict[str, str]
    steps: int
    hashes: dict[str, str]
    places: list[OtherProcessor]
