"""One run, from an image file to its record."""

from effnet_core import processor

# Before NumPy is imported, which would otherwise have chosen its instructions already.
processor.set_portable()
