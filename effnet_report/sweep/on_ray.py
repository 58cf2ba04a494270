"""The engine for a Ray cluster: nodes execute the runs, this machine writes the results.

Ray copies the code of this repository to every node, which trains in a new folder. Results and
checkpoints come back through Ray and are checked and written here. So no shared disk is needed,
and a lost node costs at most the epochs since the last checkpoint.
"""

import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import Study
from effnet_report.sweep import carried, sweep
from effnet_report.sweep.carried import Carried, Checkpoints, Left
from effnet_report.sweep.tasks import Task

# Ray reads this at import. Without a token, everybody who reaches a cluster could run any code.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError:
    raise InputError("Ray is not installed: pip install '.[ray]'") from None

# A lost node is no fault of the run, but a run that loses every node may be the cause.
ATTEMPTS = 5
# Seconds that the head of a cluster gets to answer.
REACHED = 10
# Smallest share of a GPU that Ray counts.
PARTS = 10**4
# Parts of the repository that nodes need.
BROUGHT = {"effnet_core", "effnet_report", "notebooks", "studies"}


@dataclass(frozen=True)
class Refused:
    """A node whose results would differ from those of this machine.

    Attributes:
        node: its id.
    """

    node: str
    why: str


class OnRay:
    """An engine on a Ray cluster; without an address, it starts a cluster on this machine.

    Args:
        gpus: GPUs per run, possibly a fraction; None divides a GPU among as many runs as fit into
            the memory of this machine's GPU, if the study uses one.
        jobs: largest number of parallel runs.
        tell: called with a message for each refused node.

    Raises:
        InputError: the cluster does not answer, or no node has room for a run.
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
        if gpus and (gpus < 1 / PARTS or (gpus > 1 and gpus % 1)):
            raise InputError(
                f"--gpus-per-run {gpus:g}: give a share from {1 / PARTS:g} to 1, or a whole number."
            )
        if gpus is None:
            gpus = PARTS // sweep.runs_on_the_gpu(study) / PARTS if on_gpu else 0.0
        self._need = {
            "CPU": study.protocol.threads,
            "GPU": gpus,
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
        """Twice as many runs as fit: waiting tasks make a cluster with autoscaling grow."""
        room = max(1, 2 * self._room())  # one run waits if all nodes are lost for now
        return min(room, self._jobs or room)

    def run(self, task: Task, output: Path) -> str:
        try:
            with records.claim(task.settings.study, task.run_id):
                left = self._tried(task)
                carried.accept(task, left, output)
                if not left.error and carried.checkpoints(task):
                    records.drop_checkpoints(task.settings)
        except InputError as error:
            return str(error)
        return left.error

    def end_all(self) -> None:
        self._ended = True
        with self._lock:
            for running in self._running.values():
                ray.cancel(running, force=True)

    def _room(self) -> int:
        """Number of runs that fit on the accepted nodes."""
        nodes = [n for n in ray.nodes() if n["Alive"] and n["NodeID"] not in self._refused]
        need = {name: of for name, of in self._need.items() if of}
        return sum(min(int(n["Resources"].get(x, 0) / need[x]) for x in need) for n in nodes)

    def _tried(self, task: Task) -> Left:
        """The results of a task, retried after lost or refused nodes."""
        lost = 0
        while not self._ended:
            try:
                came = self._once(task)
            except RayTaskError as error:
                return Left(_first_line(error.cause))
            except RayError as error:
                lost += 1
                if lost == ATTEMPTS:
                    return Left(f"Its node was lost {lost} times: {_first_line(error)}")
                continue
            if isinstance(came, Left):
                return came
            with self._lock:
                if came.node not in self._refused:
                    self._tell(came.why)
                self._refused[came.node] = came.why
            if not self._room():
                return Left(" ".join(self._refused.values()))
        return Left("stopped")

    def _once(self, task: Task) -> Left | Refused:
        """Execute a task on some node, resuming from its last checkpoint."""
        refused = ",".join(sorted(self._refused))
        executed = _ON_A_NODE.options(
            num_cpus=self._need["CPU"],
            num_gpus=self._need["GPU"],
            memory=self._need["memory"],
            label_selector={"ray.io/node-id": f"!in({refused})"} if refused else None,
        )
        coming: Any = executed.remote(carried.pack(task, self._study))
        with self._lock:
            self._running[task.run_id] = coming
        try:
            for reference in coming:
                came = ray.get(reference)
                if isinstance(came, Left | Refused):
                    return came
                carried.write_checkpoints(came)
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


def _execute(run: Carried) -> Iterator[Checkpoints | Left | Refused]:
    """Execute a task; runs on a node."""
    if why := carried.why_not_here(run):
        yield Refused(ray.get_runtime_context().get_node_id(), why)
    else:
        yield from carried.execute(run)


# `OnRay` retries instead of Ray, to resume from the latest checkpoint.
_untyped: Any = _execute
_ON_A_NODE = ray.remote(num_returns="streaming", max_retries=0)(_untyped)


def _first_line(error: Any) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
