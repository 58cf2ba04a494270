"""What other processors computed: the table of the page Reproducibility.

It stands apart from `processors`, which emulated processors import as well.
"""

import json

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core import paths
from effnet_report.render.html import paragraph, table


def show() -> HTML:
    """The table of the page Reproducibility."""
    path = paths.processors()
    if not path.is_file():
        command = Markup("Not measured yet. <code>make processors</code> does it.")
        return paragraph([command], "report-gap")
    measured = json.loads(path.read_text(encoding="utf-8"))
    compared = len(measured["hashes"])
    frame = pd.DataFrame(
        {
            "trained on": place["what"],
            "how": f"emulated: {place['emulated']}"
            if place["emulated"]
            else ", ".join(f"{name}={value}" for name, value in place["variables"].items()),
            "equal to the bit": f"{compared - len(place['different'])} of {compared}",
            "different": ", ".join(place["different"]) or "nothing",
        }
        for place in measured["places"]
    )
    same = sum(not place["different"] for place in measured["places"])
    return table(
        frame,
        "processors",
        finding=f"{same} of {len(frame)} other processors and environments gave the same bits.",
        caption=(
            f"Frozen activations and weights after {measured['steps']} steps of batch 4 on real "
            "images, every freeze depth with both heads at the small image size and two depths "
            f"at the large one, against {measured['machine']['processor']}. Emulated processors "
            "offer what the real ones do, so that libraries choose as they would there; "
            "arithmetic of an emulator follows the same standard, and its errors would show as "
            "differences."
        ),
    )
