"""Results of the benchmarks in `results/`: speed, a GPU, a simulated cluster, other processors.

`bench/` writes these files and the pages read them. Parts that were not measured are None, or
missing from their dictionary.
"""

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel

from effnet_core import files
from effnet_core.errors import InputError
from effnet_report.evidence import locations


class Measured(BaseModel):
    """Median, lowest and highest value of repeated measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Measured | None":
        """Summarise single measurements; None without any."""
        seen = list(values)
        if not seen:
            return None
        return cls(median=statistics.median(seen), low=min(seen), high=max(seen))


class File(BaseModel):
    """The content of a benchmark's file in `results/`."""

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read the file; None if it does not exist.

        Raises:
            InputError: it is damaged.
        """
        try:
            return cls.model_validate_json(path.read_bytes()) if path.is_file() else None
        except ValueError:
            raise InputError(
                f"{path} is damaged. Restore it from git, or delete it and measure again."
            ) from None

    def save(self, path: Path) -> None:
        """Write the file crash-safe."""
        files.write(path, (self.model_dump_json(indent=1) + "\n").encode())


class Measurement(BaseModel):
    """The result of one arm of a benchmark in one turn.

    Attributes:
        of: fingerprint of the measured code.
        found: the output of the arm.
    """

    turn: int
    arm: str
    of: str = ""
    commit: str
    found: dict[str, Any]


class Sweep(BaseModel):
    """All trainings of the study `quick`, with our code and with other training loops.

    Attributes:
        complete: `effnet sweep`, everything included, s.
        expert: the hand-tuned script, its trainings only, s.
        against_expert: the ratio of these two.
        expert_lead: mean test accuracy here minus there, points.
        trainings: our trainings alone, s.
        plain: the usual loop's trainings, s.
        against_peers: time of our trainings over that of other loops, by loop.
        accuracy: mean test accuracy of ours, %.
        plain_accuracy: of the usual loop.
        lead: the difference of these two, points.
    """

    complete: Measured | None = None
    expert: Measured | None = None
    against_expert: Measured | None = None
    expert_lead: Measured | None = None
    trainings: Measured | None = None
    plain: Measured | None = None
    against_peers: dict[str, Measured] = {}
    accuracy: Measured | None = None
    plain_accuracy: Measured | None = None
    lead: Measured | None = None


class LargeRuns(BaseModel):
    """One run per depth of the study `elpv`: our time over the hand-tuned script's."""

    all_depths: Measured | None = None
    by_depth: dict[int, Measured] = {}


class Limit(BaseModel):
    """A training step beside what the machine allows, s."""

    measured: Measured
    arithmetic: Measured
    memory: Measured


class KeptActivations(BaseModel):
    """Four trainings of one depth with kept activations against four without.

    Attributes:
        speedup: times as fast.
        ceiling: what arithmetic allows.
        kept: whether this depth keeps anything.
        equal: whether all results were equal to the bit.
    """

    speedup: Measured
    ceiling: Measured
    kept: bool
    equal: bool


class Step(BaseModel):
    """A training step of one network and depth in one loop.

    Attributes:
        loop: `ours`, `threads` (ours, alone on all cores) or `plain`.
        efficiency: its FLOP/s over those of a large matrix product.
    """

    network: str
    freeze: int
    loop: str
    efficiency: Measured
    product_gflops: Measured
    images_per_second: Measured
    step_seconds: Measured
    peak_memory_mb: Measured


class Instructions(BaseModel):
    """A training step with portable and with native instructions, s, and their ratio."""

    portable: Measured
    native: Measured
    ratio: Measured


class Growth(BaseModel):
    """One run on some number of images."""

    seconds: Measured
    fixed_seconds: Measured
    peak_memory_mb: Measured


class Book(BaseModel):
    """Building the report."""

    clean_seconds: Measured
    rebuild_seconds: Measured
    first_page_kb: Measured


class Recipe(BaseModel):
    """A model trained by a recipe, judged on the test images of a study.

    Attributes:
        tool: `ours`, `fastai`, `keras` or `probe` (logistic regression on frozen features).
        freeze: frozen stages, of ours; None of others.
        epochs: of the whole network, after those of the head alone; 0 for `probe`.
        cpu_seconds: of everything after Python has started.
        accuracy: on the test images, %.
    """

    study: str
    tool: str
    freeze: int | None
    epochs: int
    cpu_seconds: Measured
    accuracy: Measured


class Benchmark(File):
    """`results/bench.json`.

    Attributes:
        steps_ratio: efficiency of our step over the usual loop's, nothing frozen.
        overhead: seconds of a run in a sweep that are not training.
        overhead_typed: the same of one command-line run.
        start: by command, then by part and `all`: seconds until the first step.
        growth: by number of images.
    """

    versions: dict[str, str] = {}
    machine: dict[str, str] = {}
    turns: int = 0
    sweep: Sweep = Sweep()
    large: LargeRuns = LargeRuns()
    limits: dict[int, Limit] = {}
    kept: dict[int, KeptActivations] = {}
    steps: list[Step] = []
    steps_ratio: Measured | None = None
    instructions: dict[int, Instructions] = {}
    overhead: Measured | None = None
    overhead_typed: Measured | None = None
    start: dict[str, dict[str, Measured]] = {}
    growth: dict[int, Growth] = {}
    book: Book | None = None
    recipes: list[Recipe] = []
    measurements: list[Measurement] = []


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
    """`results/gpu.json`.

    Attributes:
        ceilings: FLOP/s of a large product by precision, and bytes/s of a copy.
    """

    versions: dict[str, str]
    machine: dict[str, str]
    commit: str
    ceilings: dict[str, float]
    steps: list[GpuStep] = []
    runs: list[GpuRun] = []


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
    """`results/cluster.json`, simulated.

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
    """`results/processors.json`: the same training steps on other processors."""

    machine: dict[str, str]
    versions: dict[str, str]
    steps: int
    hashes: dict[str, str]
    places: list[OtherProcessor]


class CoverageCase(BaseModel):
    """Simulated studies of one kind and size.

    Attributes:
        covered: by claim, share of the studies whose interval covers the truth, per cent.
    """

    kind: str
    seeds: int
    folds: bool
    covered: dict[str, float]


class Coverage(File):
    """`results/simulation.json`: how often intervals cover the truth in simulated studies.

    Attributes:
        study: whose runs the model of per-image correctness is fitted to.
        replicates: studies in each case.
    """

    study: str
    replicates: int
    cases: list[CoverageCase]


class PhotosRow(BaseModel):
    """The hours of a study of some number of photos on one device.

    Attributes:
        device: `cpu`, or the name of a GPU.
        jobs: runs in parallel.
    """

    device: str
    backbone: str
    image_size: int
    photos: int
    runs: int
    epochs: int
    jobs: int
    hours: float


class Photos(File):
    """`results/photos.json`: how long studies of some numbers of photos take."""

    versions: dict[str, str]
    machine: dict[str, str]
    commit: str
    rows: list[PhotosRow]


class Planted(BaseModel):
    """What an audit found of wrong labels that were planted in a copy of some images.

    Attributes:
        images: in the copy.
        planted: wrong labels among them.
        first: how many of the audit's most suspected labels are counted.
        precision: share of those that were planted, 0..1.
        one_run_precision: the same of the most confident errors of one run.
        suspected_recall: share of the planted labels that the audit calls suspected, 0..1.
    """

    images: int
    planted: int
    first: int
    precision: float
    one_run_precision: float
    suspected_recall: float


def planted(dataset: str) -> Planted | None:
    """What `python -m bench.planted` has written about a data set."""
    try:
        content = json.loads(locations.planted().read_bytes())
        return Planted.model_validate(content[dataset])
    except (OSError, ValueError, KeyError):
        return None


class Consecutive(File):
    """What models have right where blocks of consecutive solar cells stay on one side of a split.

    Attributes:
        study: whose protocol and recipe the models have.
        levels: of its other factors than the number of frozen stages.
        block: number of cells in a block.
        right: by number of frozen stages, 1 or 0 for each cell in the order of its number.
    """

    study: str
    levels: dict[str, str]
    block: int
    right: dict[int, str]
    commit: str
    hardware: dict[str, str]


def consecutive() -> Consecutive | None:
    """What `python -m bench.consecutive` has written; None before it ran."""
    return Consecutive.load(locations.consecutive())


def benchmark() -> Benchmark:
    """What `make bench` has written; empty before it ran."""
    return Benchmark.load(locations.bench()) or Benchmark()


def gpu() -> Gpu | None:
    """What `python -m bench.gpu` has written."""
    return Gpu.load(locations.gpu())


def cluster() -> Cluster | None:
    """What `python -m bench.cluster` has written."""
    return Cluster.load(locations.cluster())


def coverage() -> Coverage | None:
    """What `python -m bench.coverage` has written; None for what an earlier version wrote."""
    try:
        return Coverage.load(locations.coverage())
    except InputError:
        return None


def photos() -> Photos | None:
    """What `python -m bench.photos` has written."""
    return Photos.load(locations.photos())


def processors() -> Processors | None:
    """What `make processors` has written."""
    return Processors.load(locations.processors())
