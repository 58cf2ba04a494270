"""The number of files that this process and its children may open."""

import resource

from effnet_core.errors import InputError

WANTED, NEEDED_BY_A_RUN = 4096, 256


def check() -> None:
    """Make sure that a run can open the files it needs: sockets, libraries, arrays.

    Raises:
        InputError: the system allows too few open files per process.
    """
    allowed = allow_many()
    if allowed < NEEDED_BY_A_RUN:
        raise InputError(
            f"A process may open {allowed} files here, and a run opens up to "
            f"{NEEDED_BY_A_RUN}. Allow more: `ulimit -n {WANTED}`."
        )


def allow_many() -> int:
    """Raise the limit of open files as far as the system allows; child processes inherit it.

    Returns:
        The limit that now holds, at most `WANTED`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return WANTED if soft == resource.RLIM_INFINITY else soft
