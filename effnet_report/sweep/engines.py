"""Where runs are executed: a sweep asks an engine, and does everything else itself."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from effnet_core.errors import InputError
from effnet_report.jupyter import warm
from effnet_report.sweep.tasks import Task


class Engine(Protocol):
    """Runs this somewhere. All its methods are called from several threads.

    Attributes:
        seed_by_seed: whether a seed's runs begin before the next one's; else the longest of all.
    """

    seed_by_seed: ClassVar[bool]

    def __str__(self) -> str:
        """How many runs there is room for, and where."""

    def places(self) -> int:
        """How many runs to begin now, side by side."""

    def run(self, task: Task, output: Path) -> str:
        """Execute a notebook to `output`; its record is in its folder afterwards.

        Returns:
            The error that ended it, or an empty string.
        """

    def end_all(self) -> None:
        """End what is running, at once."""


def import_ahead(modules: Sequence[str]) -> None:
    """Start the parent of kernels that train, which imports while this process goes on."""
    warm.use_large_pages()
    warm.start_with(*modules)


@dataclass(frozen=True)
class Here:
    """Runs on this machine: in kernels forked from one that has imported `preload`."""

    jobs: int
    preload: Sequence[str] = ()
    seed_by_seed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        import_ahead(self.preload)

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
    # Imported where a kernel is about to start: the status of a study does not need it.
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
    """A kernel that did not start, or was lost with its parent, gets one more chance."""
    for _ in range(2):
        try:
            return attempt()
        except OSError:  # a full disk is no fault of the start
            raise
        except Exception as error:  # whatever a kernel dies of is this run's error, not ours
            reason = f"{type(error).__name__}: {error}"
    return reason
