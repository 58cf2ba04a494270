"""The report: sweeps over studies, inference from their records, and the pages of the book."""

import effnet_core

# Its code decides the records of classical models.
effnet_core.add_sources("effnet_report/baseline")
