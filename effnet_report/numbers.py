"""Format numbers for text and tables of the report."""

import math

DASH = "\u2013"
MINUS = "\u2212"


def number(value: float, decimals: int = 1, *, sign: bool = False) -> str:
    """Format a number with a true minus sign; a missing number becomes a dash."""
    if math.isnan(value):
        return DASH
    text = f"{value:z,.{decimals}f}"  # z: numbers that round to zero have no minus
    plus = "+" if sign and float(text.replace(",", "")) > 0 else ""
    return plus + text.replace("-", MINUS)


def p_value(p: float) -> str:
    """Format a p-value, such as `0.012`, or `< 0.001` below three digits."""
    return "< 0.001" if p < 0.0005 else number(p, 3)


def duration(seconds: float) -> str:
    """Format a time in words, such as `4.2 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
