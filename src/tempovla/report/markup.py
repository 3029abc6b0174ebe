"""HTML and SVG as nested calls: text is escaped unless it is already markup."""

from __future__ import annotations

from html import escape

VOID = {"br", "hr", "img", "meta", "source"}


class Markup(str):
    """Text that is already HTML and must not be escaped again."""

    __slots__ = ()


Child = str | int | float | None


def element(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """Return one element. Children that are not `Markup` are escaped; None is left out.

    Attribute names lose a trailing underscore (`class_`) and turn inner ones into hyphens (`stroke_width`); True writes
    the bare name, False and None leave the attribute out.
    """
    written = []
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            written.append(f" {key}")
        elif value is not None and value is not False:
            written.append(f' {key}="{escape(str(value))}"')
    opening = f"<{name}{''.join(written)}>"
    return Markup(opening if name in VOID else f"{opening}{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """Return siblings one after another, escaped by the rule of `element`."""
    return Markup("".join(_text(child) for child in children))


def _text(child: Child) -> str:
    if child is None:
        return ""
    return child if isinstance(child, Markup) else escape(str(child))
