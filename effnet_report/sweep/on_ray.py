"""The same sweep on a Ray cluster: runs are executed where there is room, and written here.

Ray brings the code of this repository to every node, which trains in a folder of its own. What a
run leaves, and each of its checkpoints, comes back through Ray and is checked and written here;
so no disk is shared, and a lost node costs at most the epochs since the last checkpoint.
"""

import functools
import logging
import os
import platform
import secrets
import socket
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

import yaml
from filelock import FileLock

from effnet_core import files, paths, processor
from effnet_core.errors import InputError
from effnet_core.study import choice, records
from effnet_core.study.design import Settings, Study
from effnet_core.study.provenance import COMMIT, VERSIONS, code_fingerprint
from effnet_report.evidence.weights import describe
from effnet_report.jupyter import warm
from effnet_report.sweep.engines import Here, Task

# Read by Ray when it is imported. Whoever reaches a cluster without a token can run anything.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError:
    raise InputError("Ray is not installed: pip install '.[ray]'") from None

# A node that is lost is no fault of the run; a run that loses every node may be one.
ATTEMPTS = 5
# Seconds between two looks whether an epoch has left its checkpoint.
LOOK = 0.5
# Seconds that the kernel of a killed worker may take to end.
ORPHAN = 30
# Seconds that the head of a cluster may take to answer.
REACHED = 10
# What nodes need of the repository.
BROUGHT = {"effnet_core", "effnet_report", "notebooks", "studies"}


@dataclass(frozen=True)
class Left:
    """What a run left on its node.

    Attributes:
        refused_by: id of the node, if it cannot train as it is done here.
        root: the folder of the repository there, which the notebook may name.
        written: records, predictions and the best weights there, by file name.
    """

    error: str
    refused_by: str = ""
    root: str = ""
    notebook: bytes = b""
    written: dict[str, bytes] = field(default_factory=dict)


class OnRay:
    """Runs on the nodes of a Ray cluster, which is started here if there is no address.

    Args:
        gpus: of a run, may be a fraction; one if the study wants a GPU and nothing is said.
        jobs: no more than these side by side.
        tell: of nodes that are refused.

    Raises:
        InputError: no such cluster, or none of its nodes has room for a run.
    """

    seed_by_seed: ClassVar[bool] = False

    def __init__(
        self,
        study: Study,
        address: str | None,
        gpus: float | None,
        jobs: int | None,
        tell: Callable[[str], None],
    ) -> None:
        from effnet_report.sweep.plan import memory  # noqa: PLC0415  torch, which no node needs

        self._study, self._jobs, self._tell = study, jobs, tell
        on_gpu = study.protocol.device == "cuda"
        self._need = {
            "CPU": study.protocol.threads,
            "GPU": float(on_gpu) if gpus is None else gpus,
            "memory": 0 if on_gpu else memory(study),
        }
        self._running: dict[str, Any] = {}
        self._refused: dict[str, str] = {}
        self._ended = False
        self._lock = Lock()
        connect(address)
        if not self._room():
            raise InputError(
                f"No node of the cluster has room for a run of {study.name}: it needs "
                f"{self._need['CPU']} CPU, {self._need['GPU']:g} GPU and "
                f"{self._need['memory'] / 1e9:.1f} GB. Add a node, or lower --gpus-per-run."
            )

    def __str__(self) -> str:
        return f"{min(self._room(), self.places())} side by side on Ray"

    def places(self) -> int:
        """Twice as many as there is room for: what waits in Ray lets a cluster grow that can."""
        room = max(1, 2 * self._room())  # one waits, if all nodes are lost for now
        return min(room, self._jobs or room)

    def run(self, task: Task, output: Path) -> str:
        try:
            with records.claim(task.settings.study, task.run_id):
                left = self._tried(task)
                accept(task, left, output)
                if not left.error and _kept(task):
                    records.drop_checkpoints(task.settings, self._study.factors.scheduler)
        except InputError as error:
            return str(error)
        return left.error

    def end_all(self) -> None:
        self._ended = True
        with self._lock:
            for running in self._running.values():
                ray.cancel(running, force=True)

    def _room(self) -> int:
        """For how many runs there is room on the nodes that were not refused."""
        nodes = [n for n in ray.nodes() if n["Alive"] and n["NodeID"] not in self._refused]
        need = {name: of for name, of in self._need.items() if of}
        return sum(min(int(n["Resources"].get(x, 0) / need[x]) for x in need) for n in nodes)

    def _tried(self, task: Task) -> Left:
        """What it left, after nodes that were lost or refused."""
        lost = 0
        while not self._ended:
            try:
                left = self._once(task)
            except RayTaskError as error:
                return Left(_first_line(error.cause))
            except RayError as error:
                lost += 1
                if lost == ATTEMPTS:
                    return Left(f"Its node was lost {lost} times: {_first_line(error)}")
                continue
            if not left.refused_by:
                return left
            with self._lock:
                if left.refused_by not in self._refused:
                    self._tell(left.error)
                self._refused[left.refused_by] = left.error
            if not self._room():
                return Left(" ".join(self._refused.values()))
        return Left("stopped")

    def _once(self, task: Task) -> Left:
        """Execute it on some node, going on from what came back of it before."""
        places = {place: paths.CACHE / place for place in _kept(task)}
        kept = {name: place.read_bytes() for name, place in places.items() if place.is_file()}
        refused = ",".join(sorted(self._refused))
        executed = _ON_A_NODE.options(
            num_cpus=self._need["CPU"],
            num_gpus=self._need["GPU"],
            memory=self._need["memory"],
            label_selector={"ray.io/node-id": f"!in({refused})"} if refused else None,
        )
        coming: Any = executed.remote(task, _as_yaml(self._study), kept, environment(task.settings))
        with self._lock:
            self._running[task.run_id] = coming
        try:
            for reference in coming:
                came = ray.get(reference)
                if isinstance(came, Left):
                    return came
                for name, data in came.items():
                    with suppress(InputError):  # a full disk: training goes on, as it does here
                        files.write(paths.CACHE / name, data)
        finally:
            with self._lock:
                del self._running[task.run_id]
        raise RayError("it ended without a word")


def connect(address: str | None) -> None:
    if address and address.startswith("ray://"):
        raise InputError(
            f"{address}: checkpoints cannot come back through Ray's client. Start the sweep on a "
            "node of the cluster, with --address auto, or give HOST:PORT of its head."
        )
    start: dict[str, Any] = {"address": address}
    if not address:
        start = {"address": "local", "include_dashboard": False}
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    elif address != "auto":
        host, _, port = address.rpartition(":")
        try:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=REACHED).close()
        except (OSError, ValueError, OverflowError) as error:
            raise InputError(
                f"No Ray cluster answers at {address} ({error}). Give HOST:PORT of its head."
            ) from None
    others = [f"/{path.name}" for path in paths.ROOT.iterdir() if path.name not in BROUGHT]
    code = {"working_dir": str(paths.ROOT), "excludes": others}
    try:
        ray.init(runtime_env=code, log_to_driver=False, logging_level=logging.ERROR, **start)
    except (RayError, ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"No Ray cluster could be used ({_first_line(error)}). Give its --address, and "
            "its token in RAY_AUTH_TOKEN or in the file that RAY_AUTH_TOKEN_PATH names."
        ) from None


def environment(settings: Settings) -> dict[str, str]:
    """What has to be the same everywhere for equal runs to leave equal records."""
    on_gpu = settings.device == "cuda"
    instructions = "of the GPU" if on_gpu else processor.used(settings.instructions)
    return VERSIONS | {"code": code_fingerprint("")[:12], "instructions": instructions}


def _execute(
    task: Task, study: bytes, kept: dict[str, bytes], wanted: dict[str, str]
) -> Iterator[dict[str, bytes] | Left]:
    """Run a task on this node; gives what it can go on from as it appears, and what it left."""
    here = environment(task.settings)
    different = [f"{n} {here.get(n)}, not {wanted[n]}" for n in wanted if here.get(n) != wanted[n]]
    if Path.cwd() != paths.ROOT:
        different.append(f"code of {paths.ROOT}, not what Ray brought")
    if different:
        why = f"Node {platform.node()} is refused, as it has {'; '.join(different)}."
        yield Left(why, refused_by=ray.get_runtime_context().get_node_id())
        return
    name = task.settings.study
    files.write(paths.STUDIES / f"{name}.yml", study)
    for place, data in kept.items():
        files.write(paths.CACHE / place, data)
    task = replace(task, notebook=paths.NOTEBOOKS / task.notebook.name, study=name)
    output = paths.CACHE / "running" / name / f"{task.run_id}.ipynb"
    lock = records.lock_path(name, task.run_id)
    for file in (output, lock):
        file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock, timeout=ORPHAN):
        pass
    made = [records.record_path(name, run_id) for run_id in task.leaves]
    leaves = [*made, *map(records.predictions_path, made)]
    _clear([output, *leaves])
    weights = paths.winner(name)
    before = {place: _written(place) for place in (weights, *map(paths.CACHE.joinpath, kept))}
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(_here().run, task, output)
        while wait([ending], timeout=LOOK).not_done:
            for place in _kept(task):
                written = _written(paths.CACHE / place)
                if written > before.get(paths.CACHE / place, 0):
                    before[paths.CACHE / place] = written
                    with suppress(FileNotFoundError):  # its run has just ended
                        yield {place: (paths.CACHE / place).read_bytes()}
    if _written(weights) > before[weights]:
        leaves.append(weights)
    written_here = {file.name: file.read_bytes() for file in leaves if file.is_file()}
    notebook = output.read_bytes() if output.is_file() else b""
    _clear([output, *leaves])
    yield Left(ending.result(), "", str(paths.ROOT), notebook, written_here)


# Tried again by `OnRay` and not by Ray: from a checkpoint that has come back meanwhile.
_untyped: Any = _execute
_ON_A_NODE = ray.remote(num_returns="streaming", max_retries=0)(_untyped)


@functools.cache
def _here() -> Here:
    return Here(1, warm.NOTEBOOKS)


def _as_yaml(study: Study) -> bytes:
    """The study with places that hold wherever its file lies."""
    return yaml.safe_dump(study.model_dump(exclude={"name"})).encode()


def _kept(task: Task) -> list[str]:
    """What a run goes on from, in the cache: its checkpoint, and the first epoch runs share."""
    if task.run_id != task.settings.run_id:
        return []
    run = task.settings
    first = paths.first_epoch(run.study, run.freeze, run.head, run.seed)
    found = (paths.checkpoint(run.study, task.run_id), first)
    return [place.relative_to(paths.CACHE).as_posix() for place in found]


def _written(place: Path) -> int:
    """When a file was written, in ns; 0 if it is not there."""
    try:
        return place.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _clear(places: list[Path]) -> None:
    for place in places:
        place.unlink(missing_ok=True)


def accept(task: Task, left: Left, output: Path) -> None:
    """Check what came back as every record is checked, and write it under its name here.

    Raises:
        InputError: it is damaged, of another run, or differs from what is there already.
    """
    if left.notebook:
        output.write_bytes(left.notebook.replace(left.root.encode(), str(paths.ROOT).encode()))
    if left.error:
        return
    study = task.settings.study
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
        kept = Path(folder) / paths.winner(study).name
        if kept.is_file():
            about = describe(kept)
            with FileLock(records.lock_path(study, "winner")):
                best = choice.winner(study)
                said = about["run_id"], about["outcome"]["final_weights"]
                if best and said == (best.run_id, best.outcome.final_weights):
                    files.write(paths.winner(study), kept.read_bytes())


def _first_line(error: Any) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
