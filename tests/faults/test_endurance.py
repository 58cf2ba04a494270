"""A sweep of many runs holds no more at its end than at its beginning."""

import subprocess
import sys
import textwrap

import pytest

STUDY = """
    title: Many short runs
    seeds: {seeds}
    factors: {{freeze: [6], head: [none], scheduler: [plateau]}}
    protocol: {{dataset: digits, max_images: 60, image_size: 32, weights: none, epochs: 1,
      backbone: tinynet_e, batch_size: 16}}
    """
SWEEP = """
    import gc, os, resource
    import psutil
    from effnet_report.sweep import sweep
    from effnet_report.sweep.engines import Here
    from effnet_report.sweep.tasks import tasks_of
    from effnet_core.study.studies import load_study

    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
    runs = [t for t in tasks_of(load_study("many"), "many") if "classical" not in t.run_id]
    engine = Here(2)
    for some in (runs[:{warm_up}], runs[{warm_up}:]):
        for ended in sweep.execute_all(some, engine, sweep.Stop()):
            print("ended", ended.left or ended.error or "trained", flush=True)
        gc.collect()
        held = len(os.listdir("/proc/self/fd")), psutil.Process().memory_info().rss // 2**20
        print("held", *held, flush=True)
    """
RUNS, RUNS_OF_THE_CAMPAIGN = 14, 300
# What the first runs have not needed, the rest may not. Both times no run is under way: what two of
# them hold together depends on the moment.
WARM_UP = 6
MEMORY = 0.25  # MiB a run


@pytest.mark.slow
def test_many_runs_hold_no_more_than_few(clone, tally, campaign):
    runs = RUNS_OF_THE_CAMPAIGN if campaign else RUNS
    study = textwrap.dedent(STUDY.format(seeds=list(range(runs))))
    (clone.root / "studies/many.yml").write_text(study)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SWEEP).format(warm_up=WARM_UP)],
        cwd=clone.root,
        env=clone.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line.split() for line in done.stdout.splitlines()]
    trained = told.count(["ended", "trained"])
    tally["runs of a long sweep"] += runs
    tally["lost"] += runs - trained
    assert trained == runs, done.stdout + done.stderr
    held = [line[1:] for line in told if line[0] == "held"]
    (files, memory), (files_then, memory_then) = [(int(a), int(b)) for a, b in held]
    assert files_then <= files
    assert memory_then - memory <= MEMORY * (runs - WARM_UP)
