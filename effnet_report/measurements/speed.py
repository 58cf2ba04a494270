"""`results/bench.json`: times of our sweep and of other training loops, by `make bench`."""

from typing import Any, ClassVar

from pydantic import BaseModel

from effnet_report.measurements.file import File, Measured


class Measurement(BaseModel):
    """The result of one arm of a benchmark in one turn.

    Attributes:
        of: fingerprint of the measured code.
        found: the output of the arm.
        processor: on which it was measured, where that is another than the file's machine.
    """

    turn: int
    arm: str
    of: str = ""
    commit: str
    found: dict[str, Any]
    processor: str = ""


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
        cpu_seconds: after Python has started, until the model is trained.
        validation: accuracy on the validation images, %, by which the best of several is chosen.
        accuracy: on the test images, %.
    """

    study: str
    tool: str
    freeze: int | None
    epochs: int
    cpu_seconds: Measured
    validation: Measured
    accuracy: Measured


class Benchmark(File):
    """What was measured.

    Attributes:
        steps_ratio: efficiency of our step over the usual loop's, nothing frozen.
        overhead: seconds of a run in a sweep that are not training.
        overhead_typed: the same of one command-line run.
        start: by command, then by part and `all`: seconds until the first step.
        growth: by number of images.
    """

    file: ClassVar[str] = "bench.json"
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


def benchmark() -> Benchmark:
    """What `make bench` has written; empty before it ran."""
    return Benchmark.load() or Benchmark()
