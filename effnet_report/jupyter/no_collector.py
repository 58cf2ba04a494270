"""The first that the parent of warm kernels imports: it turns Python's garbage collector off.

Importing makes a million objects and hardly any garbage. The collector looks through them again
and again, for a fifth of the time. A kernel turns it on again.
"""

import gc

gc.disable()
