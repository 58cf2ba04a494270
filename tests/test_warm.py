import asyncio
import os
import platform
import signal
import stat
import subprocess
import sys
import textwrap
from multiprocessing import get_context
from pathlib import Path

import pytest
from jupyter_client import KernelManager

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_report.jupyter import parent, warm
from effnet_report.jupyter.warm import WarmClient, WarmProvisioner


@pytest.fixture
def prepare(tmp_path):
    """Prepares a kernel for its launch: its manager knows where the sockets will be."""

    def prepared(kernel_id: str) -> KernelManager:
        manager = KernelManager(connection_file=str(tmp_path / f"{kernel_id}.json"))
        provisioner = WarmProvisioner(
            parent=manager, kernel_id=kernel_id, kernel_spec=manager.kernel_spec
        )
        asyncio.run(provisioner.pre_launch())
        return manager

    return prepared


def test_no_two_kernels_can_choose_the_same_sockets(prepare):
    first, second = prepare("first"), prepare("second")
    assert {first.transport, second.transport} == {"ipc"}
    assert first.ip != second.ip


def test_nobody_else_can_reach_the_sockets(prepare):
    folder = Path(prepare("only").ip).parent
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IRWXU


def test_a_kernel_that_died_before_it_answered_is_told(monkeypatch):
    async def dead(_):
        return False

    monkeypatch.setattr(WarmClient, "is_alive", dead)
    with pytest.raises(RuntimeError, match="died before"):
        asyncio.run(WarmClient().wait_for_ready(timeout=5))


def test_a_kernel_that_does_not_answer_in_time_is_told(monkeypatch):
    async def alive(_):
        return True

    async def silent(_, timeout):
        await asyncio.sleep(timeout)

    monkeypatch.setattr(WarmClient, "is_alive", alive)
    monkeypatch.setattr(WarmClient, "kernel_info", lambda _: None)
    monkeypatch.setattr(WarmClient, "get_shell_msg", silent)
    with pytest.raises(InputError, match=r"did not answer in 0 seconds\. Close"):
        asyncio.run(WarmClient().wait_for_ready(timeout=0.01))


def test_a_kernel_that_was_killed_is_known_to_have_ended():
    """Jupyter, which is told that it lives, would ask again a tenth of a second later."""
    kernel = get_context("spawn").Process(target=signal.pause, daemon=True)
    kernel.start()
    process = warm._Process(kernel)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    assert process.poll() == -signal.SIGKILL


def test_processes_that_are_started_keep_their_memory_in_large_pages(monkeypatch):
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(map(int, version.split("."))) < (2, 35):
        pytest.skip("glibc asks for large pages from 2.35 on")
    system = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not system.is_file() or "[madvise]" not in system.read_text():
        pytest.skip("this system gives large pages always or never, and is not asked")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    show = "kept = bytearray(64_000_000); print(open('/proc/self/smaps').read())"

    def asked_for() -> int:
        shown = subprocess.run(
            [sys.executable, "-c", show], check=True, stdout=subprocess.PIPE, text=True
        )
        flags = [line for line in shown.stdout.splitlines() if line.startswith("VmFlags:")]
        return sum(" hg" in line for line in flags)

    assert asked_for() == 0
    parent.use_large_pages()
    assert asked_for() > 0
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=0")
    parent.use_large_pages()
    assert asked_for() == 0  # what somebody chose stays


@pytest.mark.slow
@pytest.mark.parametrize("letters", [0, 90])  # of the folder for temporary files
def test_a_warm_kernel_is_heard_from_its_first_word_and_gone_at_once(tmp_path, letters):
    """In a process of its own: what starts kernels warm stays for a process's life."""
    temporary = tmp_path / ("x" * letters)
    temporary.mkdir(exist_ok=True)
    script = """
        import nbformat, psutil
        from nbclient import NotebookClient
        from effnet_report.jupyter import parent, warm

        if __name__ == "__main__":
            parent.start_with()
            for _ in range(3):
                code = "import gc, os; print({}, os.getpid(), gc.isenabled())"
                cells = [nbformat.v4.new_code_cell(code.format(n)) for n in range(2)]
                client = NotebookClient(nbformat.v4.new_notebook(cells=cells), **warm.AT_ONCE)
                client.execute()
                told = [cell.outputs[0].text.split() for cell in cells]
                (first, process, collects), (second, *_) = told
                print(first, second, psutil.pid_exists(int(process)), collects)
        """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ | {"TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.splitlines() == ["0 1 False True"] * 3, found.stderr


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_ctrl_c_while_the_parent_imports_ends_in_no_traceback(seconds):
    script = f"""
        import signal, time
        from effnet_report.jupyter import parent

        if __name__ == "__main__":
            signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests ignore it
            parent.start_with("effnet_core.run")
            print("started", flush=True)
            time.sleep({seconds})
            try:
                print("waiting", flush=True)
                time.sleep(60)
            except KeyboardInterrupt:
                print("stopped")
        """
    command = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in ("started", "waiting"):
        assert command.stdout.readline() == f"{line}\n"
    os.killpg(command.pid, signal.SIGINT)
    out, err = command.communicate(timeout=60)
    assert (out, err, command.returncode) == ("stopped\n", "", 0)


@pytest.mark.slow
def test_without_a_home_nothing_is_warned_of_and_nothing_fails_at_the_end(tmp_path):
    code = (
        "from effnet_report.jupyter import parent; parent._use_own_folder(); "
        "import matplotlib.pyplot, IPython.paths; IPython.paths.get_ipython_dir()"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": "/proc/nowhere", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=paths.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []
