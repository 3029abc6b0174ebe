"""A page of HTML that loads nothing from elsewhere, and how it is written."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from tempovla.report.markup import Markup, element, join
from tempovla.storage.lock import holding
from tempovla.storage.whole import write_text


def write_page(page: str, out: Path) -> Path:
    """Write a page such that the file is at every moment the old or the new one; returns `out`.

    Raises:
        ValueError: if somebody else writes it now.
        NotWrittenError: if the disk does not take it.
    """
    with holding(out, "writes the report", remedy="let it end, or give another file"):
        write_text(out, page)
    return out


def document(title: str, *body: Markup) -> str:
    """Return a page that loads nothing from elsewhere."""
    style = files("tempovla.report").joinpath("style.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(style)),
    )
    return join(Markup("<!doctype html>\n"), element("html", head, element("body", *body), lang="en"))


def facts_column(title: str, facts: Mapping[str, str]) -> Markup:
    """Return names and values below a heading."""
    if not facts:
        listed = element("p", "Not recorded.", class_="missing")
    else:
        listed = element("dl", *[join(element("dt", name), element("dd", text)) for name, text in facts.items()])
    return element("div", element("h3", title), listed)
