"""Whether the notebooks of the runs are those of this version.

A record names the code that made it by a fingerprint, which does not cover the notebook. So a
forgotten edit would make records that look like all others.
"""

import hashlib
import json
from pathlib import Path

from effnet_core.errors import InputError

# sha256 of the code in each notebook: after a change that is meant, put here what `code_of` gives.
CODE = {
    "train.ipynb": "379ffa4502d3df5fad7282d6f64e011518b7e250d34cd6fce3a0a83eda4e04e8",
    "classical.ipynb": "750c28af768298f754bb5652ae9e6f2b172fd3f219fc2acf8cdba067a5f405d0",
}


def check_unedited(notebook: Path) -> None:
    """Make sure that a notebook of ours has the code of this version.

    Raises:
        InputError: its code was edited, or it is no notebook.
    """
    if code_of(notebook) != CODE[notebook.name]:
        raise InputError(
            f"The code in {notebook} was edited, and its records would look like those of others. "
            f"Restore it (git checkout {notebook}), or give your version another name."
        )


def code_of(notebook: Path) -> str:
    """sha256 of the code in a notebook, without the cell of its parameters.

    Raises:
        InputError: it is no notebook.
    """
    try:
        cells = json.loads(notebook.read_bytes())["cells"]
        code = [
            "".join(cell["source"])
            for cell in cells
            if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", [])
        ]
    except (OSError, ValueError, LookupError, TypeError):
        raise InputError(f"{notebook} is no notebook. Restore it with git.") from None
    return hashlib.sha256("\0".join(code).encode()).hexdigest()
