"""A sweep of many runs holds no more at its end than at its beginning."""

import subprocess
import sys
import textwrap

import pytest

STUDY = """
    title: Many short runs
    seeds: {seeds}
    factors: {{freeze: [6], head: [none], scheduler: [plateau]}}
    protocol: {{dataset: digits, max_images: 60, image_size: 32, weights: none, epochs: 1}}
    """
SWEEP = """
    import os, resource
    import psutil
    from effnet_report.sweep import sweep
    from effnet_report.sweep.engines import Here
    from effnet_core.study.design import load_study

    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
    runs = [t for t in sweep.tasks(load_study("many"), "many") if "classical" not in t.run_id]
    for ended in sweep.execute_all(runs, Here(2, ["effnet_core.run"]), sweep.Stop()):
        held = len(os.listdir("/proc/self/fd")), psutil.Process().memory_info().rss // 2**20
        print("held", *held, ended.left or ended.error or "trained", flush=True)
    """
# A run's notebook and messages come and go; what 10 runs have not needed, the rest may not.
WARM_UP = 10
MEMORY = 0.25  # MiB a run


@pytest.mark.slow
def test_many_runs_hold_no_more_than_few(clone, tally, pytestconfig):
    runs = pytestconfig.getoption("--endurance")
    study = textwrap.dedent(STUDY.format(seeds=list(range(runs))))
    (clone.root / "studies/many.yml").write_text(study)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SWEEP)],
        cwd=clone.root,
        env=clone.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("held")]
    trained = [line.endswith(" trained") for line in lines]
    tally["runs of a long sweep"] += runs
    tally["lost"] += runs - sum(trained)
    assert sum(trained) == runs, done.stdout + done.stderr
    files, memory = zip(*([int(n) for n in line.split()[1:3]] for line in lines), strict=True)
    print(files[::10], memory[::10])
    assert max(files[WARM_UP:]) <= max(files[:WARM_UP])
    assert memory[-1] - max(memory[:WARM_UP]) <= MEMORY * (runs - WARM_UP)
