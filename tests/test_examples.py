"""The examples to adapt: what they ask of Slurm, KubeRay, Ray and `effnet` exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from effnet_core import paths
from effnet_report.cli import app

EXAMPLES = paths.BOOK / "cluster"
SLURM, KUBERAY = EXAMPLES / "slurm.sbatch", EXAMPLES / "kuberay.yaml"


@pytest.fixture(scope="module")
def job() -> dict:
    return yaml.safe_load(KUBERAY.read_text(encoding="utf-8"))


def test_the_ray_job_mounts_what_it_names_and_may_use_what_it_asks_for(job):
    cluster = job["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for spec in (cluster["headGroupSpec"], group):
        pod = spec["template"]["spec"]
        (container,) = pod["containers"]
        mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
        assert mounts == {volume["name"] for volume in pod.get("volumes", [])}
        limits = container["resources"]["limits"]
        assert limits == container["resources"]["requests"]  # Ray takes the limits for room


def test_the_ray_job_is_closed_and_of_our_version(job):
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert f'"ray=={cluster["rayVersion"]}"' in (paths.ROOT / "pyproject.toml").read_text()
    for spec in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = spec["template"]["spec"]["containers"]
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]


def test_the_batch_script_is_sound_and_closed():
    subprocess.run(["bash", "-n", SLURM], check=True)
    text = SLURM.read_text(encoding="utf-8")
    assert "RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0" in text
    assert "--include-dashboard=false" in text
    directives = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", line) for line in directives)
    # Slurm reads no directive behind the first command.
    first = next(n for n, line in enumerate(text.splitlines()) if re.match(r"[^#\s]", line))
    assert text.splitlines().index(directives[-1]) < first


@pytest.mark.parametrize("place", [SLURM, KUBERAY], ids=lambda place: place.name)
def test_the_options_of_a_sweep_exist(place):
    (command,) = re.findall(r"effnet sweep .*--engine.*", place.read_text(encoding="utf-8"))
    told = CliRunner().invoke(app, ["sweep", "--help"], env={"COLUMNS": "200"}).output
    assert {option for option in re.findall(r"--[a-z-]+", command) if option not in told} == set()


def test_the_options_of_ray_exist():
    pytest.importorskip("ray", reason="needs Ray: pip install '.[ray]'")
    program = Path(sys.executable).with_name("ray")
    done = subprocess.run([program, "start", "--help"], capture_output=True, text=True, check=True)
    (head, other) = re.findall(r"ray start (.*?) &", SLURM.read_text(encoding="utf-8"))
    assert {o for o in re.findall(r"--[a-z-]+", f"{head} {other}") if o not in done.stdout} == set()
