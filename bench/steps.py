"""Training steps by themselves: how fast they are, and where their time goes."""

import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from statistics import fmean, median
from typing import Any, get_args

from bench.summary import LARGE, Found
from effnet_core import processor
from effnet_core.study.design import FREEZE
from effnet_core.study.studies import load_study


@dataclass(frozen=True)
class Step:
    """A training step to repeat: which loop's, on which network.

    Attributes:
        ours: channels last and fused Adam, otherwise PyTorch's defaults.
        least: steps that are timed, at least; more fit into `seconds`.
        precision: of what trains.
    """

    backbone: str
    image_size: int
    freeze: int
    ours: bool
    threads: int
    least: int
    seconds: float
    device: str = "cpu"
    precision: str = "float32"


def step(network: str, freeze: str, form: str) -> Found:
    """FLOP/s of a training step of batch 4 over that of a matrix product, threads alike.

    Args:
        network: `lite0` at 128 px, or `v2l` at 480 px with random weights.
        freeze: number of frozen stages.
        form: `plain`, all threads in one process; `threads`, the same with our memory format
            and optimizer; `ours`, as a sweep runs it: a process a core with one thread each for
            lite0. Two V2-L would not fit into 24 GiB, so there it is one with all threads.
    """
    cores = len(os.sched_getaffinity(0))
    large = network == "v2l"
    processes = cores if form == "ours" and not large else 1
    backbone, size = ("tf_efficientnetv2_l", 480) if large else ("tf_efficientnet_lite0", 128)
    least, seconds = (2, 0.0) if large else (20, 10.0)
    work = Step(backbone, size, int(freeze), form != "plain", cores // processes, least, seconds)
    context = get_context("spawn")
    with context.Manager() as manager:
        together = manager.Barrier(processes)
        with context.Pool(processes) as pool:
            shares = pool.starmap(_steps, [(work, together)] * processes)
    step_flops, product_flops = (sum(f[key] for f in shares) for key in ("flops", "product"))
    return {
        "efficiency": step_flops / product_flops,
        "gflops": step_flops / 1e9,
        "product_gflops": product_flops / 1e9,
        "images_per_second": sum(f["images"] for f in shares),
        "step_seconds": fmean(f["step"] for f in shares),
        "peak_memory_mb": max(f["memory"] for f in shares),
    }


def _steps(work: Step, together: Barrier) -> Found:
    import torch  # noqa: PLC0415

    from effnet_report.sweep.step_cost import step_costs  # noqa: PLC0415

    processor.use("native")  # the product to compare with is the processor's best
    torch.set_num_threads(work.threads)
    model, train = training_step(work)
    flop = step_costs(model, work.image_size, 4)[work.freeze].flop
    square = torch.randn(2048, 2048)
    together.wait()
    before = _time(lambda: torch.mm(square, square), 10, 2.0)
    together.wait()
    step_time = _time(train, work.least, work.seconds)
    together.wait()
    after = _time(lambda: torch.mm(square, square), 10, 2.0)
    return {
        "flops": flop / step_time,
        "product": 2 * 2048**3 / fmean([before, after]),
        "images": 4 / step_time,
        "step": step_time,
        "memory": _peak_memory_mb(),
    }


def training_step(work: Step, *, kept: bool = False) -> tuple[Any, Callable[[], None]]:
    """A network with random weights, and a step on four random images.

    Args:
        work: which step.
        kept: what leaves the frozen stages is computed once, before the steps.
    """
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415
    from torch.nn.functional import cross_entropy  # noqa: PLC0415

    from effnet_core.model.backbones import build_network  # noqa: PLC0415
    from effnet_core.model.convolutions import move_to_device  # noqa: PLC0415
    from effnet_core.model.freezing import FrozenNetwork  # noqa: PLC0415

    network = build_network(work.backbone)
    precision = getattr(torch, work.precision)
    model = FrozenNetwork(network, nn.Linear(network.num_features, 2), work.freeze, precision)
    images = torch.randn(4, 3, work.image_size, work.image_size, device=work.device)
    if work.ours:
        move_to_device(model, work.device)
        images = images.contiguous(memory_format=torch.channels_last)
    else:
        model.to(work.device)
    labels = torch.tensor([0, 1, 0, 1], device=work.device)
    adam = torch.optim.Adam(model.trainable_parameters(), lr=1e-5, fused=work.ours or None)

    network_of = model.suffix if kept else model
    given = model.prefix(images) if kept else images

    def train() -> None:
        loss = cross_entropy(network_of(given), labels)
        adam.zero_grad()
        loss.backward()
        adam.step()

    return model, train


def limit(freeze: str) -> Found:
    """A step of the large study beside what the machine allows, seconds, on one thread.

    `arithmetic` is the time of its floating-point operations at the speed of a large matrix
    product, with all that the processor has; `memory` the time to move, at the speed of copying,
    what has to be moved: each kept activation is written and read once, and of each weight that
    trains eight numbers are read or written: itself twice forward and backward, its gradient and
    both of Adam's moments. What leaves the frozen stages is kept.
    """
    import torch  # noqa: PLC0415

    from effnet_core.model.freezing import count  # noqa: PLC0415
    from effnet_report.sweep.step_cost import step_costs  # noqa: PLC0415

    # A process cannot change its instructions; the step is trained with portable ones.
    with get_context("spawn").Pool(1) as another:
        flop_seconds = another.apply(_product)
    torch.set_num_threads(1)
    protocol = load_study(LARGE).protocol
    work = Step(protocol.backbone, protocol.image_size, int(freeze), True, 1, 0, 0.0)
    model, train = training_step(work, kept=work.freeze > 0)
    cost = step_costs(model, work.image_size, 4)[work.freeze]
    weights = 4 * count(list(model.parameters())) + 3 * 4 * cost.trainable
    moved = 2 * (cost.memory - weights) + 8 * 4 * cost.trainable
    long = torch.randn(2**26)
    copy = torch.empty_like(long)
    copying = _time(lambda: copy.copy_(long), 5, 1.0) / (2 * long.nbytes)
    return {
        "measured": _time(train, 20, 5.0),
        "arithmetic": 3 * cost.suffix_flop * flop_seconds,
        "memory": moved * copying,
    }


def instructions() -> Found:
    """By depth, a step of the large study with portable and with native instructions, seconds.

    Both are trained at the same time, one a core: a slow minute counts for both. What leaves the
    frozen stages is kept.
    """
    forms = get_args(processor.Instructions)
    context = get_context("spawn")
    with context.Manager() as manager:
        together = manager.Barrier(len(forms))
        with context.Pool(len(forms), maxtasksperchild=1) as pool:
            seconds = pool.starmap(_steps_with, [(form, together) for form in forms], chunksize=1)
    return {
        str(n): {form: each[n] for form, each in zip(forms, seconds, strict=True)} for n in FREEZE
    }


def _steps_with(form: processor.Instructions, together: Barrier) -> dict[int, float]:
    import torch  # noqa: PLC0415

    processor.use(form)
    torch.set_num_threads(1)
    protocol = load_study(LARGE).protocol
    seconds = {}
    for freeze in FREEZE:
        work = Step(protocol.backbone, protocol.image_size, freeze, True, 1, 0, 0.0)
        _, train = training_step(work, kept=freeze > 0)
        together.wait()
        seconds[freeze] = _time(train, 20, 10.0)
    return seconds


def _product() -> float:
    """Seconds of a floating-point operation in a large matrix product, on one thread."""
    import torch  # noqa: PLC0415

    processor.use("native")
    torch.set_num_threads(1)
    square = torch.randn(2048, 2048)
    return _time(lambda: torch.mm(square, square), 5, 2.0) / (2 * 2048**3)


def _time(work: Callable[[], Any], least: int, seconds: float) -> float:
    """Median time of a piece of work, after one that does not count."""
    work()
    times: list[float] = []
    while len(times) < least or sum(times) < seconds:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def _peak_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
