"""What tables of runs have in common, ours and the source's: headings and leaders."""

import pandas as pd

HEADINGS = {"number": "no.", "freeze": "frozen stages", "scheduler": "schedule"}
QUALITY = {
    "accuracy": "accuracy, %",
    "precision": "macro precision, %",
    "recall": "macro recall, %",
}


def leaders(table: pd.DataFrame, column: str) -> str:
    """The configurations with the highest value; ties are common."""
    numbers = table.loc[table[column] == table[column].max(), "number"]
    return f"configuration{'s' if len(numbers) > 1 else ''} {', '.join(str(n) for n in numbers)}"
