"""Which instructions are used, whatever the environment says; and on which machines they agree."""

import json
import os
import subprocess
import sys

import pytest

from effnet_core import paths, processor
from effnet_core.errors import InputError

needs_avx2 = pytest.mark.skipif(not processor.portable_here(), reason="no AVX2 here")


def in_force(lines: str, **environment: str) -> dict:
    """What libraries compute with after these lines, in a process of its own."""
    program = (
        f"{lines}\nimport json\nimport torch\nfrom effnet_core import processor\n"
        "from numpy._core import _multiarray_umath as numpy_core\n"
        "found = {'said': processor.in_force(), 'torch': torch.backends.cpu.get_cpu_capability()}\n"
        "found['numpy'] = numpy_core.__cpu_features__['X86_V4']\nprint(json.dumps(found))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=paths.ROOT, env=os.environ | environment, capture_output=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@needs_avx2
def test_portable_is_in_force_whatever_the_environment_says():
    environment = {"ATEN_CPU_CAPABILITY": "default", "OPENBLAS_CORETYPE": "Nehalem"}
    begin = "from effnet_core import run\nrun.begin_again(run.read_settings({'study': 'quick'}))"
    found = in_force(begin, MKL_CBWR="AVX512", **environment)
    assert found["torch"] == "AVX2"
    assert not found["numpy"]
    for part in ("openblas Haswell", "MKL_CBWR=COMPATIBLE", "ONEDNN_MAX_CPU_ISA=AVX2"):
        assert part in found["said"]


@pytest.mark.slow
@needs_avx2
def test_native_leaves_pytorch_its_own_choice():
    settings = "{'study': 'quick', 'instructions': 'native'}"
    begin = f"from effnet_core import run\nrun.begin_again(run.read_settings({settings}))"
    found = in_force(begin)
    assert "ONEDNN" not in found["said"]
    assert "MKL" not in found["said"]
    own = "import torch\nprint(torch.backends.cpu.get_cpu_capability())"
    alone = {name: v for name, v in os.environ.items() if name not in processor.PORTABLE}
    done = subprocess.run([sys.executable, "-c", own], env=alone, capture_output=True, check=True)
    assert found["torch"] == done.stdout.decode().strip()


@needs_avx2
def test_a_process_does_not_change_its_instructions(monkeypatch):
    monkeypatch.setattr(processor, "_used", ["portable"])
    with pytest.raises(InputError, match="already computes with portable instructions"):
        processor.use("native")


def test_a_processor_without_avx2_is_told(monkeypatch, capsys):
    monkeypatch.setattr(processor, "_used", [])
    monkeypatch.setattr(processor, "_cpuinfo", lambda: {"flags": "sse4_2", "model name": "Old"})
    processor.portable_here.cache_clear()
    try:
        processor.use("portable")
        assert "has no AVX2" in capsys.readouterr().out
        assert processor.used("portable").startswith("native Old")
    finally:
        processor.portable_here.cache_clear()
        monkeypatch.undo()
        processor.set_portable()


@needs_avx2
def test_arrays_of_portable_instructions_belong_to_any_processor(monkeypatch):
    assert processor.used("portable") == "portable"
    known = dict(processor._cpuinfo())
    here = processor.used("native")
    monkeypatch.setattr(processor, "_cpuinfo", lambda: known | {"model": "another"})
    assert processor.used("native") != here
    assert processor.used("portable") == "portable"
