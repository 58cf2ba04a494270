"""Kernels that start warm: forked from a process that has imported what a notebook uses.

A fresh kernel spends seconds importing PyTorch, timm and scikit-learn before its first cell,
28 times in a study. A sweep's kernels come from one parent instead (Python's `forkserver`),
which imports once and computes nothing, so a forked kernel is like a fresh one; likewise the
kernels of the book's pages. Jupyter finds this as the kernel provisioner `effnet-warm`.
"""

import asyncio
import functools
import gc
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from multiprocessing import forkserver, get_context, parent_process
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize, get_temp_dir
from pathlib import Path
from queue import Empty
from threading import Thread
from typing import Any

import psutil
import zmq
from filelock import FileLock, Timeout
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import LocalProvisioner

NAME = "effnet-warm"
# What the notebooks import: their kernels start with it.
NOTEBOOKS = ("effnet_core.run", "effnet_report.pages.run_page")
# A notebook that has ended has left its record: its kernel needs no time to tidy up.
AT_ONCE = {"shutdown_kernel": "immediate"}
LARGE_PAGES = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=33554432:"
    "glibc.malloc.trim_threshold=1073741824"
}
# The running kernels of this process, and how others ended that ended badly, by connection file.
KERNELS: dict[str, BaseProcess] = {}
STATUS: dict[str, int] = {}
# What Python reports of a process whose forking parent was killed.
ORPHANED = 255
# In the folder of a process's temporary files; one may be about to lock what it has just made.
OWNER = "owner.lock"
JUST_MADE = 60  # seconds
# Where matplotlib, IPython and Jupyter keep settings if not in the home folder.
SETTINGS_FOLDERS = ("MPLCONFIGDIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR")
# Between two attempts to connect; without a word ZeroMQ waits for a tenth of a second.
RECONNECT = 5  # milliseconds


def start_with(*modules: str) -> None:
    """Let all kernels that this process starts from now on have these modules imported."""
    _use_own_folder()
    # Of a kernel's start, half is importing a debugger, which would warn of what it cannot see.
    kernel = ["ipykernel.kernelapp", "ipykernel.debugger"]
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    faster = f"{__package__}.no_collector"
    get_context("forkserver").set_forkserver_preload([faster, *kernel, *modules])
    with suppress(OSError):  # then kernels start cold, and say so
        forkserver.ensure_running()  # it imports while this process goes on
    os.register_at_fork(after_in_child=_share_the_parent)
    os.environ["JUPYTER_DEFAULT_PROVISIONER_NAME"] = NAME


def use_large_pages() -> None:
    """Let processes that are started from now on keep their memory in large pages.

    Where the system has them for the asking (`madvise`, as Debian's does), the processor looks up
    less often where a page lies; and what a step of training has given back is there for the next
    one, without a visit to the system. Together that is a tenth of a step when nothing is frozen.
    It costs half a second of importing, so that it is for sweeps. glibc before 2.35 and other C
    libraries do not heed it.
    """
    for name, value in LARGE_PAGES.items():
        os.environ.setdefault(name, value)


@functools.cache
def _use_own_folder() -> None:
    """Keep all temporary files, sockets too, in one folder, and remove those of killed processes.

    Whoever lives holds the lock of its folder; the system releases it at whatever end.
    """
    for owner in Path(tempfile.gettempdir()).glob(f"effnet-*/{OWNER}"):
        with suppress(OSError, Timeout), FileLock(owner, timeout=0):
            if time.time() - owner.parent.stat().st_mtime > JUST_MADE:
                shutil.rmtree(owner.parent, ignore_errors=True)
    own = tempfile.mkdtemp(prefix="effnet-")
    lock = FileLock(f"{own}/{OWNER}")
    lock.acquire()
    # After multiprocessing has removed its own folder inside, whose priority is -100.
    Finalize(None, _remove, (own, lock), exitpriority=-200)
    tempfile.tempdir = os.environ["TMPDIR"] = own
    if not os.access(os.path.expanduser("~"), os.W_OK):  # noqa: PTH111  there may be no home
        # Else each kernel makes folders of its own, warns, and fails to remove them at its end.
        for name in SETTINGS_FOLDERS:
            folder = Path(own) / name.lower()
            folder.mkdir()
            os.environ.setdefault(name, str(folder))


def _remove(folder: str, lock: FileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()


def _share_the_parent() -> None:
    """Let a forked child start kernels too; Python would have it wait for what is not its child."""
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[method-assign]


class WarmProvisioner(LocalProvisioner):
    """Starts a kernel by forking, or as Jupyter does where that fails; the rest is Jupyter's."""

    _connection = ""
    _itself: psutil.Process

    async def pre_launch(self, **options: Any) -> dict[str, Any]:
        # Sockets in a folder of this process's own, where nobody else can connect. Ports are
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
        with suppress(psutil.NoSuchProcess):  # an orphan may go on; nobody else would end it
            self._itself.kill()
            psutil.wait_procs([self._itself], timeout=10)
        process.join()
        if process.exitcode:
            STATUS[self._connection] = process.exitcode
        process.close()


class WarmClient(AsyncKernelClient):
    """Talks to a kernel from the moment that it answers."""

    def start_channels(self, *which: bool, **named: bool) -> None:
        """Connect, soon after a kernel that was just asked for has opened its sockets."""
        self.context.setsockopt(zmq.RECONNECT_IVL, RECONNECT)
        super().start_channels(*which, **named)

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait for an answer, and for what is published about it: then both ways are open.

        Jupyter's own listens for a fifth of a second more, to what no new kernel says.

        Raises:
            RuntimeError: the kernel died before it answered.
            TimeoutError: it did not answer in so many seconds.
        """
        async with asyncio.timeout(timeout):
            while await self.is_alive():
                self.kernel_info()
                with suppress(Empty):
                    await self.get_shell_msg(timeout=1)
                    await self.get_iopub_msg(timeout=0.2)
                    return
        raise RuntimeError("Kernel died before replying to kernel_info")


class _Process:
    """A multiprocessing process in the words of `subprocess.Popen`, which Jupyter speaks."""

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
            self._process.join()  # told that it lives, Jupyter would ask again in a while

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class OrphanedError(Exception):
    """A kernel was lost through no fault of its own."""


def how_it_ended(connection: str) -> str:
    """Why a kernel that died is gone, in words.

    Raises:
        OrphanedError: with all others, because the process was killed that had forked them.
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
        with suppress(ValueError):  # it has just ended, and was closed
            process.kill()


def _be_a_kernel(connection_file: str, folder: str | None, environment: dict[str, str]) -> None:
    from ipykernel.kernelapp import IPKernelApp  # noqa: PLC0415  preloaded by the parent

    gc.freeze()  # what the parent imported is no garbage, and need not be looked through
    gc.enable()
    os.setsid()  # Ctrl-C in the sweep's terminal is for the sweep
    os.environ.update(environment)
    if folder:
        os.chdir(folder)
    Thread(target=_end_with_the_sweep, daemon=True).start()
    # It says nothing beside the notebook's own outputs.
    app = IPKernelApp.instance(log_level=logging.CRITICAL)
    app.initialize(["-f", connection_file, "--HistoryManager.hist_file=:memory:"])
    app.start()


def _end_with_the_sweep() -> None:
    """A kernel must not go on training unseen: it ends with the sweep, or its forking parent."""
    sweep, forked_by = parent_process(), os.getppid()
    while sweep and sweep.is_alive() and os.getppid() == forked_by:
        sweep.join(1)
    os._exit(1)
