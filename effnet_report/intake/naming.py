"""Names for new studies."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from effnet_core.errors import InputError
from effnet_core.study.design import LONGEST_NAME, StudyName
from effnet_core.study.studies import PUBLISHED, study_names


def check_new_name(name: str) -> None:
    """Make sure that a new study can have this name.

    Raises:
        InputError: the name cannot be the name of a file, or another study has it. Capital
            letters make no difference, because some file systems ignore them.
    """
    try:
        TypeAdapter(StudyName).validate_python(name)
    except ValidationError:
        shown = repr(name) if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]!r} ..."
        raise InputError(
            f"{shown} cannot name a study. Start with a letter or digit, then use letters, digits, "
            f"-, _ and ., at most 100 characters and {LONGEST_NAME} bytes."
        ) from None
    if name.endswith((".yml", ".yaml")):
        raise InputError(f"{name!r} names a file. Leave its ending out: {Path(name).stem!r}.")
    for taken in [*study_names(), PUBLISHED]:
        if name.casefold() == taken.casefold():
            raise InputError(f"There is already a study {taken!r}. Choose another name.")
