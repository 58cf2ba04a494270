"""Run a task on a machine that shares no disk with this one.

The task travels with its study and its earlier checkpoints, and is executed in a new folder.
Checkpoints come back while it trains, and all results at the end. They are checked and written
here like those of a local run.
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
from effnet_report.sweep.engines import Here
from effnet_report.sweep.tasks import Task

# Seconds between two checks for a new checkpoint.
LOOK = 0.5
# Seconds that the kernel of a killed worker gets to end.
ORPHAN = 30

# Checkpoint files, by their path in the cache.
Checkpoints = dict[str, bytes]


@dataclass(frozen=True)
class Carried:
    """The files and settings that travel to another machine.

    Attributes:
        study: the YAML text, with absolute paths.
        environment: of this machine, see `environment`.
    """

    task: Task
    study: bytes
    checkpoints: Checkpoints
    environment: dict[str, str]


@dataclass(frozen=True)
class Left:
    """The results of a run on the machine that executed it.

    Attributes:
        root: the repository's folder there, which the notebook may mention.
        written: records, predictions and trained weights, by file name.
    """

    error: str
    root: str = ""
    notebook: bytes = b""
    written: dict[str, bytes] = field(default_factory=dict)


def pack(task: Task, study: Study) -> Carried:
    """Pack a task with its checkpoints."""
    places = {relative: paths.CACHE / relative for relative in checkpoints(task)}
    return Carried(
        task,
        yaml.safe_dump(study.model_dump(exclude={"name"})).encode(),
        {name: path.read_bytes() for name, path in places.items() if path.is_file()},
        environment(task.settings),
    )


def checkpoints(task: Task) -> list[str]:
    """Cache paths of the checkpoint of a run and of the first epoch that runs share."""
    if task.run_id != task.settings.run_id:
        return []
    run = task.settings
    checkpoint_files = (paths.checkpoint(run.study, task.run_id), records.first_epoch(run))
    return [path.relative_to(paths.CACHE).as_posix() for path in checkpoint_files]


def environment(settings: Settings) -> dict[str, str]:
    """The properties of a machine that must be equal for equal runs to have equal records."""
    on_gpu = settings.device == "cuda"
    instructions = "of the GPU" if on_gpu else processor.used(settings.instructions)
    code = {f"code of {kind}": code_fingerprint(kind)[:12] for kind in ("run", "classical")}
    return VERSIONS | code | {"instructions": instructions}


def why_not_here(run: Carried) -> str:
    """Why a run here would have another record than on the other machine; empty if equal."""
    here, there = environment(run.task.settings), run.environment
    different = [f"{n} {here.get(n)}, not {there[n]}" for n in there if here.get(n) != there[n]]
    if Path.cwd() != paths.ROOT:
        different.append(f"code of {paths.ROOT}, not what was brought")
    if not different:
        return ""
    return f"Node {platform.node()} is refused, as it has {'; '.join(different)}."


def execute(run: Carried) -> Iterator[Checkpoints | Left]:
    """Execute a run here; yield its checkpoints as they appear, then its results."""
    study = run.task.settings.study
    files.write(paths.STUDIES / f"{study}.yml", run.study)
    for relative, data in run.checkpoints.items():
        files.write(paths.CACHE / relative, data)
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
    """Yield new checkpoints; return the error or an empty string."""
    output.parent.mkdir(parents=True, exist_ok=True)
    before = {relative: _written(paths.CACHE / relative) for relative in checkpoints(task)}
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(_here().run, task, output)
        while wait([ending], timeout=LOOK).not_done:
            for relative, known in before.items():
                written = _written(paths.CACHE / relative)
                if written > known:
                    before[relative] = written
                    with suppress(FileNotFoundError):  # its run has just ended
                        yield {relative: (paths.CACHE / relative).read_bytes()}
    return ending.result()


@functools.cache
def _here() -> Here:
    return Here(1)


def _written(path: Path) -> int:
    """Time of the last write to a file, ns; 0 if it does not exist."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _clear(places: list[Path]) -> None:
    for path in places:
        path.unlink(missing_ok=True)


def write_checkpoints(came: Checkpoints) -> None:
    """Write the checkpoints of a run, for the case that its machine is lost."""
    for relative, data in came.items():
        with suppress(InputError):  # on a full disk training goes on, like a local run
            files.write(paths.CACHE / relative, data)


def accept(task: Task, left: Left, output: Path) -> None:
    """Check the records that came back like all records, and write them here.

    Raises:
        InputError: a record is damaged, of another run, or differs from an existing one.
    """
    if left.notebook:
        output.write_bytes(left.notebook.replace(left.root.encode(), str(paths.ROOT).encode()))
    if left.error:
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, data in left.written.items():
            (Path(folder) / Path(name).name).write_bytes(data)
        for run_id in reversed(task.leaves):  # the last one marks the task as done
            record, predictions = records.load_whole(Path(folder) / f"{run_id}.json")
            if records.differences(record.settings, task.settings):
                raise InputError(f"The record that came back for {run_id} is of another run.")
            # The code there equals the code here but is not a git checkout.
            made = record.made.model_copy(update={"commit": COMMIT})
            records.save(record.model_copy(update={"made": made}), predictions)
        _keep_weights(Path(folder) / paths.weights("", task.run_id).name, record)


def _keep_weights(came: Path, record: AnyRecord) -> None:
    """Write the weights of a run, if they came back; on a full disk keep only the record."""
    if isinstance(record, Record) and came.is_file():
        weights.check(came, record)
        with suppress(InputError):
            files.write(paths.weights(record.settings.study, record.run_id), came.read_bytes())
