"""How the report writes a number, in text as in tables."""

import math

DASH = "\u2013"
MINUS = "\u2212"


def number(value: float, decimals: int = 1, *, sign: bool = False) -> str:
    """A number as the report shows it: with a real minus, or a dash where there is none."""
    if math.isnan(value):
        return DASH
    text = f"{value:z,.{decimals}f}"  # z: what rounds to zero has no minus
    plus = "+" if sign and float(text.replace(",", "")) > 0 else ""
    return plus + text.replace("-", MINUS)


def p_value(p: float) -> str:
    """A p-value as the report shows it: `0.012`, or `< 0.001` where no digit would be left."""
    return "< 0.001" if p < 0.0005 else number(p, 3)


def duration(seconds: float) -> str:
    """A time in words, such as `4.2 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
