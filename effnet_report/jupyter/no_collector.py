"""Turn Python's garbage collector off, as the first import of the parent of warm kernels.

Imports create a million objects and hardly any garbage, and the collector would spend a fifth of
the time scanning them. Each kernel turns it on again.
"""

import gc

gc.disable()
