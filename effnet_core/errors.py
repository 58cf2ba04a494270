"""The exception for bad input, and remedies for errors of the operating system."""

import errno

REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Make the folder writable"),
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT), "Make room: free some space, or inodes (`df -h`, `df -i`)"
    ),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "Allow more open files: `ulimit -n 4096`"),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "Move the file away that is in its place"),
    errno.ENAMETOOLONG: "Choose a shorter name",
}


class InputError(Exception):
    """Bad input from the person who runs the tool.

    The message says what was wrong, where, and what to do. The command line prints it
    alone, without a traceback, and exits with status 1.
    """

    def _render_traceback_(self) -> list[str]:
        """Lines that a notebook shows instead of a traceback (an IPython convention)."""
        return [f"InputError: {self}"]


def cannot(what: str, error: OSError) -> InputError:
    """Turn an error of the operating system into one sentence with a remedy.

    Args:
        what: the action that failed, as in `write /folder/file`.
    """
    code = error.errno or 0
    remedy = REMEDIES.get(code, "Look at the path and at the disk")
    reason = (error.strerror or str(error)).rstrip(".")
    return InputError(f"Cannot {what}: {reason}. {remedy}, and start again.")
