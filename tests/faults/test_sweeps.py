"""Sweeps and kernels that are killed, stopped, or meet each other."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from copies import ALONE, Clone
from factories import once

pytestmark = pytest.mark.slow

FIRST, SECOND = "21-freeze5-none-plateau-seed0", "25-freeze6-none-plateau-seed0"
# The study without its classical comparison, which takes longest and is nothing new here.
SWEEP = """
    from effnet_report.sweep import sweep
    from effnet_report.sweep.engines import Here
    from effnet_report.sweep.tasks import State, state, tasks_of
    from effnet_report.evidence import loader
    from effnet_core.study.studies import load_study

    tasks = tasks_of(load_study("tiny"), "tiny")[:2]
    sweep.clear_leftovers(tasks)
    found = loader.load("tiny")
    pending = [task for task in tasks if state(task, found) is not State.DONE]
    stop = sweep.Stop()
    with sweep.ctrl_c(stop, lambda told: print(told, flush=True)):
        for ended in sweep.execute_all(pending, Here(1), stop):
            print(ended.task.run_id, ended.left or ended.error or "trained", flush=True)
    raise SystemExit(130 if stop.soon else 0)
    """

# For what happens at once on a machine that is not busy; nothing waits so long in vain.
PATIENCE = 600  # seconds


class Sweep:
    """A sweep of two runs in a process of its own."""

    def __init__(self, clone) -> None:
        with tempfile.NamedTemporaryFile(dir=clone.root.parent, delete=False) as output:
            self._output = Path(output.name)
            self.process = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(SWEEP)],
                cwd=clone.root,
                env=clone.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.below: dict[int, psutil.Process] = {}

    @property
    def told(self) -> str:
        return self._output.read_text()

    def wait_for(self, folder, pattern: str) -> None:
        """Until a file of that name is there, looking at the processes meanwhile."""
        while not list(folder.glob(pattern)) and self.process.poll() is None:
            time.sleep(0.02)
        for process in psutil.Process(self.process.pid).children(recursive=True):
            self.below[process.pid] = process

    def kernel(self) -> psutil.Process:
        """The youngest process: forked last, from the parent of all kernels."""
        return max(self.below.values(), key=lambda process: process.create_time())

    def ctrl_c(self, answer: str) -> None:
        """Press Ctrl-C, and wait for the answer: two signals at once would be one."""
        self.process.send_signal(signal.SIGINT)
        while answer not in self.told:
            assert self.process.poll() is None, self.told
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        status, deadline = self.process.wait(PATIENCE), time.monotonic() + PATIENCE
        # Whoever adopts orphans reaps them; that they have ended is all we can see to.
        while alive := [process for process in self.below.values() if _goes_on(process)]:
            assert time.monotonic() < deadline, alive
            time.sleep(0.1)
        return status, self.told


def _goes_on(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def outcomes(clone) -> dict[str, str]:
    """Text of each record, all but where and when it was made, by file name."""
    texts = {path.name: path.read_text() for path in clone.root.glob("results/tiny/*seed0.json")}
    return {name: text[: text.index('"made"')] for name, text in texts.items()}


@pytest.fixture(scope="session")
def truth(tmp_path_factory) -> dict[str, str]:
    """What the two runs leave when nothing happens to them, without a sweep or a notebook."""

    def undisturbed_runs(folder: Path) -> dict[str, str]:
        clone = Clone(folder)
        done = clone.run("python", "-c", textwrap.dedent(ALONE))
        assert done.returncode == 0, done.stderr
        return outcomes(clone)

    return once(tmp_path_factory, undisturbed_runs)


def check(clone, truth, tally, *, complete: bool) -> None:
    found = outcomes(clone)
    wrong = [name for name in found if found[name] != truth[name]]
    missing = [name for name in truth if name not in found]
    tally["false"] += len(wrong)
    tally["lost"] += len(missing) if complete else 0
    assert wrong == []
    assert not (complete and missing)


MOMENTS = [f".cache/checkpoints/tiny/{FIRST}*"]
MOMENTS_OF_THE_CAMPAIGN = [
    "results/tiny/.locks/*.sweep.lock",
    f"results/tiny/.locks/{FIRST}.lock",
    ".cache/images/*.npy",
    *MOMENTS,
    f"results/tiny/{FIRST}.json",
    f".cache/checkpoints/tiny/{SECOND}*",
]


@pytest.fixture
def temporary(monkeypatch):
    """The folder for temporary files; sockets want a short name."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def test_a_sweep_that_is_killed_goes_on(clone, truth, tally, temporary, campaign):
    for moment in MOMENTS_OF_THE_CAMPAIGN if campaign else MOMENTS:
        sweep = Sweep(clone)
        sweep.wait_for(clone.root, moment)
        sweep.process.kill()
        status, output = sweep.end()
        assert status == -signal.SIGKILL, output
        check(clone, truth, tally, complete=False)
        tally["kills of a sweep"] += 1
    left = list(temporary.iterdir())
    assert left
    for folder in left:
        os.utime(folder, (0, 0))  # not of this minute
    status, output = Sweep(clone).end()
    assert status == 0, output
    assert list(temporary.iterdir()) == []
    assert [p for p in clone.root.glob(".cache/running/**/*") if p.is_file()] == []
    check(clone, truth, tally, complete=True)
    assert not list(clone.root.glob("results/tiny/*.failed.json"))


def test_a_killed_kernel_ctrl_c_and_two_sweeps(clone, here, truth, tally):
    here.use(clone.root)
    killed = Sweep(clone)
    killed.wait_for(clone.root, f".cache/checkpoints/tiny/{FIRST}*")
    killed.kernel().kill()
    killed.wait_for(clone.root, f"results/tiny/.locks/{SECOND}.sweep.lock")
    killed.ctrl_c("starting no more")
    killed.ctrl_c("Stopping now")
    status, output = killed.end()
    assert status == 130
    assert "The kernel was killed, probably for memory (SIGKILL)." in output
    assert f"{SECOND} stopped" in output
    assert "probably for memory" in here.run("effnet", "status", "tiny").stdout
    assert outcomes(clone) == {}
    tally["kills of a kernel"] += 1

    shutil.rmtree(clone.root / "results/tiny/.locks")
    once = Sweep(clone)
    once.wait_for(clone.root, f"results/tiny/.locks/{FIRST}.sweep.lock")
    other = Sweep(clone)
    other.wait_for(clone.root, f"results/tiny/.locks/{SECOND}.sweep.lock")
    once.ctrl_c("Finishing the runs that have begun and starting no more")
    outputs = [sweep.end() for sweep in (once, other)]
    assert [status for status, _ in outputs] == [130, 0]
    trained = [re.findall(r"(\S+) trained", text) for _, text in outputs]
    assert trained == [[FIRST], [SECOND]]
    check(clone, truth, tally, complete=True)
    assert not list(clone.root.glob("results/tiny/*.failed.json"))
    tally["sweeps side by side"] += 1
    tally["sweeps stopped"] += 2


def test_the_parent_of_all_kernels_is_killed(clone, truth, tally):
    sweep = Sweep(clone)
    sweep.wait_for(clone.root, f".cache/checkpoints/tiny/{FIRST}*")
    (parent,) = [p for p in sweep.below.values() if p.pid == sweep.kernel().ppid()]
    parent.kill()
    status, output = sweep.end()
    assert status == 0, output
    trained = [line for line in output.splitlines() if line.endswith(" trained")]
    assert trained == [f"{FIRST} trained", f"{SECOND} trained"]
    check(clone, truth, tally, complete=True)
    assert not list(clone.root.glob("results/tiny/*.failed.json"))
    tally["kills of the kernels' parent"] += 1


def test_ctrl_c_once_finishes_what_has_begun(clone, truth, tally, campaign):
    if not campaign:
        pytest.skip("`make campaign` tries it; the suite does beside another sweep")
    sweep = Sweep(clone)
    sweep.wait_for(clone.root, f"results/tiny/.locks/{FIRST}.lock")
    sweep.ctrl_c("Finishing the runs that have begun and starting no more")
    status, output = sweep.end()
    assert status == 130
    assert f"{FIRST} trained" in output
    assert {path.stem for path in clone.root.glob("results/tiny/*seed0.json")} == {FIRST}
    check(clone, truth, tally, complete=False)
    tally["sweeps stopped"] += 1
