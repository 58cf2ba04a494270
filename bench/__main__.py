"""Let all arms take turns, several times over, and keep what each found.

What was measured already on this machine, and has not changed since, is not measured again: the
benchmark takes long, and goes on where it was interrupted.
"""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.summary import (
    IMAGES,
    PEERS,
    RECIPE_SIDES,
    RECIPES,
    SEEDED,
    STEPS,
    summary,
)
from effnet_core import paths
from effnet_core.study.code import RUN, meaning
from effnet_core.study.design import FREEZE
from effnet_core.study.provenance import commit, hardware, versions
from effnet_report.jupyter.parent import LARGE_PAGES
from effnet_report.measurements.speed import Benchmark, Measurement, benchmark

# A turn: every arm once. Those that are compared with each other come one after the other.
ARMS = [
    "complete",
    "expert",
    *(f"elpv {n}" for n in FREEZE),
    "ours all",
    "peer plain all",
    "ours slice",
    *(f"peer {name} slice" for name in PEERS),
    *(f"depth {n}" for n in FREEZE),
    *(f"limit {n}" for n in FREEZE),
    "instructions",
    *(f"step {which} {form}" for which in STEPS for form in ("ours", "plain")),
    *(f"step {which} threads" for which in STEPS if which.startswith("lite0")),
    *(f"growth {images}" for images in IMAGES),
    "typed",
    "start",
    "book",
    *(
        f"recipe {study} {side} {model}"
        for study, side in RECIPE_SIDES.items()
        for model in RECIPES
    ),
]
# What an arm measures: when a file of it changes, what was found before counts no more.
# The studies that are timed name no folders of images.
CORE = ("effnet_core", ":!effnet_core/data/layout")
# What decides the outcome of a training also takes its time, and so does what keeps activations. Of
# modules with names, only these definitions count and what they use.
TRAINING = (*RUN, "effnet_core/cache.py")
PREFIX, PARENT = "effnet_core/model/prefix.py", "effnet_report/jupyter/parent.py"
OF_TRAINING = RUN | {PREFIX: (*RUN[PREFIX], "cached_depths"), PARENT: ("LARGE_PAGES",)}
# Of the pages, a sweep waits for those of its runs only.
ROOMS = ("baseline", "evidence", "inference", "jupyter", "render", "sweep", "pages/run_page.py")
SWEEP = (
    *(*CORE, ":(glob)effnet_report/*.py", *(f"effnet_report/{room}" for room in ROOMS)),
    *("notebooks", "studies"),
)
PEER = (*TRAINING, "bench/peers.py", "bench/peer.ipynb", "studies")
EXPERT = (*TRAINING, "bench/expert.py", PARENT, "studies")
STEP = (
    *("effnet_core/model", "effnet_core/processor.py", "effnet_core/study/design.py"),
    *("effnet_report/sweep/step_cost.py", "studies"),
)
MEASURES = {
    "complete": SWEEP,
    "ours": SWEEP,
    "typed": SWEEP,
    "start": SWEEP,
    "book": (*CORE, "effnet_report", "book", "_config.yml", "results/published"),
    "peer": PEER,
    "expert": EXPERT,
    "elpv": EXPERT,
    "depth": (*TRAINING, "studies"),
    "growth": (*CORE, "studies"),
    **dict.fromkeys(("step", "limit", "instructions"), STEP),
    "recipe": (*TRAINING, "bench/recipes.py", "studies"),
}
# Where arms are defined that are not in `arms.py`.
DEFINED_IN = {"start": "bench/start.py"} | dict.fromkeys(
    ("step", "limit", "instructions"), "bench/steps.py"
)
LEFT_OUT = ("results/", "book/runs/")
console = Console(stderr=True)


def main(
    repeats: Annotated[int, typer.Option(min=1, help="Turns of all arms.")] = 3,
    only: Annotated[str, typer.Option(help="Arms whose name starts so.")] = "",
) -> None:
    """Measure speed and memory against the way people do it, into results/bench.json."""
    origin = {"versions": versions(), "machine": hardware()}
    measured = _measured(origin)
    there = {(m.turn, m.arm) for m in measured if m.of == fingerprint(m.arm)}
    todo = [
        (turn, arm)
        for turn in range(repeats)
        for arm in ARMS
        if arm.startswith(only) and (turn, arm) not in there
    ]
    console.print(f"{len(todo)} measurements to do, {len(there)} are there.")
    for count, (turn, arm) in enumerate(todo, start=1):
        start = time.perf_counter()
        of = fingerprint(arm)
        output = measure(arm, turn)
        measured = [m for m in measured if (m.turn, m.arm) != (turn, arm)]
        measured.append(Measurement(turn=turn, arm=arm, of=of, commit=commit(), found=output))
        summary(measured).model_copy(update=origin).save()
        seconds = time.perf_counter() - start
        console.print(f"[{count}/{len(todo)}] turn {turn + 1}: {arm:26} {seconds:6.0f} s")
    console.print(f"Written: {os.path.relpath(Benchmark.path(), paths.ROOT)}")


def _measured(origin: dict[str, dict[str, str]]) -> list[Measurement]:
    """What is there of the same versions and machine; what is older stays until it is repeated."""
    before = benchmark()
    same = (before.versions, before.machine) == (origin["versions"], origin["machine"])
    return [m for m in before.measurements if same and m.arm in ARMS]


def fingerprint(arm: str) -> str:
    """sha256 over everything in git that an arm measures, and over how it does so.

    Of Python, the meaning counts, without docstrings, type hints, printed lines and the wording of
    errors: see `meaning`. Of the arms, only this one counts.
    """
    kind = arm.split(maxsplit=1)[0]
    places, module = MEASURES[kind], DEFINED_IN.get(kind, "bench/arms.py")
    parts = {module: (kind,)} | ({} if CORE[0] in places else OF_TRAINING)
    digest = hashlib.sha256()
    for name in _in_git(*places, module):
        content = (paths.ROOT / name).read_bytes()
        if name.endswith(".py"):
            content = meaning(content, parts.get(name, ())).encode()
        digest.update(f"{name}\0".encode() + content)
    return digest.hexdigest()


@functools.cache
def _in_git(*places: str) -> list[str]:
    """Files in git that are there, by name from the top, sorted; all if no places are given."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *places],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in sorted(listed.stdout.split("\0")) if (paths.ROOT / name).is_file()]


def measure(arm: str, turn: int) -> dict[str, Any]:
    """Run one arm in a copy of the repository, in a process of its own.

    Raises:
        SystemExit: the arm failed; its last words are shown.
    """
    with tempfile.TemporaryDirectory(prefix="effnet-bench-") as folder:
        copy_repository(Path(folder), published=arm == "book")
        seed = [str(turn)] if arm.startswith(SEEDED) else []
        environment = os.environ | {"PYTHONPATH": folder}
        if arm.startswith(("elpv", "expert")):
            environment |= LARGE_PAGES  # as the kernels of a sweep have it
        module = ["bench.start"] if arm == "start" else ["bench.arms", *arm.split(), *seed]
        command = [sys.executable, "-m", *module]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        sys.exit(f"{arm} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def copy_repository(folder: Path, *, published: bool) -> None:
    """Everything that is in git, as it is now; records and run pages only where asked for."""
    for name in _in_git():
        target = folder / name
        if published or not name.startswith(LEFT_OUT):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(paths.ROOT / name, target)


if __name__ == "__main__":
    typer.run(main)
