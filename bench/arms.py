"""One measurement: `python -m bench.arms NAME [ARGUMENT ...]`, run by `__main__.py`.

It works in a copy of the repository that has no records and no caches, and prints what it
found as its last line, JSON.
"""

import gzip
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import fmean, median
from typing import Any
from urllib.parse import unquote

from effnet_core import paths
from effnet_core.study.design import (
    FREEZE,
    SCHEDULERS,
    Settings,
    Study,
    load_study,
    read_settings,
    run_id,
)
from effnet_core.study.records import Record

STUDY = "quick"
Found = dict[str, Any]


def reseeded(seed: str) -> Study:
    """The study with this seed only."""
    return load_study(STUDY).model_copy(update={"seeds": [int(seed)]})


def runs(which: str, seed: str) -> list[Settings]:
    """The study's runs: `all`, or as a `slice` one configuration of every other depth."""
    every = list(reseeded(seed).runs())
    return every if which == "all" else every[::8]  # a depth has four, the first of them here


def ours(which: str, seed: str) -> Found:
    """A sweep of our own, caches filled on the way."""
    from effnet_core.study import sweep  # noqa: PLC0415  an arm imports what it measures

    study = reseeded(seed)
    wanted = {settings.run_id for settings in runs(which, seed)}
    tasks = [task for task in sweep.tasks(study, STUDY) if task.run_id in wanted]
    start = time.perf_counter()
    ended = list(sweep.execute_all(tasks, sweep.automatic_jobs(study), sweep.Stop()))
    seconds = time.perf_counter() - start
    done = {end.task.run_id: end.record for end in ended}
    if not all(done.values()):
        raise RuntimeError("; ".join(end.error for end in ended if end.error))
    fixed = [end.seconds - _seconds(end.record) for end in ended]
    accuracy = {run_id: record.outcome.test.accuracy for run_id, record in done.items()}
    return {"seconds": seconds, "fixed_seconds": median(fixed), "accuracy": accuracy}


def peer(name: str, which: str, seed: str) -> Found:
    """The same runs in somebody else's loop, one notebook after another."""
    from papermill import execute_notebook  # noqa: PLC0415

    seconds, accuracy = {}, {}
    result = Path("accuracy.txt").resolve()
    for settings in runs(which, seed):
        start = time.perf_counter()
        execute_notebook(
            "bench/peer.ipynb",
            "executed.ipynb",
            settings.model_dump(include={"freeze", "head", "scheduler", "seed"})
            | {"peer": name, "result": str(result)},
            progress_bar=False,
        )
        seconds[settings.run_id] = time.perf_counter() - start
        accuracy[settings.run_id] = float(result.read_text())
    return {"seconds": sum(seconds.values()), "runs": seconds, "accuracy": accuracy}


def depth(freeze: str) -> Found:
    """One configuration with its frozen activations computed, kept for the first time, and kept.

    Each in a process of its own, as in a sweep, so that none finds what another left behind.
    All that is kept is trained again in the opposite order, and times are means of two, so that
    a machine that slows down meanwhile does not count. `ceiling` and `speedup` are for four
    runs, the first of which fills the cache: that many configurations of a study share a depth.
    The ceiling counts FLOP.
    """
    made = _trained(int(freeze), "computed", "first", "later")
    kept = paths.CACHE / "prefix"
    if any_kept := any(kept.glob("*.npy")):
        shutil.rmtree(kept)
        made += _trained(int(freeze), "first", "later", "computed")
    seconds = {name: fmean(_seconds(r) for n, r in made if n == name) for name, _ in made[:3]}
    (_, record), count = made[0], 4
    facts, epochs = record.facts, len(record.outcome.history)
    share = sum(s.flop_share for s in facts.stages[: int(freeze) + 1]) if int(freeze) else 0.0
    looked = epochs * facts.validation_images + facts.validation_images + facts.test_images
    suffix = (3 * epochs * facts.train_images + looked) * (1 - share)
    prefix = (epochs * facts.train_images + looked) * share
    once = (facts.train_images + facts.validation_images + facts.test_images) * share
    with_cache = seconds["first"] + (count - 1) * seconds["later"]
    return {
        **seconds,
        "speedup": count * seconds["computed"] / with_cache,
        "ceiling": count * (prefix + suffix) / (count * suffix + once),
        "kept": any_kept,
        "equal": all(again.outcome == record.outcome for _, again in made),
    }


def _trained(freeze: int, *names: str) -> list[tuple[str, Record]]:
    """The records of trainings, one after another; `computed` neither reads nor keeps anything."""
    # All epochs, so that all depths do the same.
    same = {"freeze": freeze, "early_stop_patience": load_study(STUDY).protocol.epochs}
    made = []
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh:
        for name in names:
            cache_gb = 0.0 if name == "computed" else None
            settings = read_settings({"study": STUDY, "cache_gb": cache_gb} | same)
            made.append((name, fresh.submit(_train, settings).result()))
    return made


def _train(settings: Settings) -> Record:
    from effnet_core import run  # noqa: PLC0415

    return run.repeat(settings)[0]


def _seconds(record: Record) -> float:
    """What a run spent on its training and evaluation."""
    return record.made.seconds["train"] + record.made.seconds["evaluate"]


@dataclass(frozen=True)
class Step:
    """A training step to repeat: which loop's, on which network.

    Attributes:
        ours: channels last and fused Adam, otherwise PyTorch's defaults.
        least: steps that are timed, at least; more fit into `seconds`.
    """

    backbone: str
    image_size: int
    freeze: int
    ours: bool
    threads: int
    least: int
    seconds: float


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
            found = pool.starmap(_steps, [(work, together)] * processes)
    step_flops, product_flops = (sum(f[key] for f in found) for key in ("flops", "product"))
    return {
        "efficiency": step_flops / product_flops,
        "gflops": step_flops / 1e9,
        "product_gflops": product_flops / 1e9,
        "images_per_second": sum(f["images"] for f in found),
        "step_seconds": fmean(f["step"] for f in found),
        "peak_memory_mb": max(f["memory"] for f in found),
    }


def _steps(work: Step, together: Barrier) -> Found:
    import torch  # noqa: PLC0415

    from effnet_core.model.cost import step_cost  # noqa: PLC0415

    torch.set_num_threads(work.threads)
    model, train = _training_step(work)
    flop = step_cost(model, work.image_size, 4).flop
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


def _training_step(work: Step, *, kept: bool = False) -> tuple[Any, Callable[[], None]]:
    """A network with random weights, and a step on four random images.

    Args:
        work: which step.
        kept: what leaves the frozen stages is computed once, before the steps.
    """
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415
    from torch.nn.functional import cross_entropy  # noqa: PLC0415

    from effnet_core.model.backbones import build_network  # noqa: PLC0415
    from effnet_core.model.freezing import FrozenNetwork  # noqa: PLC0415

    network = build_network(work.backbone)
    model = FrozenNetwork(network, nn.Linear(network.num_features, 2), work.freeze)
    images = torch.randn(4, 3, work.image_size, work.image_size)
    if work.ours:
        model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.tensor([0, 1, 0, 1])
    adam = torch.optim.Adam(model.trainable_parameters(), lr=1e-5, fused=work.ours or None)

    network_of = model.suffix if kept else model
    given = model.prefix(images) if kept else images

    def train() -> None:
        loss = cross_entropy(network_of(given), labels)
        adam.zero_grad()
        loss.backward()
        adam.step()

    return model, train


def profile() -> Found:
    """Where a training step of the study spends its time: shares, by depth and operator.

    What leaves the frozen stages is kept.
    """
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    found = {}
    for freeze in (FREEZE[0], FREEZE[-1]):
        _, train = _training_step(study_step(freeze), kept=freeze > 0)
        train()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            for _ in range(10):
                train()
        times = {e.key: e.self_cpu_time_total for e in profiler.key_averages()}
        found[str(freeze)] = {
            name.removeprefix("aten::"): time / sum(times.values()) for name, time in times.items()
        }
    return found


def study_step(freeze: int) -> Step:
    """A step of the study's trainings, as a sweep runs it: one thread."""
    protocol = load_study(STUDY).protocol
    return Step(protocol.backbone, protocol.image_size, freeze, True, 1, 0, 0.0)


def shares() -> Found:
    """What frozen stages take of a step of the study's trainings, of arithmetic and of time."""
    import torch  # noqa: PLC0415
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415

    from effnet_core.model.cost import step_cost  # noqa: PLC0415

    torch.set_num_threads(1)
    size = load_study(STUDY).protocol.image_size
    images = torch.randn(4, 3, size, size).contiguous(memory_format=torch.channels_last)
    found = {}
    for freeze in FREEZE[1:]:
        model, train = _training_step(study_step(freeze))
        prefix = torch.no_grad()(model.prefix)
        with FlopCounterMode(display=False) as counter:
            prefix(images)
        found[str(freeze)] = {
            "arithmetic": counter.get_total_flops() / step_cost(model, size, 4).flop,
            "time": _time(partial(prefix, images), 10, 1.0) / _time(train, 10, 2.0),
        }
    return found


def evaluation() -> Found:
    """Images a second in evaluation, by batch size, and whether the bits are those of four."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    model, _ = _training_step(Step("tf_efficientnet_lite0", 128, 0, True, 1, 0, 0.0))
    model.eval()
    images = torch.randn(96, 3, 128, 128).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def logits(size: int) -> torch.Tensor:
        return torch.cat([model(images[i : i + size]) for i in range(0, len(images), size)])

    reference = logits(4)
    return {
        str(size): {
            "images_per_second": len(images) / _time(partial(logits, size), 5, 0.0),
            "equal": torch.equal(logits(size), reference),
        }
        for size in (4, 8, 16, 32)
    }


def _time(work: Callable[[], Any], least: int, seconds: float) -> float:
    """Median time of a piece of work, after one that does not count."""
    work()
    times: list[float] = []
    while len(times) < least or sum(times) < seconds:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def growth(images: str) -> Found:
    """One run on so many images: time, peak memory, and what does not grow."""
    from effnet_core import run  # noqa: PLC0415

    settings = read_settings({"study": STUDY, "freeze": 4, "epochs": 2, "max_images": int(images)})
    start = time.perf_counter()
    record, _ = run.repeat(settings)
    seconds = _seconds(record)
    fixed = time.perf_counter() - start - seconds
    memory = record.made.peak_memory_mb
    return {"seconds": seconds, "fixed_seconds": fixed, "peak_memory_mb": memory}


def typed() -> Found:
    """The fixed cost of a run that somebody types."""
    from effnet_core.study import records  # noqa: PLC0415

    papermill = Path(sys.executable).with_name("papermill")
    for scheduler in SCHEDULERS:  # the first decodes the images, which is once a study
        command = [papermill, "notebooks/train.ipynb", "-p", "freeze", "6", "-p", "scheduler"]
        start = time.perf_counter()
        subprocess.run([*command, scheduler], check=True, capture_output=True)
        seconds = time.perf_counter() - start
    name = run_id(6, "none", scheduler, 0)
    record = records.load(records.record_path(STUDY, name))
    return {"seconds": seconds, "fixed_seconds": seconds - _seconds(record)}


def book() -> Found:
    """The book about the published runs: from nothing, after one new record, and its weight.

    A single build scatters by 20 %, so the record comes anew three times.
    """
    study = os.environ["EFFNET_STUDY"] = f"published/{STUDY}"
    *_, last = paths.records(study).glob("28-*.json")
    record = last.read_bytes()
    without, rebuilt = [], []
    for _ in range(3):
        last.unlink()
        without.append(_build())
        last.write_bytes(record)
        rebuilt.append(_build())
    site = paths.ROOT / "_build" / "html"
    weights = {page.stem: _weight(page) for page in sorted(site.glob("*.html"))}
    pages = len(list((site / "runs").rglob("*.html")))
    return {
        "clean_seconds": without[0],
        "rebuild_seconds": median(rebuilt),
        "run_pages": pages,
        "first_page_kb": weights["index"],
        "page_kb": weights,
    }


def _build() -> float:
    start = time.perf_counter()
    command = [Path(sys.executable).with_name("jupyter-book"), "build", "-q", "book"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _weight(page: Path) -> float:
    """Weight of a page and of what it refers to, compressed as web servers send it, kB."""
    text = page.read_text(encoding="utf-8")
    names = re.findall(r'(?:src|href)="([^"#?:]+\.(?:css|js|svg|png|woff2))', text)
    files = {page, *((page.parent / unquote(name)).resolve() for name in names)}
    files.add(page.parent / "searchindex.js")  # asked for by a script
    return sum(len(gzip.compress(file.read_bytes())) for file in files if file.is_file()) / 1000


def _peak_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


ARMS: dict[str, Callable[..., Found]] = {
    arm.__name__: arm
    for arm in (ours, peer, depth, step, profile, shares, evaluation, growth, typed, book)
}


def main(arguments: Sequence[str]) -> None:
    name, *rest = arguments
    print(json.dumps(ARMS[name](*rest)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
