"""Sources: how they are cited on a page, and what is known of the data sets that come along."""

import json
from functools import cache

from markupsafe import Markup
from pydantic import BaseModel

from effnet_core import paths
from effnet_core.study.design import Protocol
from effnet_report.render.html import link

FOLDER = paths.BOOK / "data"
PAGE = "references.html"


class Reference(BaseModel):
    """A source.

    Attributes:
        short: as it is cited.
        title: with its authors.
        where: it appeared, and when.
        used_for: what this report takes from it.
    """

    key: str
    short: str
    title: str
    where: str
    link: str
    licence: str
    used_for: str


class About(BaseModel):
    """A data set in plain words.

    Attributes:
        name: in a sentence, as in `on solar cells`.
        images: what they are.
        classes: plain names of its classes, where their own are not plain.
        rule: how an image got its class.
        credit: key of its source; empty for a reader's own images.
    """

    name: str
    images: str
    classes: dict[str, str]
    rule: str
    credit: str
    licence: str

    def plain(self, label: str) -> str:
        """A class in plain words."""
        return self.classes.get(label, label)

    @property
    def credits(self) -> Markup:
        """Source and licence, to stand beside every picture; empty for a reader's own images."""
        if not self.credit:
            return Markup()
        return Markup(" Images: {}, {}.").format(cite(self.credit), self.licence)


@cache
def references() -> dict[str, Reference]:
    """All sources by key, in the order of the page."""
    content = json.loads((FOLDER / "references.json").read_text(encoding="utf-8"))
    return {entry["key"]: Reference.model_validate(entry) for entry in content}


def cite(key: str) -> Markup:
    """A link to a source, as in `Holm 1979`."""
    return Markup(link(f"{PAGE}#{key}", references()[key].short))


def about(protocol: Protocol, title: str) -> About:
    """A study's data set in plain words.

    Args:
        protocol: names the data set.
        title: of the study, which names a reader's own images.
    """
    known = json.loads((FOLDER / "datasets.json").read_text(encoding="utf-8"))
    if protocol.dataset in known:
        return About.model_validate(known[protocol.dataset])
    rule = "An image has the class of its folder, or of its row in the table of labels."
    return About(name=title, images=title, classes={}, rule=rule, credit="", licence="")
