"""What the parent of warm kernels does before it imports anything else.

Imports create a million objects and hardly any garbage, and the garbage collector would spend a
fifth of the time scanning them. Each kernel turns it on again. Ctrl-C in the terminal concerns the
command that waits for the parent, and would end the imports in a traceback.
"""

import gc
import signal

gc.disable()
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked while the parent was started
