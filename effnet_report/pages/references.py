"""The page Sources and how to cite: everything that this report rests on."""

from importlib.metadata import metadata

from IPython.display import HTML
from markupsafe import Markup

from effnet_report.render.citations import references
from effnet_report.render.html import finding, link, paragraph


def answer() -> HTML:
    """How many sources there are."""
    return finding(
        f"This report rests on {len(references())} sources: the document that it repeats, data, "
        "weights, software and statistical methods."
    )


def citation() -> HTML:
    """How to cite this report, in its installed version."""
    about = metadata("effnet-report")
    return paragraph(
        [f"effnet-report contributors. How many stages to freeze? Version {about['Version']}."]
    )


def sources() -> HTML:
    """Every source with its link, its licence and what it is used for."""
    entries = Markup().join(
        Markup('<li id="{}">{}. {}. {}{} Used for {}.</li>').format(
            reference.key,
            reference.title,
            reference.where,
            Markup("{}. ").format(link(reference.link, reference.link)) if reference.link else "",
            f"Licence: {reference.licence}." if reference.licence else "",
            reference.used_for,
        )
        for reference in references().values()
    )
    return HTML(Markup('<ul class="report-sources">{}</ul>').format(entries))
