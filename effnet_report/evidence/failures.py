"""Notes about failed runs, beside the records; a later success deletes the note."""

import json

from effnet_core import files, paths
from effnet_core.study.records import failure_path
from effnet_report.escaping import printable


def save(study: str, run_id: str, error: str, notebook: str) -> None:
    """Write a note that a run failed."""
    content = {"run_id": run_id, "error": error, "notebook": notebook}
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    files.write(failure_path(study, run_id), text.encode())


def load(study: str) -> dict[str, str]:
    """Error message of each failed run of a study, by run id; both can be printed."""
    failures = {}
    for path in sorted(paths.records(study).glob("*.failed.json")):
        try:
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
            error = json.loads(text)["error"]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            error = None
        message = error if isinstance(error, str) else f"{path} is damaged. Delete it."
        failures[printable(path.name.removesuffix(".failed.json"))] = printable(message)
    return failures
