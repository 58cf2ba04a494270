"""The parent of all kernels, a process that imports the modules of a notebook ahead.

A fresh kernel spends seconds importing PyTorch, timm and scikit-learn before its first cell,
28 times in a study. The kernels of a sweep and of the book's pages are forked from one parent
instead (Python's `forkserver`), see `warm.py`. The parent imports modules and computes nothing, so
a forked kernel behaves like a fresh one.

This module itself imports little, so that the parent can start before the rest of a command is
imported.
"""

import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from functools import cache
from multiprocessing import forkserver, get_context, resource_tracker
from multiprocessing.util import Finalize
from pathlib import Path

from filelock import FileLock, Timeout

# The provisioner of warm kernels.
NAME = "effnet-warm"
# Modules that the notebooks import.
NOTEBOOKS = ("effnet_core.run", "effnet_report.pages.run_page")
LARGE_PAGES = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=33554432:"
    "glibc.malloc.trim_threshold=1073741824"
}
# In the folder of a process's temporary files; one may be about to lock what it has just made.
OWNER = "owner.lock"
JUST_MADE = 60  # seconds
# The system allows 107 letters for the path of a socket, half of which are ours.
LONGEST_FOLDER = 50
# Folders of settings of matplotlib, IPython and Jupyter outside the home folder.
SETTINGS_FOLDERS = ("MPLCONFIGDIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR")


def start_for_sweep() -> None:
    """Preload what the notebooks of a sweep import, with the memory that suits training."""
    use_large_pages()
    start_with(*NOTEBOOKS)


def start_with(*modules: str) -> None:
    """Preload these modules in all kernels that this process starts from now on."""
    _use_own_folder()
    # Importing the debugger takes half of a kernel's start, and it would warn about frozen modules.
    kernel = ["ipykernel.kernelapp", "ipykernel.debugger"]
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    first = f"{__package__}.parent_first"
    get_context("forkserver").set_forkserver_preload([first, *kernel, *modules])
    with suppress(OSError):  # then kernels start cold and print a line
        resource_tracker.ensure_running()  # which ends in taking Ctrl-C again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()  # imports in the background, and soon ignores Ctrl-C
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.register_at_fork(after_in_child=_share_the_parent)
    os.environ["JUPYTER_DEFAULT_PROVISIONER_NAME"] = NAME


def use_large_pages() -> None:
    """Use large memory pages in processes that are started from now on.

    On systems that give large pages on request (`madvise`, as in Debian), the processor needs fewer
    page look-ups, and memory of one training step is reused by the next without system calls. This
    saves a tenth of a step if nothing is frozen. It costs half a second of importing, so only
    sweeps use it. glibc before 2.35 and other C libraries ignore it.
    """
    for name, value in LARGE_PAGES.items():
        os.environ.setdefault(name, value)


@cache
def _use_own_folder() -> None:
    """Keep temporary files and sockets in one folder, and delete those of killed processes.

    A running process holds the lock of its folder; the system releases it when the process ends.
    """
    for owner in Path(tempfile.gettempdir()).glob(f"effnet-*/{OWNER}"):
        with suppress(OSError, Timeout), FileLock(owner, timeout=0):
            if time.time() - owner.parent.stat().st_mtime > JUST_MADE:
                shutil.rmtree(owner.parent, ignore_errors=True)
    short = None if len(tempfile.gettempdir()) <= LONGEST_FOLDER else "/tmp"
    own = tempfile.mkdtemp(prefix="effnet-", dir=short)
    lock = FileLock(f"{own}/{OWNER}")
    lock.acquire()
    # Runs after multiprocessing has removed its folder inside, which has priority -100.
    Finalize(None, _remove, (own, lock), exitpriority=-200)
    tempfile.tempdir = os.environ["TMPDIR"] = own
    if not os.access(os.path.expanduser("~"), os.W_OK):  # noqa: PTH111  there may be no home
        # Otherwise each kernel creates its own folders, warns, and fails to delete them.
        for name in SETTINGS_FOLDERS:
            folder = Path(own) / name.lower()
            folder.mkdir()
            os.environ.setdefault(name, str(folder))


def _remove(folder: str, lock: FileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()


def _share_the_parent() -> None:
    """Let a forked child start kernels too; without this Python waits for a foreign process."""
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[method-assign]
