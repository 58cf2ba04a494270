"""Engines, which execute the runs of a sweep; this module has the local one."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from effnet_core.errors import InputError
from effnet_report.jupyter import parent, warm
from effnet_report.sweep.tasks import Task


class Engine(Protocol):
    """An engine; all its methods are called from several threads.

    Attributes:
        seed_by_seed: whether runs start seed by seed, instead of the longest of all seeds first.
    """

    seed_by_seed: ClassVar[bool]

    def __str__(self) -> str:
        """A sentence with the number of parallel runs and their location."""

    def places(self) -> int:
        """Number of runs to execute in parallel now."""

    def run(self, task: Task, output: Path) -> str:
        """Execute a notebook to `output` and write the record to its folder.

        Returns:
            The error that ended the run, or an empty string.
        """

    def end_all(self) -> None:
        """End all running tasks immediately."""


@dataclass(frozen=True)
class Here:
    """The local engine, with kernels forked from one parent."""

    jobs: int
    seed_by_seed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        parent.start_for_sweep()

    def __str__(self) -> str:
        return f"{self.jobs} side by side"

    def places(self) -> int:
        return self.jobs

    def run(self, task: Task, output: Path) -> str:
        return _twice_if_no_fault_of_the_run(lambda: _execute_notebook(task, output))

    def end_all(self) -> None:
        warm.kill_all()


def _execute_notebook(task: Task, output: Path) -> str:
    """The error that ended the notebook, or an empty string."""
    # Imported only before a kernel starts, because other commands do not need it.
    from nbclient.exceptions import DeadKernelError  # noqa: PLC0415
    from papermill import PapermillExecutionError, execute_notebook  # noqa: PLC0415
    from traitlets.config import Config  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="effnet-") as folder:
        connection = f"{folder}/kernel.json"
        try:
            execute_notebook(
                task.notebook,
                output,
                task.parameters(),
                progress_bar=False,
                config=Config(
                    {
                        "KernelManager": {"connection_file": connection},
                        "NotebookClient": warm.AT_ONCE,
                    }
                ),
            )
        except PapermillExecutionError as error:
            known = error.ename == InputError.__name__
            return error.evalue if known else f"{error.ename}: {error.evalue}"
        except DeadKernelError:
            again = f"`effnet sweep {task.study} --retry-failed` goes on from its last epoch."
            return f"{warm.how_it_ended(connection)} {again}"
    return ""


def _twice_if_no_fault_of_the_run(attempt: Callable[[], str]) -> str:
    """Execute a notebook; retry once if its kernel did not start or was lost with its parent."""
    for _ in range(2):
        try:
            return attempt()
        except OSError:  # a full disk does not concern the start
            raise
        except InputError as error:  # it did not answer in time
            reason = str(error)
        except Exception as error:  # an error of the kernel is an error of this run only
            reason = f"{type(error).__name__}: {error}"
    return reason
