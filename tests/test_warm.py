import asyncio
import stat
from pathlib import Path

import pytest
from jupyter_client import KernelManager

from effnet_report.jupyter.warm import WarmProvisioner


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
