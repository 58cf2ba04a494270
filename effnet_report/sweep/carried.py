"""A run on a machine that shares no disk with this one: what goes there, and what comes back.

It goes with its study and with what it left before, and is executed there in a folder of its own.
What it can go on from comes back while it trains; in the end all that it leaves does, and is
checked and written here as it would have been by a run of this machine.
"""

import functools
import platform
import tempfile
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml
from filelock import FileLock

from effnet_core import files, paths, processor, weights
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.code import code_fingerprint
from effnet_core.study.design import Settings, Study
from effnet_core.study.provenance import COMMIT, VERSIONS
from effnet_core.study.schema import AnyRecord, Record
from effnet_report.jupyter import warm
from effnet_report.sweep.engines import Here
from effnet_report.sweep.tasks import Task

# Seconds between two looks whether an epoch has left its checkpoint.
LOOK = 0.5
# Seconds that the kernel of a killed worker may take to end.
ORPHAN = 30

# Files that a run goes on from, by their place in the cache.
Checkpoints = dict[str, bytes]


@dataclass(frozen=True)
class Carried:
    """What goes to another machine.

    Attributes:
        study: as YAML, with places that hold wherever its file lies.
        environment: of this machine, see `environment`.
    """

    task: Task
    study: bytes
    checkpoints: Checkpoints
    environment: dict[str, str]


@dataclass(frozen=True)
class Left:
    """What a run left on the machine that executed it.

    Attributes:
        root: the folder of the repository there, which the notebook may name.
        written: records, predictions and trained weights, by file name.
    """

    error: str
    root: str = ""
    notebook: bytes = b""
    written: dict[str, bytes] = field(default_factory=dict)


def pack(task: Task, study: Study) -> Carried:
    """A task, and what came back of it before."""
    places = {place: paths.CACHE / place for place in checkpoints(task)}
    return Carried(
        task,
        yaml.safe_dump(study.model_dump(exclude={"name"})).encode(),
        {name: place.read_bytes() for name, place in places.items() if place.is_file()},
        environment(task.settings),
    )


def checkpoints(task: Task) -> list[str]:
    """What a run goes on from, in the cache: its checkpoint, and the first epoch runs share."""
    if task.run_id != task.settings.run_id:
        return []
    run = task.settings
    found = (paths.checkpoint(run.study, task.run_id), records.first_epoch(run))
    return [place.relative_to(paths.CACHE).as_posix() for place in found]


def environment(settings: Settings) -> dict[str, str]:
    """What has to be the same everywhere for equal runs to leave equal records."""
    on_gpu = settings.device == "cuda"
    instructions = "of the GPU" if on_gpu else processor.used(settings.instructions)
    code = {f"code of {kind}": code_fingerprint(kind)[:12] for kind in ("run", "classical")}
    return VERSIONS | code | {"instructions": instructions}


def why_not_here(run: Carried) -> str:
    """Why this machine would not leave the record that the other one would; empty if it would."""
    here, there = environment(run.task.settings), run.environment
    different = [f"{n} {here.get(n)}, not {there[n]}" for n in there if here.get(n) != there[n]]
    if Path.cwd() != paths.ROOT:
        different.append(f"code of {paths.ROOT}, not what was brought")
    if not different:
        return ""
    return f"Node {platform.node()} is refused, as it has {'; '.join(different)}."


def execute(run: Carried) -> Iterator[Checkpoints | Left]:
    """Execute a run here; gives what it can go on from as it appears, and then what it left."""
    study = run.task.settings.study
    files.write(paths.STUDIES / f"{study}.yml", run.study)
    for place, data in run.checkpoints.items():
        files.write(paths.CACHE / place, data)
    task = replace(run.task, notebook=paths.NOTEBOOKS / run.task.notebook.name, study=study)
    output = paths.CACHE / "running" / study / f"{task.run_id}.ipynb"
    made = [records.record_path(study, run_id) for run_id in task.leaves]
    leaves = [*made, *map(records.predictions_path, made)]
    _wait_for_orphan(task)
    _clear([output, *leaves])
    if task.notebook.name == paths.TRAIN_NOTEBOOK.name:
        leaves.append(paths.weights(study, task.run_id))
    error = yield from _executed(task, output)
    written = {file.name: file.read_bytes() for file in leaves if file.is_file()}
    notebook = output.read_bytes() if output.is_file() else b""
    _clear([output, *leaves])
    yield Left(error, str(paths.ROOT), notebook, written)


def _wait_for_orphan(task: Task) -> None:
    lock = records.lock_path(task.study, task.run_id)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock, timeout=ORPHAN):
        pass


def _executed(task: Task, output: Path) -> Generator[Checkpoints, None, str]:
    """Gives checkpoints that are new, and returns the error or an empty string."""
    output.parent.mkdir(parents=True, exist_ok=True)
    before = {place: _written(paths.CACHE / place) for place in checkpoints(task)}
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(_here().run, task, output)
        while wait([ending], timeout=LOOK).not_done:
            for place, known in before.items():
                written = _written(paths.CACHE / place)
                if written > known:
                    before[place] = written
                    with suppress(FileNotFoundError):  # its run has just ended
                        yield {place: (paths.CACHE / place).read_bytes()}
    return ending.result()


@functools.cache
def _here() -> Here:
    return Here(1, warm.NOTEBOOKS)


def _written(place: Path) -> int:
    """When a file was written, in ns; 0 if it is not there."""
    try:
        return place.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _clear(places: list[Path]) -> None:
    for place in places:
        place.unlink(missing_ok=True)


def write_checkpoints(came: Checkpoints) -> None:
    """Write what a run can go on from, if it is lost."""
    for place, data in came.items():
        with suppress(InputError):  # a full disk: training goes on, as it does here
            files.write(paths.CACHE / place, data)


def accept(task: Task, left: Left, output: Path) -> None:
    """Check what came back as every record is checked, and write it under its name here.

    Raises:
        InputError: it is damaged, of another run, or differs from what is there already.
    """
    if left.notebook:
        output.write_bytes(left.notebook.replace(left.root.encode(), str(paths.ROOT).encode()))
    if left.error:
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, data in left.written.items():
            (Path(folder) / Path(name).name).write_bytes(data)
        for run_id in reversed(task.leaves):  # the task's own last: with it, all is done
            record, predictions = records.load_whole(Path(folder) / f"{run_id}.json")
            if records.differences(record.settings, task.settings):
                raise InputError(f"What came back as {run_id} is of another run.")
            # The code there is the code here, but no checkout that git knows.
            made = record.made.model_copy(update={"commit": COMMIT})
            records.save(record.model_copy(update={"made": made}), predictions)
        _keep_weights(Path(folder) / paths.weights("", task.run_id).name, record)


def _keep_weights(came: Path, record: AnyRecord) -> None:
    """Write the run's weights, if they came; a full disk keeps them away, not the record."""
    if isinstance(record, Record) and came.is_file():
        weights.check(came, record)
        with suppress(InputError):
            files.write(paths.weights(record.settings.study, record.run_id), came.read_bytes())
