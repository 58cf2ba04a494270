"""Warm kernels, forked from a process that has imported the modules of a notebook: `parent.py`.

Jupyter finds them as the kernel provisioner `effnet-warm`.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from multiprocessing.util import get_temp_dir
from queue import Empty
from threading import Thread
from typing import Any

import psutil
import zmq
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import LocalProvisioner

from effnet_core.errors import InputError

# The record exists when a notebook has ended, so its kernel needs no time to clean up.
AT_ONCE = {"shutdown_kernel": "immediate"}
# Running kernels of this process, and the exit codes of failed ones, by connection file.
KERNELS: dict[str, BaseProcess] = {}
STATUS: dict[str, int] = {}
# Exit code that Python reports if the forking parent was killed.
ORPHANED = 255
# Between two attempts to connect; without a word ZeroMQ waits for a tenth of a second.
RECONNECT = 5  # milliseconds


class WarmProvisioner(LocalProvisioner):
    """A kernel provisioner that forks kernels, or starts them as Jupyter does if that fails."""

    _connection = ""
    _itself: psutil.Process

    async def pre_launch(self, **options: Any) -> dict[str, Any]:
        # Sockets in a private folder, where nobody else can connect. Jupyter's ports are
        # chosen before they are taken: of four kernels that start together, two choose the same
        # in 1 case of 100.
        manager: Any = self.parent
        manager.transport = "ipc"
        manager.ip = f"{get_temp_dir()}/{self.kernel_id[:8]}"  # a socket's path is short
        manager.client_class = f"{__name__}.{WarmClient.__name__}"
        return await super().pre_launch(**options)

    async def launch_kernel(self, cmd: list[str], **options: Any) -> KernelConnectionInfo:
        connection = cmd[cmd.index("-f") + 1]
        arguments = (connection, options.get("cwd"), options.get("env", {}))
        process = get_context("forkserver").Process(
            target=_be_a_kernel, args=arguments, daemon=True
        )
        try:
            process.start()
            self._itself = psutil.Process(process.pid)
        except (OSError, EOFError, AttributeError, psutil.NoSuchProcess) as error:
            print(f"Kernels start cold, seconds later each: {error}.", file=sys.stderr, flush=True)
            return await super().launch_kernel(cmd, **options)
        self._connection = connection
        KERNELS[connection] = process
        self.process = _Process(process)  # type: ignore[assignment]  # enough of a Popen
        self.pid = process.pid
        return self.connection_info

    async def cleanup(self, restart: bool = False) -> None:
        """Of a kernel that was told to end: see that it has, and close what was held for it."""
        await super().cleanup(restart)
        self.process = None
        process = KERNELS.pop(self._connection, None)
        if process is None:
            return
        with suppress(psutil.NoSuchProcess):  # an orphan would go on
            self._itself.kill()
            psutil.wait_procs([self._itself], timeout=10)
        process.join()
        if process.exitcode:
            STATUS[self._connection] = process.exitcode
        process.close()


class WarmClient(AsyncKernelClient):
    """A client that connects to a kernel as soon as it answers."""

    def start_channels(self, *which: bool, **named: bool) -> None:
        """Connect as soon as a new kernel has opened its sockets."""
        self.context.setsockopt(zmq.RECONNECT_IVL, RECONNECT)
        super().start_channels(*which, **named)

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait for an answer, and for what is published about it: then both ways are open.

        Jupyter's own listens for a fifth of a second more, to what no new kernel says.

        Raises:
            RuntimeError: the kernel died before it answered.
            InputError: it did not answer in so many seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                while await self.is_alive():
                    self.kernel_info()
                    with suppress(Empty):
                        await self.get_shell_msg(timeout=1)
                        await self.get_iopub_msg(timeout=0.2)
                        return
        except TimeoutError:
            raise InputError(
                f"The kernel did not answer in {timeout:.0f} seconds. Close other programs, and "
                "start the run again."
            ) from None
        raise RuntimeError("Kernel died before replying to kernel_info")


class _Process:
    """A multiprocessing process with the interface of `subprocess.Popen`, which Jupyter uses."""

    stdin = stdout = stderr = None

    def __init__(self, process: BaseProcess) -> None:
        self._process = process

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self._process.pid is not None:
            os.kill(self._process.pid, number)
        if number == signal.SIGKILL:
            self._process.join()  # else Jupyter would wait and ask again

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class OrphanedError(Exception):
    """A kernel was lost because its parent was killed."""


def how_it_ended(connection: str) -> str:
    """The reason for the end of a kernel, in words.

    Raises:
        OrphanedError: the parent that had forked all kernels was killed.
    """
    code = STATUS.pop(connection, 0)
    if code == ORPHANED:
        raise OrphanedError("the parent of all kernels was killed")
    if code >= 0:
        return f"The kernel ended by itself, with status {code}."
    name = signal.Signals(-code).name
    reason = ", probably for memory" if name == "SIGKILL" else ""
    return f"The kernel was killed{reason} ({name})."


def kill_all() -> None:
    """End all kernels of this process at once."""
    for process in list(KERNELS.values()):
        with suppress(ValueError):  # it has just ended and was closed
            process.kill()


def _be_a_kernel(connection_file: str, folder: str | None, environment: dict[str, str]) -> None:
    from ipykernel.kernelapp import IPKernelApp  # noqa: PLC0415  preloaded by the parent

    gc.freeze()  # objects of the parent are no garbage and need no scanning
    gc.enable()
    os.setsid()  # Ctrl-C in the terminal concerns the sweep only
    os.environ.update(environment)
    if folder:
        os.chdir(folder)
    Thread(target=_end_with_the_sweep, daemon=True).start()
    # Hide output that is not part of the notebook.
    app = IPKernelApp.instance(log_level=logging.CRITICAL)
    app.initialize(["-f", connection_file, "--HistoryManager.hist_file=:memory:"])
    app.start()


def _end_with_the_sweep() -> None:
    """End this kernel with the sweep or with its parent, so that it never trains unnoticed."""
    sweep, forked_by = parent_process(), os.getppid()
    while sweep and sweep.is_alive() and os.getppid() == forked_by:
        sweep.join(1)
    os._exit(1)
