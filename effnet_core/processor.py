"""The processor: its description, and the choice of its instructions.

Numerical libraries choose instructions by what the processor offers, and different instructions
round differently. With the variables in `PORTABLE` they compute the same bits on every x86
processor with AVX2, from AMD and from Intel. Each library reads its variable once: NumPy and
OpenBLAS when they are loaded, PyTorch, oneDNN and MKL at their first operation.
"""

import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Literal

from threadpoolctl import threadpool_info

from effnet_core.errors import InputError

Instructions = Literal["portable", "native"]

TORCH = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",  # its AVX2 rounds differently on AMD and on Intel
}
PORTABLE = TORCH | {
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
# Instruction sets that `PORTABLE` needs.
NEEDED = {"avx2", "fma"}
VECTORS = ("sse4", "avx", "fma", "amx")
IDENTITY = ("processor", "maker", "family", "model", "stepping")

_used: list[Instructions] = []


def set_portable() -> None:
    """Set the variables for portable instructions, overriding the environment."""
    if portable_here():
        os.environ.update(PORTABLE)


def use(instructions: Instructions) -> None:
    """Choose the instructions that PyTorch uses in this process, before its first operation.

    NumPy and OpenBLAS are loaded already and keep the portable ones. A line is printed where the
    processor cannot use portable instructions.

    Raises:
        InputError: this process has already chosen the other instructions.
    """
    if _used and _used[0] != instructions:
        raise InputError(
            f"This process already computes with {_used[0]} instructions, and PyTorch cannot "
            f"change them. Start another process for {instructions} instructions."
        )
    if not _used:
        _used.append(instructions)
        for name in TORCH:
            os.environ.pop(name, None)
        if instructions == "portable":
            set_portable()
    if instructions == "portable" and not portable_here():
        print(
            f"This processor ({platform.machine()}) has no AVX2, so the portable instructions "
            "cannot be used: on other machines the last bits, and accuracies, will differ."
        )


def used(instructions: Instructions) -> str:
    """A name that is equal for processors which compute equal bits with these instructions."""
    if instructions == "portable" and portable_here():
        return "portable"
    known = describe()
    return " ".join(["native", *(known.get(part, "") for part in IDENTITY)])


@cache
def portable_here() -> bool:
    """Whether this processor has the instructions that `PORTABLE` needs."""
    return set(_cpuinfo().get("flags", "").split()) >= NEEDED


def describe() -> dict[str, str]:
    """Model, maker, generation, instruction sets and caches, as far as Linux reports them."""
    known = _cpuinfo()
    wanted = {
        "maker": "vendor_id",
        "family": "cpu family",
        "model": "model",
        "stepping": "stepping",
    }
    identity = {name: known[field] for name, field in wanted.items() if field in known}
    vectors = [flag for flag in known.get("flags", "").split() if flag.startswith(VECTORS)]
    return {
        "processor": known.get("model name") or platform.processor() or platform.machine(),
        **identity,
        **({"instruction_sets": " ".join(sorted(vectors))} if vectors else {}),
        **({"caches": caches} if (caches := _caches()) else {}),
    }


def in_force() -> str:
    """The instructions that the loaded libraries report to use."""
    parts = [
        f"{blas['internal_api']} {blas['architecture']}"
        for blas in threadpool_info()
        if blas.get("architecture")
    ]
    if torch := sys.modules.get("torch"):
        parts.append(f"torch {torch.backends.cpu.get_cpu_capability()}")
    parts += [f"{name}={os.environ[name]}" for name in TORCH if name in os.environ]
    return ", ".join(sorted(set(parts)))


@cache
def _cpuinfo() -> dict[str, str]:
    """Linux's description of the first processor; empty on other systems."""
    path = Path("/proc/cpuinfo")
    text = path.read_text().split("\n\n")[0] if path.is_file() else ""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _caches() -> str:
    """For example `L1 32K Data, L2 1024K Unified`."""
    folders = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    parts = [[(f / n).read_text().strip() for n in ("level", "size", "type")] for f in folders]
    return ", ".join(f"L{level} {size} {kind}" for level, size, kind in parts)
