"""What `effnet verify` prints."""

import os

from rich.console import Console
from rich.markup import escape

from effnet_core import files, paths
from effnet_core.study.studies import PUBLISHED
from effnet_report.evidence import locations
from effnet_report.evidence.loader import load_design
from effnet_report.publishing import verify as verification


def tell_verification(
    study: str,
    console: Console,
    *,
    run: list[str],
    sample: int | None,
    jobs: int,
    strict: bool,
    publish: bool,
) -> bool:
    """Repeat runs of a study, and print how they compare with their records.

    Args:
        study: a folder of `results/`, such as `quick` or `published/quick`.
        run: names of runs; all if there is none.
        sample: number of runs to draw, if not all are repeated.
        jobs: number of parallel repetitions.
        strict: whether only equal runs with plausible times pass.
        publish: whether the report shows the result of a published study.

    Returns:
        Whether the runs pass.

    Raises:
        InputError: no such study or run, or the result cannot be written.
    """

    def line(compared: verification.Comparison) -> None:
        console.print(f"{compared.run_id}: {compared.verdict}")
        for difference in compared.origin:
            console.print(f"  different before the start: {escape(difference)}")
        if compared.seconds:
            recorded, again = compared.seconds
            ratio = recorded / max(again, 0.01)
            console.print(
                f"  training took {again:.1f} CPU seconds, {recorded:.1f} recorded "
                f"(ratio {ratio:.2f})"
            )

    # A reader's verification changes no file in git.
    readers = study.startswith(f"{PUBLISHED}/") and not publish
    output = locations.verified_here(study) if readers else verification.here(study)
    load_design(study)
    files.check_writable(output.parent)
    compared = verification.verify(
        study, run, sample, line, console.print, output=output, jobs=jobs
    )
    where = os.path.relpath(output, paths.ROOT)
    console.print(f"{verification.summary(compared)} Details: {escape(where)}")
    doubtful = verification.implausible(compared)
    for comparison in doubtful:
        console.print(
            f"{comparison.run_id}: its recorded training time does not fit the others: it "
            f"differs by more than a factor of {verification.PLAUSIBLE:g}."
        )
    agreements = {comparison.agreement for comparison in compared}
    return not ("different" in agreements or (strict and (agreements != {"equal"} or doubtful)))
