"""Progress of a sweep on the terminal: finished runs, their results, and the time left."""

import time
from collections import Counter
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from effnet_report.numbers import duration
from effnet_report.sweep.engines import Engine
from effnet_report.sweep.sweep import Finished, Stop, execute_all, relative_time
from effnet_report.sweep.tasks import Task


def execute_shown(
    pending: list[Task],
    engine: Engine,
    stop: Stop,
    console: Console,
    after_seed: Callable[[], None],
) -> int:
    """Execute tasks, and show a progress bar and one line per finished task.

    Args:
        pending: the tasks.
        engine: executes them.
        stop: starts no more when it is set.
        console: to print to.
        after_seed: called when the last task of a seed has ended.

    Returns:
        Number of failed tasks.
    """
    start = time.perf_counter()
    failures = done = 0
    of_seed = Counter(task.settings.seed for task in pending)
    work_left = total = sum(map(relative_time, pending))
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}")
    with Progress(*columns, console=console, transient=True) as progress:
        ended = execute_all(pending, engine, stop)
        bar = progress.add_task(f"0 of {len(pending)} runs done", total=len(pending), left="")
        for done, finished in enumerate(ended, start=1):
            failures += bool(finished.error)
            elapsed = time.perf_counter() - start
            work_left -= relative_time(finished.task)
            left = duration(elapsed / (total - work_left) * work_left)
            progress.update(
                bar,
                completed=done,
                description=f"{done} of {len(pending)} runs done",
                left=f"about {left} left",
            )
            console.print(f"[{done}/{len(pending)}, {left} left] {_line(finished)}")
            of_seed[finished.task.settings.seed] -= 1
            if not of_seed[finished.task.settings.seed]:
                after_seed()
    console.print(f"{done} runs in {duration(time.perf_counter() - start)}.")
    return failures


def _line(finished: Finished) -> str:
    name = f"{finished.task.run_id:34s} {finished.seconds:5.0f} s"
    if finished.record is None:
        why = finished.left or f"[red]failed[/]: {escape(finished.error)}"
        return f"{name}  {why}"
    outcome = finished.record.outcome
    return (
        f"{name}  validation {outcome.validation.accuracy:5.1f} %  "
        f"test {outcome.test.accuracy:5.1f} %  {finished.left}{escape(finished.error)}"
    ).rstrip()
