"""Make PyTorch compute equal bits for equal settings."""

import os

import torch

from effnet_core import processor
from effnet_core.errors import InputError
from effnet_core.study.design import Settings


def make_reproducible(settings: Settings) -> None:
    """Set the instructions, the number of threads and the algorithms of this process.

    Raises:
        InputError: the device is missing, or this process has already used other instructions.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "device = cuda: this run needs a GPU, and PyTorch finds none here. Train on a CPU in a "
            "study with `device: cpu`, or in a notebook with -p device cpu."
        )
    processor.use(settings.instructions)
    if settings.instructions == "portable" and processor.portable_here():
        _check_not_too_late()
    torch.set_num_threads(settings.threads)
    # Read when CUDA starts; without it cuBLAS has no deterministic matrix product.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Skip filling uninitialised memory: nothing here reads it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _check_not_too_late() -> None:
    if torch.backends.cpu.get_cpu_capability() != "AVX2":
        raise InputError(
            "PyTorch used other instructions in this process before the run began. "
            "Restart the kernel, and import effnet_core before anything computes."
        )
