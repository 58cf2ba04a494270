"""PyTorch's compiler waits until something is compiled, and then it is the real one."""

import json
import subprocess
import sys

import pytest

STEPS = """
import json, sys
import torch
from effnet_core.model import compiler
from effnet_core.model.backbones import build_network

def step():
    network(torch.zeros(2, 3, 32, 32)).sum().backward()
    optimizer.step()

network = build_network("tf_efficientnet_lite0")
torch.use_deterministic_algorithms(True)
optimizer = torch.optim.Adam(network.parameters())
step()
loaded = [n for n in sys.modules if n.startswith("torch._dynamo") and n not in
          (compiler.NAME, compiler.TOOLS)]
from_the_backend = "torch._inductor.utils" in sys.modules
double = torch.compile(lambda x: 2 * x, backend="eager")
assert double(torch.ones(1)) == 2
step()
import torch._dynamo.utils
import torch._inductor.config
from torch._dynamo import OptimizedModule
print(json.dumps({
    "loaded": loaded,
    "from_the_backend": from_the_backend,
    "deterministic": torch._inductor.config.deterministic,
    "deferred": compiler.deferred(),
    "file": torch._dynamo.__file__,
    "same": sys.modules["torch._dynamo"] is torch._dynamo,
    "steps": int(optimizer.state[network.conv_stem.weight]["step"]),
}))
"""


@pytest.mark.slow
def test_the_compiler_is_imported_when_something_is_compiled():
    found = subprocess.run(
        [sys.executable, "-c", STEPS], capture_output=True, text=True, check=True
    )
    said = json.loads(found.stdout)
    assert said["loaded"] == []
    assert not said["from_the_backend"]
    assert said["deterministic"] is True  # as it was asked for before the import
    assert not said["deferred"]
    assert said["file"].endswith("torch/_dynamo/__init__.py")
    assert said["same"]
    assert said["steps"] == 2
