"""Importing the core: what it loads, and what it changes in its process."""

import json
import os
import subprocess
import sys

from effnet_core import paths, processor

SHOWS = {"matplotlib", "seaborn", "IPython", "papermill", "sphinx", "sklearn", "torch"}
IMPORTED = """
import json, os, sys
before = dict(os.environ)
import effnet_core
packages = {name.partition(".")[0] for name in sys.modules}
changed = [name for name in os.environ if os.environ[name] != before.get(name)]
print(json.dumps([sorted(packages), sorted(changed)]))
"""


def test_importing_the_core_loads_nothing_that_shows_and_sets_the_processor_only():
    alone = {name: v for name, v in os.environ.items() if name not in processor.PORTABLE}
    command = [sys.executable, "-c", IMPORTED]
    done = subprocess.run(command, cwd=paths.ROOT, env=alone, capture_output=True, check=True)
    packages, changed = json.loads(done.stdout)
    assert not SHOWS & set(packages)
    # Before NumPy is loaded, or it would not heed them: see `effnet_core/__init__.py`.
    assert set(changed) <= set(processor.PORTABLE)
