"""One measurement: `python -m bench.arms NAME [ARGUMENT ...]`, run by `__main__.py`.

It works in a copy of the repository that has no records and no caches, and prints what it
found as its last line, JSON.
"""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median
from urllib.parse import unquote

import yaml

from bench.steps import instructions, limit, step
from bench.summary import LARGE, STUDY, Found
from effnet_core import paths
from effnet_core.study.design import SCHEDULERS, Settings, Study
from effnet_core.study.schema import Record
from effnet_core.study.studies import load_study, read_settings

# Epochs of a run on all images: the first computes what the others read.
LARGE_EPOCHS = 4


def reseeded(seed: str) -> Study:
    """The study with this seed only."""
    return load_study(STUDY).model_copy(update={"seeds": [int(seed)]})


def runs(which: str, seed: str) -> list[Settings]:
    """The study's runs: `all`, or as a `slice` one configuration of every other depth."""
    every = list(reseeded(seed).runs())
    return every if which == "all" else every[::8]  # a depth has four, the first of them here


def ours(which: str, seed: str) -> Found:
    """A sweep of our own, caches filled on the way; no rates race, as in the loops of others."""
    from effnet_report.sweep import sweep  # noqa: PLC0415
    from effnet_report.sweep.engines import Here  # noqa: PLC0415
    from effnet_report.sweep.tasks import tasks_of  # noqa: PLC0415

    design = _changed(STUDY, int(seed), learning_rate=load_study(STUDY).protocol.rates[0])
    study = load_study(str(design))
    wanted = {settings.run_id for settings in runs(which, seed)}
    tasks = [task for task in tasks_of(study, str(design)) if task.run_id in wanted]
    start = time.perf_counter()
    engine = Here(sweep.automatic_jobs(study))
    ended = list(sweep.execute_all(tasks, engine, sweep.Stop()))
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
            settings.levels | {"seed": settings.seed, "peer": name, "result": str(result)},
            progress_bar=False,
        )
        seconds[settings.run_id] = time.perf_counter() - start
        accuracy[settings.run_id] = float(result.read_text())
    return {"seconds": sum(seconds.values()), "runs": seconds, "accuracy": accuracy}


def complete(seed: str) -> Found:
    """`effnet sweep` of the whole study, all epochs trained: notebooks, records, classical models.

    Everything counts from the command on, as somebody waits for it.
    """
    from effnet_report.evidence import loader  # noqa: PLC0415  an arm imports what it measures

    study = _whole_epochs(STUDY, int(seed))
    seconds, _ = _timed(Path(sys.executable).with_name("effnet"), "sweep", str(study))
    records = loader.load(study.stem).believed.values()
    tuned = {r.run_id: r.outcome.test.accuracy for r in records if r.kind == "fine-tuned"}
    return {"seconds": seconds, "accuracy": tuned}


def expert(seed: str) -> Found:
    """The same trainings in the script of somebody who knows the machine, from its start on."""
    study = _whole_epochs(STUDY, int(seed))
    seconds, printed = _timed(sys.executable, "-m", "bench.expert", str(study))
    return {"seconds": seconds, "accuracy": json.loads(printed.splitlines()[-1])}


def elpv(freeze: str, seed: str) -> Found:
    """Training and evaluation of one configuration on all images, by us and by the script.

    Both begin at the same time, with empty caches, each on a core of its own, which they exchange
    from turn to turn. They train the same number of epochs.

    Args:
        freeze: number of frozen stages.
        seed: of the training; the turn.
    """
    from bench.expert import train_one  # noqa: PLC0415  an arm imports what it measures

    epochs = {"epochs": LARGE_EPOCHS, "early_stop_patience": LARGE_EPOCHS}
    chosen = {"study": LARGE, "freeze": int(freeze), "seed": int(seed)}
    settings = read_settings(chosen | epochs)
    cores = sorted(os.sched_getaffinity(0))
    first, second = (cores[(place + int(seed)) % len(cores)] for place in (0, 1))
    with _on_core(first) as here, _on_core(second) as there:
        begun = here.submit(_train_seconds, settings), there.submit(train_one, settings)
        return dict(zip(("ours", "expert"), (each.result() for each in begun), strict=True))


def _on_core(core: int) -> ProcessPoolExecutor:
    """A process that computes on one core."""
    spawn = get_context("spawn")
    return ProcessPoolExecutor(1, spawn, os.sched_setaffinity, initargs=(0, {core}))


def _train_seconds(settings: Settings) -> float:
    return _seconds(_train(settings))


def _timed(*command: str | Path) -> tuple[float, str]:
    """Wall seconds that a command takes, and what it prints."""
    start = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - start, done.stdout


def _whole_epochs(study: str, seed: int) -> Path:
    """A study of one seed in which no training stops early."""
    return _changed(study, seed, early_stop_patience=load_study(study).protocol.epochs)


def _changed(study: str, seed: int, **protocol: object) -> Path:
    """A study of one seed with some other settings, as a file of the working folder."""
    content = yaml.safe_load((paths.STUDIES / f"{study}.yml").read_text(encoding="utf-8"))
    content["seeds"] = [seed]
    content["protocol"] |= protocol
    place = Path("changed.yml").resolve()
    place.write_text(yaml.safe_dump(content), encoding="utf-8")
    return place


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


def recipe(study: str, side: str, tool: str, *options: str) -> Found:
    """One model by our recipe or by somebody else's, see `recipes.trained`."""
    from bench.recipes import trained  # noqa: PLC0415  an arm imports what it measures

    return trained(study, side, tool, *options)


def typed() -> Found:
    """The fixed cost of a run that somebody types."""
    from effnet_core.study import records  # noqa: PLC0415

    papermill = Path(sys.executable).with_name("papermill")
    for scheduler in SCHEDULERS:  # the first decodes the images, which is once a study
        command = [papermill, "notebooks/train.ipynb", "-p", "freeze", "6", "-p", "scheduler"]
        start = time.perf_counter()
        subprocess.run([*command, scheduler], check=True, capture_output=True)
        seconds = time.perf_counter() - start
    settings = read_settings({"study": STUDY, "freeze": 6, "scheduler": scheduler})
    record = records.load(records.record_path(STUDY, settings.run_id))
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


ARMS: dict[str, Callable[..., Found]] = {
    arm.__name__: arm
    for arm in (
        *(complete, expert, elpv, ours, peer, depth),
        *(step, limit, instructions, growth, typed, book, recipe),
    )
}


def main(arguments: Sequence[str]) -> None:
    name, *rest = arguments
    print(json.dumps(ARMS[name](*rest)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
