"""The report: sweeps over studies, inference from their records, and the pages of the book."""
