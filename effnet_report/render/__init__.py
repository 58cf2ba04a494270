"""How a figure, a table and a sentence become HTML."""
