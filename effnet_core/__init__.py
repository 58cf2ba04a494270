"""One run, from an image file to its record."""
