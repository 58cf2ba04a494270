"""The simulated cluster: what its arithmetic has to give, and that the page tells it."""

import re
from dataclasses import replace

import numpy as np
import pytest

from bench import cluster as simulation
from bench.cluster import ON_RAY, ORDERS, Work, makespan
from effnet_core import paths
from effnet_core.study.studies import load_study
from effnet_report.pages import cluster
from effnet_report.sweep.tasks import tasks_of

STUDY = load_study("paper")
TASKS = [task for task in tasks_of(STUDY, "paper") if "classical" not in task.run_id]
ONCE = [3] * len(TASKS)
SHARES = (0.0, 0.04, 0.3, 0.46, 0.5, 0.69, 0.87)
WORK = Work(
    prefix=SHARES, cached=[n > 1 for n in range(7)], forward=0.01, images=(100, 30, 40),
    epochs=[[3, 5]] * 7,
)  # fmt: skip


def test_a_run_costs_what_its_passes_do():
    fill, first, rest = WORK.seconds(0, 3)
    epoch = (3 * 100 + 30) * 0.01
    assert (fill, first) == (0, pytest.approx(epoch))
    assert rest == pytest.approx(2 * epoch + (30 + 40) * 0.01 + simulation.FIXED)
    fill, first, _ = WORK.seconds(6, 3)
    assert fill == pytest.approx(0.87 * 170 * 0.01)
    assert first == pytest.approx(0.13 * epoch)


def test_one_gpu_is_never_idle_and_many_end_with_the_longest_run():
    each = [WORK.seconds(task.settings.freeze, 3) for task in TASKS]
    # On one, each first epoch is trained once for both schedules, each depth is filled once.
    firsts = sum(first for (_, first, _) in each) / 2
    fills = sum(WORK.seconds(n, 3)[0] for n in range(7))
    whole = sum(rest for (_, _, rest) in each) + firsts + fills
    for order in ORDERS:
        assert makespan(TASKS, ONCE, WORK, 1, order) == pytest.approx(whole)
    longest = max(sum(costs) for costs in each)
    assert makespan(TASKS, ONCE, WORK, len(TASKS), ON_RAY) == pytest.approx(longest)


def test_two_gpus_share_the_work_of_one_node():
    plain = replace(WORK, cached=[False] * 7)
    alone, both = (makespan(TASKS, ONCE, plain, gpus, ON_RAY) for gpus in (1, 2))
    assert 0.999 <= both / (alone / 2) < 1.1


def test_no_order_beats_the_bound_by_much(monkeypatch):
    monkeypatch.setattr(simulation, "REPLICATES", 3)
    found = list(simulation.rows(WORK, STUDY, np.random.default_rng(0)))
    assert {row.order for row in found} == {order.name for order in ORDERS}
    for row in found:
        assert 0 < row.low <= row.efficiency <= row.high
        assert row.efficiency <= row.bound + 0.01
    alone = [row.efficiency for row in found if row.gpus == 1 and row.order == ON_RAY.name]
    assert alone == [1.0]


def test_the_page_tells_what_was_simulated(monkeypatch, tmp_path):
    found = cluster.load()
    assert found, "results/cluster.json is not there"
    most = [row for row in found.rows if row.gpus == 64 and row.order == ON_RAY.name]
    told = re.sub(r"<[^>]+>", "", cluster.hours(found).data)
    for row in most:
        assert f"{100 * row.efficiency:.1f} (" in told
    faster = [row.model_copy(update={"efficiency": 0.97}) for row in found.rows]
    better = found.model_copy(update={"rows": faster})
    assert "97 % of the time" in cluster.answer(better).data
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    assert "No cluster has been simulated yet" in cluster.answer(cluster.load()).data
    assert cluster.hours(cluster.load()).data == ""
