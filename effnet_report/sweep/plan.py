"""Estimate the cost of a study on this device."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np
import psutil
import torch
from torch.nn.functional import cross_entropy

from effnet_core.data import augment
from effnet_core.data.datasets import Dataset, dataset_of
from effnet_core.data.duplicates import describe_no_part
from effnet_core.data.splits import split_dataset
from effnet_core.errors import InputError
from effnet_core.model.backbones import build_network
from effnet_core.model.convolutions import move_to_device
from effnet_core.model.cost import stage_costs, worth_caching
from effnet_core.model.freezing import FrozenNetwork
from effnet_core.model.heads import build_head
from effnet_core.study.design import Settings, Study
from effnet_core.study.schema import Stage
from effnet_report.baseline.classical import FOLDS
from effnet_report.escaping import listed
from effnet_report.sweep.step_cost import StepCost, step_costs

if TYPE_CHECKING:
    from timm.models import EfficientNet

# Number of images for the estimate if the study's own cannot be counted.
NOMINAL_IMAGES = 1000
# Memory of Python and its libraries, bytes.
PROCESS = 10**9


@dataclass(frozen=True)
class Row:
    """One configuration of a study.

    Attributes:
        hours: upper bound, with all epochs trained; None if the run does not fit in memory.
    """

    settings: Settings
    cost: StepCost
    hours: float | None


@dataclass(frozen=True)
class Plan:
    """The cost of a study.

    Attributes:
        train_images, validation_images, test_images: sizes of the parts of one run.
        classes: number of images per class; empty if the images are not on this machine.
        note: sentences about guessed numbers, left-out files and expected errors; or empty.
        device: device of the measurement.
        disk: bytes of activations that the runs of one seed cache.
    """

    rows: list[Row]
    train_images: int
    validation_images: int
    test_images: int
    classes: dict[str, int]
    note: str
    device: str
    disk: int

    @property
    def too_large(self) -> int:
        """Number of configurations that do not fit into memory."""
        return sum(row.hours is None for row in self.rows)


def plan(study: Study) -> Plan:
    """Estimate all configurations from their arithmetic and the time of a few steps."""
    counts, by_class, note = _images(study)
    device = study.protocol.device
    if device == "cuda" and not torch.cuda.is_available():
        device, note = "cpu", f"{note} There is no GPU here: hours are for this CPU.".strip()
    timed = time_steps(study, len(by_class) or 2, device)
    disk = _activations(timed.runs, counts[0], sum(counts))
    return Plan(timed.rows(*counts), *counts, by_class, note, device, disk)


@dataclass(frozen=True)
class Timed:
    """The configurations of a study, and the speed of a device.

    Attributes:
        costs: of a step, by run.
        fitting: whether each run fits in memory.
        speed: None if no run fits.
    """

    runs: list[Settings]
    costs: list[StepCost]
    fitting: list[bool]
    speed: "Speed | None"

    def rows(self, train: int, validation: int, test: int) -> list[Row]:
        """The hours of each run, for these numbers of images."""
        return [
            Row(run, cost, self._hours(run, cost, train, validation, test) if fits else None)
            for run, cost, fits in zip(self.runs, self.costs, self.fitting, strict=True)
        ]

    def _hours(
        self, run: Settings, cost: StepCost, train: int, validation: int, test: int
    ) -> float | None:
        steps = run.trained_epochs * train / run.batch_size
        looks = (run.trained_epochs * validation + validation + test) / run.batch_size
        passes = steps + looks
        if cached_boundary(run):
            passes = (augment.views(run) * train + validation + test) / run.batch_size
        return self.speed.hours(cost, passes, steps, looks) if self.speed else None


def time_steps(study: Study, classes: int, device: str) -> Timed:
    """Count the arithmetic of all configurations, and time a few steps of the costliest one."""
    timed = at_speed(study, classes, None)
    runs, costs = timed.runs, timed.costs
    fitting = [cost.memory < _free_memory(device) for cost in costs]
    speed = None
    if any(fitting):
        costliest = max(compress(range(len(runs)), fitting), key=lambda index: costs[index].flop)
        speed = _measure(runs[costliest], costs[costliest], classes, device)
    return replace(timed, fitting=fitting, speed=speed)


def at_speed(study: Study, classes: int, speed: "Speed | None") -> Timed:
    """Count the arithmetic of all configurations, for a device of known speed and enough memory."""
    runs = study.configurations()
    # The schedule takes no time, so runs that differ only in it are counted once.
    unlike = [settings.schedules[0] for settings in runs]
    counted = {
        name: cost_of(settings, classes)
        for name, settings in {settings.run_id: settings for settings in unlike}.items()
    }
    costs = [counted[settings.run_id] for settings in unlike]
    return Timed(runs, costs, [True] * len(runs), speed)


@cache
def without_data(backbone: str) -> "EfficientNet":
    """The layers of a network on the meta device, not to be changed."""
    with torch.device("meta"):
        return build_network(backbone)


@cache
def _stages(backbone: str, image_size: int) -> list[Stage]:
    return stage_costs(without_data(backbone), image_size)


def cached_boundary(run: Settings) -> int:
    """Values per image that a run caches behind its frozen stages; 0 if it caches nothing."""
    stages = _stages(run.backbone, run.image_size)
    if not 0 < run.freeze < len(stages) - 1 or run.cache_gb == 0:
        return 0
    return stages[run.freeze].boundary_values if worth_caching(stages, run.freeze) else 0


# Settings of runs that share a file of activations.
OF_A_FILE = ("backbone", "weights", "image_size", "resize", "background", "batch_size", "freeze")


def _activations(runs: Sequence[Settings], train: int, images: int) -> int:
    """Bytes of activations that the runs of one seed cache on disk.

    Args:
        train: number of training images, whose other views are cached too.
        images: number of images of a run.
    """
    total = 0
    by_file: dict[tuple[object, ...], list[Settings]] = {}
    for run in runs:
        by_file.setdefault(tuple(getattr(run, name) for name in OF_A_FILE), []).append(run)
    for alike in by_file.values():
        views = max(map(augment.views, alike))
        total += 4 * cached_boundary(alike[0]) * (images + (views - 1) * train)
    return total


def _images(study: Study) -> tuple[tuple[int, int, int], dict[str, int], str]:
    """Number of images per part, number of images per class, and notes about them."""
    protocol = study.protocol
    try:
        dataset = dataset_of(protocol)
    except InputError as error:
        images = protocol.max_images or NOMINAL_IMAGES
        test = round(images * (1 / protocol.folds if protocol.folds else protocol.test_share))
        validation = round((images - test) * protocol.validation_share)
        counts = (images - test - validation, validation, test)
        return counts, {}, f"Hours are for {images} images of 2 classes, as a guess: {error}"
    first = _first_of_equal_files(dataset)
    parts = split_dataset(dataset, next(study.runs()), first)
    counts = (len(parts.train), len(parts.validation), len(parts.test))
    by_class = dict(zip(dataset.classes, np.bincount(dataset.labels).tolist(), strict=True))
    notes = [*filter(None, [too_few(study, dataset)]), *dataset.remarks]
    if protocol.official_test:
        notes += filter(None, [describe_no_part(dataset, first).strip()])
    if dataset.left_out:
        names = listed(dataset.left_out)
        notes.append(f"{len(dataset.left_out)} files are left out, no images of a class: {names}.")
    return counts, by_class, " ".join(notes)


def _first_of_equal_files(dataset: Dataset) -> np.ndarray:
    """For each image the index of the first one whose file has the same bytes, shape (N,).

    Faster than `first_of_equals`, which compares decoded images.
    """
    _, first, numbers = np.unique(dataset.digests, return_index=True, return_inverse=True)
    return first[numbers]


def too_few(study: Study, dataset: Dataset, first: np.ndarray | None = None) -> str:
    """Why a seed of a study has too few images; empty if all have enough.

    Args:
        first: the result of `first_of_equals`; by default copies are files with equal bytes.
    """
    first = _first_of_equal_files(dataset) if first is None else first
    for seed in study.seeds:
        settings = next(run for run in study.runs() if run.seed == seed)
        try:
            part = split_dataset(dataset, settings, first)
        except InputError as error:
            return str(error)
        counts = np.bincount(dataset.labels[part.train], minlength=len(dataset.classes))
        if counts.min() < FOLDS:
            return (
                f"Class {dataset.classes[counts.argmin()]!r} has {counts.min()} training images; "
                f"the classical comparison needs {FOLDS} and will fail. Add images, raise "
                "max_images, or leave the class out."
            )
    return ""


def _model(settings: Settings, classes: int) -> FrozenNetwork:
    """Build a network with random weights, which cost the same and need no download."""
    network = build_network(settings.backbone, drop_path=settings.drop_path)
    return FrozenNetwork(
        network, build_head(settings, network.num_features, classes), settings.freeze
    )


def cost_of(settings: Settings, classes: int) -> StepCost:
    """The cost of one training step; runs that differ only in depth are counted together."""
    network = {"backbone", "drop_path", "head", "hidden_width", "dropout"}
    same = settings.model_dump(include=network | {"image_size", "batch_size"})
    return _costs(json.dumps(same), classes)[settings.freeze]


@cache
def _costs(settings: str, classes: int) -> list[StepCost]:
    """Costs by number of frozen stages, for some settings as JSON."""
    of = Settings(**json.loads(settings))
    with torch.device("meta"):
        model = _model(of, classes)
    return step_costs(model, of.image_size, of.batch_size)


def memory(study: Study) -> int:
    """Lower bound of the memory of the largest run, with its process, bytes."""
    return cost_of(_costliest(study, 2), 2).memory + PROCESS


def _costliest(study: Study, classes: int) -> Settings:
    """The configuration that needs most memory, which freezes fewest stages."""
    runs = study.configurations()
    least = min(run.freeze for run in runs)
    candidates = {run.schedules[0].run_id: run for run in runs if run.freeze == least}
    return max(candidates.values(), key=lambda run: cost_of(run, classes).memory)


@dataclass(frozen=True)
class Speed:
    """Measured seconds per FLOP, in a forward pass and in training."""

    forward: float
    training: float

    def hours(self, cost: StepCost, passes: float, steps: float, looks: float) -> float:
        """Hours of a number of batches.

        Args:
            passes: batches through the frozen stages.
            steps: batches that train.
            looks: batches that are evaluated.
        """
        frozen = cost.prefix_flop * self.forward * passes
        trained = cost.suffix_flop * (3 * self.training * steps + self.forward * looks)
        return (frozen + trained) / 3600


def _measure(settings: Settings, cost: StepCost, classes: int, device: str) -> Speed:
    """Time a forward pass and a training step of one configuration."""
    model, images, targets = _batch(settings, classes, device)

    def forward() -> None:
        with torch.no_grad():
            model(images)

    def step() -> None:
        cross_entropy(model(images), targets).backward()

    forward_speed = _seconds(forward, device) / (cost.prefix_flop + cost.suffix_flop)
    training = _seconds(step, device) - cost.prefix_flop * forward_speed
    return Speed(forward_speed, training / (3 * cost.suffix_flop))


def _batch(
    settings: Settings, classes: int, device: str
) -> tuple[FrozenNetwork, torch.Tensor, torch.Tensor]:
    """A model with random images and labels for one step."""
    torch.set_num_threads(settings.threads)
    model = _model(settings, classes)
    move_to_device(model, device)
    side = settings.image_size
    images = torch.randn(settings.batch_size, 3, side, side, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    return model, images, torch.zeros(settings.batch_size, dtype=torch.int64, device=device)


def runs_that_fit(study: Study) -> int:
    """Number of parallel runs that fit into the GPU's free memory, at least one.

    Measures the peak memory of two training steps of the largest configuration. Without a GPU the
    answer is one, and each run reports the missing GPU.
    """
    if not torch.cuda.is_available():
        return 1
    _, by_class, _ = _images(study)
    classes = len(by_class) or 2
    free, _ = torch.cuda.mem_get_info()
    model, images, targets = _batch(_costliest(study, classes), classes, "cuda")
    adam = torch.optim.Adam(model.trainable_parameters(), fused=True)
    try:
        for _ in range(2):  # the second step includes Adam's moments
            cross_entropy(model(images), targets).backward()
            adam.step()
    except torch.OutOfMemoryError:  # the run itself will say so
        return 1
    return fitting(free, torch.cuda.max_memory_reserved())


# GPU memory of a process before it computes, and memory that stays free for other processes.
CONTEXT = 600 * 2**20
SPARE = 0.1


def fitting(free: int, run: int) -> int:
    """Number of runs of a size that fit into free memory (bytes); at least one."""
    return max(1, int((1 - SPARE) * free / (run + CONTEXT)))


def _seconds(work: Callable[[], None], device: str) -> float:
    """Median of three timings after a warm-up; fewer if slow.

    On a CPU it is CPU time per thread, which other programs hardly change.
    """
    times: list[float] = []
    while len(times) < 4 and sum(times) < 10:
        if device == "cuda":
            start = time.perf_counter()
            work()
            torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        else:
            start = time.process_time()
            work()
            times.append((time.process_time() - start) / torch.get_num_threads())
    return float(np.median(times[1:] or times))


def _free_memory(device: str) -> int:
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    return psutil.virtual_memory().available
