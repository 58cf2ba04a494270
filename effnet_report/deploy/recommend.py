"""The command `effnet recommend`: the first page's answer, in the terminal."""

import json
import math
from collections.abc import Hashable, Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from effnet_core.errors import InputError
from effnet_report.inference import analysis, recipes


def tell_recommendation(study: str, as_json: bool, console: Console) -> None:
    """Print the first page's sentence and table."""
    analysed = analysis.load(study)
    if not analysed.evidence.finished:
        raise InputError(f"No run of {study} has finished. Start them: effnet sweep {study}")
    recommendation = recipes.best(analysed).recommendation
    table, sentences = recommendation.table, recommendation.sentences
    if as_json:
        content = {
            "study": analysed.evidence.reference,
            "sentences": sentences,
            "rule": recommendation.rule,
            "depths": table.astype(object).where(table.notna(), None).to_dict("records"),
        }
        print(json.dumps(content, indent=1, allow_nan=False))
        return
    for sentence in sentences:
        console.print(escape(sentence))
    shown = Table(
        "freeze",
        f"change of {recommendation.metric}, points",
        "CPU time saved, %",
        "memory saved, %",
    )
    for row in table.to_dict("records"):
        cells = [_with_interval(row, name) for name in ("change", "time", "memory")]
        shown.add_row(f"{row['freeze']:.0f}", *cells)
    console.print(shown)
    console.print(escape(recommendation.rule))


def _with_interval(row: Mapping[Hashable, float], name: str) -> str:
    """An effect with its interval, if there are seeds enough for one."""
    effect, low, high = (row[name], row[f"{name}_low"], row[f"{name}_high"])
    span = "no interval" if math.isnan(low) else f"{low:+.1f} to {high:+.1f}"
    return f"{effect:+.1f} ({span})"
