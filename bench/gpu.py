"""The source's network on a GPU: `python -m bench.gpu` writes results/gpu.json.

What is timed is a step of `studies/paper.yml` at every depth. Whole runs with random weights are
trained three times each: that they come out alike is what a report made on a GPU rests on. It takes
five minutes. The speed pages show what was found, and the simulated cluster computes at its speed.
"""

import gc
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import median
from typing import Any

import typer
from rich.console import Console

from bench.steps import Step, training_step
from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study.design import FREEZE, Settings
from effnet_core.study.provenance import commit, hardware, versions
from effnet_core.study.studies import read_settings
from effnet_report.measurements.gpu import Gpu, GpuRun, GpuStep

STUDY = "paper"
PRECISIONS = ("float32", "bfloat16")
LEAST, SECONDS = 10, 1.0  # steps that are timed at least, and for how long
# Whole runs: their data are here wherever the project is, and few are enough to compare bits.
RUNS: dict[str, Any] = {
    "dataset": "elpv", "data_dir": None, "weights": "none",
    "max_images": 160, "test_share": 0.25, "epochs": 2, "learning_rate": 1e-4,
}  # fmt: skip
RUN_DEPTHS = (6, 3, 0)
console = Console(stderr=True)


@dataclass(frozen=True)
class Form:
    """A way to train.

    Attributes:
        kept: what leaves the frozen stages is computed before the steps.
        usual: PyTorch's defaults: its memory format, its Adam, no determinism asked for.
    """

    name: str
    kept: bool
    usual: bool


FORMS = (
    Form("usual", kept=False, usual=True),
    Form("computed", kept=False, usual=False),
    Form("kept", kept=True, usual=False),
)


def main() -> None:
    """Measure steps and whole runs of the source's network on this machine's GPU."""
    import torch  # noqa: PLC0415  slow: `--help` needs none of it

    if not torch.cuda.is_available():
        raise InputError("PyTorch finds no GPU here: there is nothing to measure.")
    measured = Gpu(
        versions=versions() | {"cuda": str(torch.version.cuda)},
        machine=hardware() | _card(),
        commit=commit(),
        ceilings=ceilings(),
    )
    for step in steps():
        measured.steps.append(step)
        console.print(
            f"freeze {step.freeze}  {step.precision:9} {step.form:9} "
            f"{1000 * step.seconds:7.1f} ms  {step.memory_gb:5.1f} GB"
        )
    measured.save()
    gc.collect()
    torch.cuda.empty_cache()
    for freeze in RUN_DEPTHS:
        measured.runs.append(repeated(freeze))
        console.print(measured.runs[-1].model_dump_json())
        measured.save()
    console.print(f"Written: {Gpu.path().relative_to(paths.ROOT)}")


def _card() -> dict[str, str]:
    import torch  # noqa: PLC0415

    card = torch.cuda.get_device_properties(0)
    return {"gpu": card.name, "gpu_memory_gb": f"{card.total_memory / 1e9:.0f}"}


def ceilings() -> dict[str, float]:
    """What the card can do at most: FLOP a second of a large product, bytes a second copied."""
    import torch  # noqa: PLC0415

    peaks = {}
    for precision in PRECISIONS:
        square = torch.randn(8192, 8192, device="cuda", dtype=getattr(torch, precision))
        product = timed(lambda square=square: torch.mm(square, square))  # type: ignore[misc]
        peaks[precision] = 2 * 8192**3 / product
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    peaks["bytes"] = 2 * source.nbytes / timed(lambda: target.copy_(source))
    return peaks


def steps() -> Iterator[GpuStep]:
    """A training step at every depth, in each precision and form."""
    for freeze in FREEZE:
        for precision in PRECISIONS:
            for form in FORMS:
                if freeze == 0 and form.kept:
                    continue  # the images themselves
                settings = read_settings({"study": STUDY, "freeze": freeze, "precision": precision})
                yield _step(settings, form)


def _step(settings: Settings, form: Form) -> GpuStep:
    """Time one step."""
    import torch  # noqa: PLC0415

    from effnet_core import run  # noqa: PLC0415
    from effnet_report.sweep.plan import cost_of  # noqa: PLC0415

    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    run.begin_again(settings)  # asks for the same bits
    torch.use_deterministic_algorithms(not form.usual)
    _, train = training_step(step_of(settings, form), kept=form.kept)
    seconds = timed(train)
    cost = cost_of(settings, 2)
    return GpuStep(
        freeze=settings.freeze,
        precision=settings.precision,
        form=form.name,
        seconds=seconds,
        memory_gb=torch.cuda.max_memory_allocated() / 1e9,
        flop=3 * cost.suffix_flop if form.kept else cost.flop,
    )


def step_of(settings: Settings, form: Form) -> Step:
    """A step of a run with these settings."""
    return Step(
        settings.backbone, settings.image_size, settings.freeze, not form.usual, settings.threads,
        LEAST, SECONDS, settings.device, settings.precision,
    )  # fmt: skip


def timed(work: Callable[[], Any]) -> float:
    """Median seconds of a piece of work on the GPU, after three that do not count."""
    import torch  # noqa: PLC0415

    times: list[float] = []
    while len(times) < LEAST + 3 or sum(times) < SECONDS:
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return median(times[3:])


def repeated(freeze: int) -> GpuRun:
    """One run three times, each in a process of its own: computed, kept anew, and kept before."""
    made = []
    for cache_gb in (0.0, None, None):
        settings = read_settings(
            {"study": STUDY, "freeze": freeze, "cache_gb": cache_gb}
            | RUNS
            | {"early_stop_patience": RUNS["epochs"]}
        )
        with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
            made.append(fresh.submit(_train, settings).result())
    facts, seconds = made[0].facts, [trained.made.seconds for trained in made]
    return GpuRun(
        freeze=freeze,
        images=facts.train_images + facts.validation_images + facts.test_images,
        epochs=len(made[0].outcome.history),
        equal=all(trained.outcome == made[0].outcome for trained in made),
        training_seconds=[trained["train"] + trained["evaluate"] for trained in seconds],
        fixed_seconds=[
            trained["total"] - trained["train"] - trained["evaluate"] for trained in seconds
        ],
    )


def _train(settings: Settings) -> Any:
    from effnet_core import run  # noqa: PLC0415

    return run.repeat(settings)[0]


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        console.print(f"[red]Error:[/] {error}", highlight=False)
        sys.exit(1)
