"""The page Speed in detail: targets, single steps, overhead, a GPU, and how it was measured."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core import paths
from effnet_core.study.design import FREEZE
from effnet_report.evidence import clock
from effnet_report.measurements.file import Measured
from effnet_report.measurements.gpu import Gpu, GpuRun
from effnet_report.measurements.speed import Benchmark, benchmark
from effnet_report.numbers import DASH, number
from effnet_report.pages.gaps import not_measured
from effnet_report.render.html import finding, link, paragraph, table

TIMED = "published/quick"  # the runs whose notebooks say where time goes
NETWORKS = {"lite0": "Lite0", "v2l": "V2-L"}
LOOPS = {"ours": "here", "threads": "here, alone", "plain": "usual loop"}
START = {
    "command": "the command, until a notebook begins",
    "kernel": "the kernel and its imports",
    "cells": "settings, images, backbone and head, until training begins",
}
LINEAR = 0.1  # how far from proportional to the images a run's time may be


@dataclass(frozen=True)
class Target:
    """What a measurement was to reach.

    Attributes:
        measured: None where it was not measured.
        profile: the page's table that says where the time goes.
    """

    what: str
    limit: float
    at_most: bool
    measured: Callable[[Benchmark], Measured | None]
    profile: str = ""
    decimals: int = 2


def _share_of_ceiling(bench: Benchmark) -> Measured | None:
    shares = [part.speedup.median / part.ceiling.median
              for part in bench.kept.values() if part.kept]  # fmt: skip
    return _least(shares)


def _least(values: list[float]) -> Measured | None:
    spread = Measured.of(values)
    return spread and spread.model_copy(update={"median": spread.low})


def _largest(values: list[float]) -> Measured | None:
    spread = Measured.of(values)
    return spread and spread.model_copy(update={"median": spread.high})


def _nonlinearity(bench: Benchmark) -> Measured | None:
    """Largest deviation of the time per image from its mean over the sizes."""
    each = [run.seconds.median / images for images, run in bench.growth.items()]
    mean = sum(each) / len(each) if each else 0.0
    return _largest([abs(seconds / mean - 1) for seconds in each])


TARGETS = [
    Target(
        "complete sweep of the quick study, relative to the hand-tuned script",
        *(0.95, True, lambda bench: bench.sweep.against_expert),
    ),
    Target(
        "one run per depth, relative to the hand-tuned script",
        *(0.80, True, lambda bench: bench.large.all_depths, "limits"),
    ),
    Target(
        "the slowest depth, relative to the hand-tuned script",
        1.0,
        True,
        lambda bench: _largest([ratio.median for ratio in bench.large.by_depth.values()]),
        "limits",
    ),
    Target(
        "all trainings of the quick study, relative to the usual loop",
        *(0.33, True, lambda bench: bench.sweep.against_peers.get("plain")),
    ),
    Target(
        "speed-up by kept activations, smallest share of the upper bound",
        *(0.90, False, _share_of_ceiling),
    ),
    Target(
        "arithmetic per second of a training step, relative to the usual loop",
        *(1.3, False, lambda bench: bench.steps_ratio, "steps"),
    ),
    Target(
        "overhead of one run in a sweep, s",
        *(0.8, True, lambda bench: bench.overhead, "beside-training"),
    ),
    Target(
        "overhead of one command-line run, s",
        *(6, True, lambda bench: bench.overhead_typed, "start"),
        1,
    ),
    Target(
        "from effnet sweep to the first step, s",
        *(4, True, lambda bench: bench.start.get("sweep", {}).get("all"), "start"),
        1,
    ),
    Target(
        "time per image, deviation from constant",
        *(LINEAR, True, _nonlinearity),
    ),
    Target(
        "building the report, s",
        *(60, True, lambda bench: bench.book and bench.book.clean_seconds),
        decimals=0,
    ),
    Target(
        "building the report after one new record, s",
        *(15, True, lambda bench: bench.book and bench.book.rebuild_seconds),
        decimals=0,
    ),
    Target(
        "the first page, kB",
        *(500, True, lambda bench: bench.book and bench.book.first_page_kb),
        decimals=0,
    ),
]


def _met(target: Target, bench: Benchmark) -> bool | None:
    spread = target.measured(bench)
    if spread is None:
        return None
    return spread.median <= target.limit if target.at_most else spread.median >= target.limit


def load() -> Benchmark:
    """What `make bench` has written; empty before it ran."""
    return benchmark()


def answer(bench: Benchmark) -> HTML:
    """How many targets were met."""
    met = [reached for target in TARGETS if (reached := _met(target, bench)) is not None]
    if not met:
        return finding("The speed has not been measured yet.")
    return finding(f"{sum(met)} of the {len(met)} targets that were measured are met.")


def targets(bench: Benchmark) -> HTML:
    """Each target with what was measured, whether it was met or not."""
    frame = pd.DataFrame(_target_row(target, bench) for target in TARGETS)
    return table(
        frame,
        "targets",
        finding="What the project set out to reach, and what was measured.",
        caption=(
            "Medians over the turns of the benchmark, with the lowest and the highest turn; over "
            "depths or sizes for the smallest share, the slowest depth and the deviation."
        ),
    )


def _target_row(target: Target, bench: Benchmark) -> dict[str, str]:
    def words(value: float) -> str:
        return number(value, target.decimals)

    bound = "at most" if target.at_most else "at least"
    row = {"what": target.what, "target": f"{bound} {words(target.limit)}"}
    spread, met = target.measured(bench), _met(target, bench)
    if spread is None:
        return row | {"measured": DASH, "lowest to highest": DASH, "met": "not measured"}
    return row | {
        "measured": words(spread.median),
        "lowest to highest": f"{words(spread.low)} to {words(spread.high)}",
        "met": "yes" if met else _where_it_goes(target),
    }


def _where_it_goes(target: Target) -> str:
    """No, and the table that says why."""
    if not target.profile:
        return "no"
    return Markup("no: {}").format(link(f"#{target.profile}", "where the time goes"))


def limits(bench: Benchmark) -> HTML:
    """What is left: a step by depth beside what the machine allows."""
    if not bench.limits:
        return not_measured("make bench")
    data = pd.DataFrame(
        {
            "frozen stages": depth,
            "measured, ms": 1000 * limit.measured.median,
            "arithmetic at peak, ms": 1000 * limit.arithmetic.median,
            "memory at its bandwidth, ms": 1000 * limit.memory.median,
            "of the bound, %": 100
            * max(limit.arithmetic.median, limit.memory.median)
            / limit.measured.median,
        }
        for depth, limit in bench.limits.items()
    )
    share = data["of the bound, %"]
    return table(
        data,
        "limits",
        finding=(
            f"A training step reaches {number(share.min(), 0)} to {number(share.max(), 0)} % of "
            "what the machine allows, depending on depth."
        ),
        caption=(
            "One step of the solar-cell study on one thread, with kept activations. The bound is "
            "the larger of its arithmetic at the speed of a large matrix product and its memory "
            "traffic at the speed of copying."
        ),
    )


def steps(bench: Benchmark) -> HTML:
    """How much of the machine's speed a training step uses, and what it takes."""
    if not bench.steps_ratio:
        return not_measured("make bench")
    rows = [
        {
            "network": NETWORKS[step.network],
            "freeze": step.freeze,
            "loop": LOOPS[step.loop],
            "of peak, %": 100 * step.efficiency.median,
            "peak, GFLOP/s": step.product_gflops.median,
            "images/s": step.images_per_second.median,
            "step, ms": 1000 * step.step_seconds.median,
            "GB": step.peak_memory_mb.median / 1024,
        }
        for step in bench.steps
        if step.efficiency.median <= 1  # more than the peak is a fault of the measurement
    ]
    return table(
        pd.DataFrame(rows),
        "steps",
        finding=(
            f"A training step does {number(bench.steps_ratio.median)} times as much arithmetic per "
            "second as the usual loop."
        ),
        caption=(
            "Batches of four: Lite0 at 128 px, V2-L at 480 px. The peak is a product of two large "
            "matrices on the same cores in the same minute."
        ),
    )


def instructions(bench: Benchmark) -> HTML:
    """What it costs that every processor gives the same bits."""
    if not bench.instructions:
        return not_measured("make bench")
    data = pd.DataFrame(
        {
            "frozen stages": freeze,
            "portable, ms": 1000 * built.portable.median,
            "native, ms": 1000 * built.native.median,
            "portable, native = 1": number(built.ratio.median, 2),
            "lowest to highest": f"{number(built.ratio.low, 2)} to {number(built.ratio.high, 2)}",
        }
        for freeze, built in bench.instructions.items()
    )
    times = [built.ratio.median for built in bench.instructions.values()]
    return table(
        data,
        "instructions",
        finding=(
            "With portable instructions, which give the same bits on every x86 processor with "
            f"AVX2, a step takes {number(min(times), 2)} to {number(max(times), 2)} times as long "
            "as with native ones."
        ),
        caption=(
            "One step of the solar-cell study with portable and with native instructions, trained "
            "at the same time on one core each."
        ),
    )


def beside_training() -> HTML:
    """Where a run's time goes beside its training: the median of the quick study's runs."""
    files = sorted(paths.executed(TIMED).glob("*-seed0.ipynb"))
    parts = pd.DataFrame(
        one for file in files if "training" in (one := clock.seconds_by_section(file))
    )
    if parts.empty:
        return paragraph(["The executed notebooks of the quick study are not here."], "report-gap")
    typical = parts.median().drop("training")
    return table(
        typical.rename_axis("part").rename("seconds").reset_index(),
        "beside-training",
        finding=(
            f"All but training takes {number(typical.sum())} s of a run; the longest part is "
            f"“{typical.idxmax()}” with {number(typical.max())} s."
        ),
        caption=f"Median wall time of {len(parts)} runs of a sweep, two side by side, by section "
        "of the notebook.",
        decimals=2,
    )


def start(bench: Benchmark) -> HTML:
    """Where the time until the first step goes."""
    if not {"sweep", "typed"} <= bench.start.keys():
        return not_measured("make bench")
    sweep, typed = bench.start["sweep"], bench.start["typed"]
    frame = pd.DataFrame(
        {
            "part": [*START.values(), "all"],
            "sweep, s": [sweep[part].median for part in (*START, "all")],
            "command-line run, s": [typed[part].median for part in (*START, "all")],
        }
    )
    return table(
        frame,
        "start",
        finding=(
            f"Training begins {number(sweep['all'].median)} s after the command of a sweep, and "
            f"{number(typed['all'].median)} s after that of a single run."
        ),
        caption="Measured with nothing frozen and no decoded images, by papermill's own clock.",
    )


def on_a_gpu() -> HTML:
    """A training step of the source's network on a GPU, by depth."""
    measured = Gpu.load()
    if measured is None:
        return not_measured("python -m bench.gpu")
    steps = pd.DataFrame([step.model_dump() for step in measured.steps])
    indexed = steps.set_index(["precision", "form", "freeze"])
    ms, memory = 1000 * indexed["seconds"], indexed["memory_gb"]
    frame = pd.DataFrame({"frozen stages": list(FREEZE)}).set_index("frozen stages", drop=False)
    for precision in ("float32", "bfloat16"):
        # With nothing frozen there is nothing to keep.
        kept = ms[precision]["kept"].combine_first(ms[precision]["computed"])
        frame[f"{precision}, kept, ms"] = kept
        frame[f"{precision}, computed, ms"] = ms[precision]["computed"]
        if precision == "float32":
            frame[f"{precision}, usual loop, ms"] = ms[precision]["usual"]
        frame[f"{precision}, GB"] = memory[precision]["computed"]
    card, whole = measured.machine["gpu"], frame["float32, kept, ms"]
    return table(
        frame,
        "gpu",
        decimals=0,
        finding=(
            f"On one {card} a training step of V2-L at 480 px takes {number(whole.iloc[0], 0)} ms "
            f"with nothing frozen, and {number(whole.iloc[-1], 0)} ms with {whole.index[-1]} "
            "frozen stages and kept activations."
        ),
        caption=f"{_precision(measured, frame)} {_alike(measured.runs)}",
    )


def _precision(measured: Gpu, frame: pd.DataFrame) -> str:
    """What bfloat16 gains in a step, and in a large matrix product."""
    faster = measured.ceilings["bfloat16"] / measured.ceilings["float32"]
    ratio = frame["float32, computed, ms"].iloc[0] / frame["bfloat16, computed, ms"].iloc[0]
    return (
        "Medians for batches of four: bfloat16 multiplies large matrices "
        f"{number(faster, 0)} times as fast as float32, and a step {number(ratio, 2)} times."
    )


def _alike(runs: list[GpuRun]) -> str:
    """Whether whole runs came out alike on this card."""
    if not runs:
        return "No whole run was measured."
    depths = ", ".join(str(run.freeze) for run in runs if run.equal)
    return (
        f"{sum(run.equal for run in runs)} of {len(runs)} whole runs (freeze {depths}), each "
        "trained three times, with and without kept activations, were equal to the bit."
    )


def growth(bench: Benchmark) -> HTML:
    """Time and memory of one run on more and more images."""
    if len(bench.growth) < 2:
        return not_measured("make bench")
    data = pd.DataFrame(
        {
            "images": images,
            "training, s": run.seconds.median,
            "ms per image": 1000 * run.seconds.median / images,
            "overhead, s": run.fixed_seconds.median,
            "peak memory, MB": round(run.peak_memory_mb.median),
        }
        for images, run in bench.growth.items()
    )
    first, last = data.iloc[0], data.iloc[-1]
    return table(
        data,
        "growth",
        finding=(
            f"{number(last['images'] / first['images'], 0)} times the images take "
            f"{number(last['training, s'] / first['training, s'])} times as long and "
            f"{number(last['peak memory, MB'] / first['peak memory, MB'], 2)} times the memory."
        ),
        caption="One run in a process of its own, with empty caches; overhead is imports, decoding "
        "and loading.",
    )


def machine(bench: Benchmark) -> HTML:
    """Where and with what this was measured."""
    if not bench.machine:
        return not_measured("make bench")
    rows = [
        *(("hardware", name, value) for name, value in bench.machine.items()),
        *(("version", name, value) for name, value in bench.versions.items()),
        *(("measured at commit", commit, ", ".join(kinds)) for commit, kinds in _commits(bench)),
    ]
    arms = len({measurement.arm for measurement in bench.measurements})
    return table(
        pd.DataFrame(rows, columns=["what", "name", "value"]),
        "bench-machine",
        finding=f"{len(bench.measurements)} measurements of {arms} kinds in {bench.turns} turns.",
        caption="All arms take turns, each in a process of its own and with empty caches. What was "
        "measured at an earlier commit is older than the code, and a median over turns may mix "
        "commits: `make bench` measures again what has changed.",
    )


def _commits(bench: Benchmark) -> Iterator[tuple[str, list[str]]]:
    """The code that was measured, and the kinds of measurements of it."""
    kinds: dict[str, set[str]] = {}
    for measurement in bench.measurements:
        kinds.setdefault(measurement.commit, set()).add(measurement.arm.split()[0])
    return ((commit, sorted(of_it)) for commit, of_it in kinds.items())
