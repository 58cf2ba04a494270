"""The one exception for bad input."""


class InputError(Exception):
    """Bad input from the person who runs the tool.

    The message says what was wrong, where, and what to do. The command line prints it
    alone, without a traceback, and exits with status 1.
    """

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback (an IPython convention)."""
        return [f"InputError: {self}"]
