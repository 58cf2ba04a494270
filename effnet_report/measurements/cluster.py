"""`results/cluster.json`: simulated times of a study on a cluster, by `python -m bench.cluster`."""

from typing import ClassVar

from pydantic import BaseModel

from effnet_report.measurements.file import File


class ClusterRow(BaseModel):
    """One simulated case: GPUs, seeds and the order in which runs begin; shares are 0..1."""

    gpus: int
    seeds: int
    runs: int
    order: str
    hours: float
    efficiency: float
    low: float
    high: float
    bound: float


class Cluster(File):
    """What was simulated.

    Attributes:
        epochs_of: the study whose runs' epochs are drawn from.
        speed: of a GPU, FLOP/s.
        fixed: seconds of a run in which its GPU computes nothing.
        on_a_node: GPUs that share a disk.
        prefix: share of the forward pass in the frozen stages, by depth.
        cached: whether a depth's activations are cached.
        forward: seconds of one image's forward pass.
        images: for training, validation and test.
        epochs: that committed runs took, by depth.
        used: the order that sweeps on Ray have.
    """

    file: ClassVar[str] = "cluster.json"
    study: str
    epochs_of: str
    gpu: str
    speed: float
    fixed: float
    on_a_node: int
    replicates: int
    prefix: list[float]
    cached: list[bool]
    forward: float
    images: tuple[int, int, int]
    epochs: list[list[int]]
    used: str
    rows: list[ClusterRow]
