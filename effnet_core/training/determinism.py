"""Make PyTorch compute the same bits for the same settings."""

import os

import torch

from effnet_core import processor
from effnet_core.errors import InputError
from effnet_core.study.design import Settings


def make_reproducible(settings: Settings) -> None:
    """Settle the instructions, threads and algorithms that this process computes with.

    Raises:
        InputError: there is no such device, or this process has computed with others already.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device = cuda: PyTorch finds no GPU here. Use -p device cpu.")
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
            "PyTorch has computed with other instructions in this process before the run began. "
            "Restart the kernel, and import effnet_core before anything computes."
        )
