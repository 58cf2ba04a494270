"""`results/gpu.json`: times on a GPU, by `python -m bench.gpu`."""

from typing import ClassVar

from pydantic import BaseModel

from effnet_report.measurements.file import File


class GpuStep(BaseModel):
    """A training step of the source's network on a GPU."""

    freeze: int
    precision: str
    form: str
    seconds: float
    memory_gb: float
    flop: float


class GpuRun(BaseModel):
    """A whole run, trained three times: computed, kept anew, and kept before."""

    freeze: int
    images: int
    epochs: int
    equal: bool
    training_seconds: list[float]
    fixed_seconds: list[float]


class Gpu(File):
    """What was measured.

    Attributes:
        ceilings: FLOP/s of a large product by precision, and bytes/s of a copy.
    """

    file: ClassVar[str] = "gpu.json"
    versions: dict[str, str]
    machine: dict[str, str]
    commit: str
    ceilings: dict[str, float]
    steps: list[GpuStep] = []
    runs: list[GpuRun] = []
