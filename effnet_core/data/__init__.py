"""Data sets by name, their fixed splits, and their images as arrays."""
