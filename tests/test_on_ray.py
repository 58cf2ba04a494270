"""The sweep on a real Ray cluster of several nodes, all on this machine, with a token.

It shows scheduling, what faults do, and that records come back equal. The GPUs are declared:
nothing is shown about CUDA.
"""

import getpass
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from copies import ALONE, Clone

from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import FREEZE, HEADS
from effnet_core.study.studies import load_study
from effnet_core.weights import describe
from effnet_report.sweep import plan, sweep

# Six configurations of factors that are not the source's, rates that race among them, and in the
# campaign all 28 of the source; without the classical comparison, which takes longest and is
# nothing new; of a small network in few steps, as what is tried is around them.
STUDY = """
    title: Configurations of a few digits
    seeds: [0]
    factors: {factors}
    protocol: {{dataset: digits, max_images: 60, image_size: 32, weights: none, epochs: 3,
      backbone: tinynet_e, batch_size: 32}}
    """
PATIENCE = 1800  # seconds, for what takes one on a machine that is not busy
FEW = {"freeze": [2, 5, 6], "learning_rate": [1e-3, [1e-3, 3e-3]]}
ALL = {"freeze": [*FREEZE], "head": [*HEADS], "scheduler": ["plateau", "cosine"]}
SWEEP = """
    import sys
    from effnet_report import cli
    from effnet_report.sweep import command

    everything = command.tasks_of
    command.tasks_of = lambda *s: [t for t in everything(*s) if "classical" not in t.run_id]
    sys.argv = ["effnet", "sweep", *sys.argv[1:]]
    cli.main()
    """
# On a node, a run with a checkpoint of its own, which it has after two epochs, waits for the test.
WAITS = """
        while "_ray_pkg_" in __file__ and path == self.path and not Path({go_on!r}).exists():
            __import__("time").sleep(0.1)
"""


class Copy(Clone):
    """With a study of many tiny runs, whose checkpoints all come back."""

    def __init__(self, root: Path, levels: dict, go_on: Path, request) -> None:
        super().__init__(root)
        study = textwrap.dedent(STUDY).format(factors=json.dumps(levels))
        (root / "studies" / "tiny.yml").write_text(study)
        self.request = request
        saved = "self.saved = float(spent[0])\n"
        waits = WAITS.format(go_on=str(go_on)).lstrip("\n")
        self.edit("effnet_core/training/checkpoints.py", re.escape(saved), saved + waits)

    def sweep(self, *options: str) -> subprocess.Popen:
        return self.start(SWEEP, "tiny", *options)

    def start(self, code: str, *options: str) -> subprocess.Popen:
        started = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), *options],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.request.addfinalizer(started.kill)
        return started

    def outcomes(self) -> dict[str, str]:
        """Text of each record, all but where and when it was made, by file name."""
        texts = {path.name: path.read_text() for path in self.root.glob("results/tiny/*.json")}
        return {name: text.split('"made"')[0] for name, text in texts.items()}

    def notebooks(self) -> dict[str, str]:
        """Text of each executed notebook, by its run."""
        return {path.stem: path.read_text() for path in self.root.glob("book/runs/tiny/*.ipynb")}


@pytest.fixture
def cluster(monkeypatch):
    """Three nodes, and one that is not as this machine, each with one GPU as declared."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Else its workers give way to whatever else the machine does, and the test takes for ever.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    utils = pytest.importorskip("ray.cluster_utils", reason="needs Ray: pip install '.[ray]'")
    with tempfile.TemporaryDirectory() as folder:  # a short name, for sockets
        # Ray notes there which cluster was started last, and does not make the folder for it.
        monkeypatch.setenv("RAY_TMPDIR", folder)
        (Path(folder) / "ray").mkdir()
        made = utils.Cluster()

        def add(**more: Any) -> Any:
            # Folders of its own, as on a machine of its own.
            place = tempfile.mkdtemp(dir=folder)
            node = {"num_cpus": 1, "num_gpus": 1, "memory": 4 * 10**9, "temp_dir": place}
            return made.add_node(**node, object_store_memory=500 * 10**6, **more)

        made.add = add
        add(include_dashboard=False)
        add(env_vars={"PYTHONPATH": another_papermill(Path(folder))})
        add()
        made.last = add()
        yield made
        made.shutdown()


def another_papermill(folder: Path) -> str:
    """A folder that makes Python believe in another version of papermill."""
    told = folder / "papermill-9.9.9.dist-info" / "METADATA"
    told.parent.mkdir()
    told.write_text("Metadata-Version: 2.1\nName: papermill\nVersion: 9.9.9\n")
    return str(folder)


def checkpointed(clone: Copy, node, patiently: subprocess.Popen) -> tuple[psutil.Process, str]:
    """A worker of a node, and its run, of which a checkpoint has come back."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    while patiently.poll() is None:
        there = {path.stem for path in clone.root.glob(".cache/checkpoints/tiny/*.pt")}
        for worker in raylet.children() if there else []:
            for below in worker.children(recursive=True):
                try:
                    held = {Path(file.path).stem for file in below.open_files()}
                except psutil.Error:
                    continue
                if runs := there & held:
                    return worker, runs.pop()
        time.sleep(0.3)
    raise AssertionError(patiently.communicate()[0])


@pytest.mark.slow("minutes")
@pytest.mark.cluster("sweeps on Ray that lose a worker, a node and the driver")
def test_whatever_is_lost_each_run_ends_once_with_its_record(
    cluster, tmp_path, tally, request, campaign
):
    go_on, levels = tmp_path / "go_on", ALL if campaign else FEW
    runs = math.prod(len(tried) for tried in levels.values())
    local, clone = (Copy(tmp_path / name, levels, go_on, request) for name in ("local", "clone"))
    here = local.start(ALONE)
    options = "--engine", "ray", "--address", cluster.address, "--gpus-per-run", "1"
    driver = clone.sweep(*options)

    worker, first = checkpointed(clone, cluster.head_node, driver)
    worker.send_signal(signal.SIGKILL)
    _, second = checkpointed(clone, cluster.last, driver)
    cluster.remove_node(cluster.last, allow_graceful=False)
    cluster.add()
    go_on.touch()
    # Of few runs all could have ended by the time that these two have: the next driver goes on.
    ended = {first, second} if campaign else set()
    while driver.poll() is None:
        if len(clone.outcomes()) >= runs // 3 and ended <= clone.notebooks().keys():
            break
        time.sleep(0.2)
    driver.kill()
    told, _ = driver.communicate(timeout=PATIENCE)
    assert f"{runs} of {runs} runs to do, 4 side by side on Ray." in told
    assert len(re.findall(r"Node \S+ is refused, as it has papermill 9.9.9, not", told)) == 1
    assert len(clone.outcomes()) < runs

    again = clone.sweep(*options)
    more, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, told + more
    assert here.wait(timeout=PATIENCE) == 0, here.communicate()[0]
    truth, found = local.outcomes(), clone.outcomes()
    assert len(truth) == runs
    tally["false"] += sum(found[name] != truth.get(name) for name in found)
    tally["lost"] += len(truth.keys() - found.keys())
    assert found == truth
    trained = re.findall(r"(\S+-seed0) +\d+ s  validation", told + more)
    assert len(trained) == len(set(trained))
    notebooks = clone.notebooks()
    # A record is written before its notebook, here as on one machine: a kill may come between.
    without = truth.keys() - {f"{name}.json" for name in notebooks}
    assert len(without) < len(cluster.list_all_nodes())
    assert {first, second} & notebooks.keys()
    for name in {first, second} & notebooks.keys():
        assert re.search(r"Resumed after .+, from a checkpoint", notebooks[name])
    check_nothing_is_told(clone, *notebooks.values())
    check_weights(clone)


def check_nothing_is_told(clone: Copy, *notebooks: str) -> None:
    """No token, user or folder of a node is in what is kept."""
    made = [path.read_text() for path in clone.root.glob("results/tiny/*.json")]
    for text in (*made, *notebooks):
        assert os.environ["RAY_AUTH_TOKEN"] not in text
        assert "_ray_pkg_" not in text
    for text in made:
        assert str(clone.root) not in text
        assert getpass.getuser() not in text.split('"made"')[1]


def check_weights(clone: Copy) -> None:
    """The weights of one run are left, as its record names them."""
    (left,) = clone.root.glob(".cache/weights/tiny/*")
    about = describe(left)
    recorded = records.load(clone.root / f"results/tiny/{about['run_id']}.json")
    assert about["outcome"]["final_weights"] == recorded.outcome.final_weights


def test_without_the_extra_it_says_how_to_install_it(clone):
    (clone.root / "ray.py").write_text("raise ImportError('no ray here')")
    result = clone.run("effnet", "sweep", "tiny", "--engine", "ray")
    assert result.returncode == 1
    assert "Ray is not installed: pip install '.[ray]'" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(clone.root.glob("results/tiny/*.json"))


def test_what_only_ray_can_do_is_not_asked_of_this_machine(here):
    result = here.run("effnet", "sweep", "tiny", "--gpus-per-run", "0.5")
    assert result.returncode == 1
    assert "--engine ray" in result.stderr


@pytest.fixture
def on_ray():
    pytest.importorskip("ray", reason="needs Ray: pip install '.[ray]'")
    from effnet_report.sweep import on_ray

    return on_ray


@pytest.fixture
def two_machines(on_ray, monkeypatch):
    """A cluster, as Ray tells of it: 4 GPUs on one machine, and another without any."""
    nodes = [
        {"NodeID": "a", "Alive": True, "Resources": {"CPU": 16.0, "GPU": 4.0, "memory": 64e9}},
        {"NodeID": "b", "Alive": True, "Resources": {"CPU": 8.0, "memory": 5e9}},
        {"NodeID": "c", "Alive": False, "Resources": {"CPU": 8.0, "memory": 64e9}},
    ]
    monkeypatch.setattr(on_ray, "connect", lambda *_: None)
    monkeypatch.setattr(on_ray.ray, "nodes", lambda: nodes)
    monkeypatch.setattr(plan, "memory", lambda *_: 2 * 10**9)
    return nodes


@pytest.mark.parametrize(
    ("fit", "asked", "room"), [(3, None, 12), (7, None, 16), (1, None, 4), (3, 1.0, 4), (3, 2.0, 2)]
)
@pytest.mark.usefixtures("two_machines")
def test_as_many_runs_share_a_gpu_as_fit_or_as_asked(on_ray, monkeypatch, fit, asked, room):
    monkeypatch.setattr(sweep, "runs_on_the_gpu", lambda *_: fit)
    engine = on_ray.OnRay(load_study("paper"), None, asked, None, print)
    assert str(engine) == f"{room} side by side on Ray"
    assert engine.places() == 2 * room


def test_on_cpus_a_run_asks_for_its_threads_and_the_memory_of_the_largest(on_ray, two_machines):
    quick = load_study("quick")
    assert str(on_ray.OnRay(quick, None, None, None, print)) == "18 side by side on Ray"
    assert str(on_ray.OnRay(quick, None, None, 3, print)) == "3 side by side on Ray"
    two_machines.pop(0)
    with pytest.raises(InputError, match=r"needs 1 CPU, 1 GPU and 2\.0 GB"):
        on_ray.OnRay(quick, None, 1, None, print)


@pytest.mark.parametrize("share", [1.5, 0.00001])
@pytest.mark.usefixtures("two_machines")
def test_a_share_of_gpus_that_ray_refuses_is_told_before_any_run(on_ray, share):
    with pytest.raises(InputError, match=r"--gpus-per-run .*: give a share from"):
        on_ray.OnRay(load_study("paper"), None, share, None, print)


def test_a_client_that_brings_no_checkpoints_back_is_refused(on_ray):
    with pytest.raises(InputError, match="--address auto"):
        on_ray.connect("ray://somewhere:10001")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1", "somewhere:port"])
def test_an_address_where_nothing_answers_is_told_at_once(on_ray, address):
    with pytest.raises(InputError, match=f"No Ray cluster answers at {address}"):
        on_ray.connect(address)
