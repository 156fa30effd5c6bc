"""HTML as a type: text is escaped when it enters a tag, markup is not."""

from __future__ import annotations

import html
from collections.abc import Iterable


class Html(str):
    """Text that is HTML already. Only this module and constants in the code make it.

    Adding a plain string gives a plain string again, which the next ``tag`` escapes: a mistake
    shows as visible markup and never as markup that runs.
    """

    __slots__ = ()


def escape(text: str) -> Html:
    """Text as HTML; ``Html`` is returned as it is.

    What UTF-8 cannot hold (half surrogates of undecodable file names) is shown as an escape.
    """
    if isinstance(text, Html):
        return text
    return Html(html.escape(text.encode("utf-8", "backslashreplace").decode(), quote=True))


def joined(parts: Iterable[str]) -> Html:
    """The parts one after another, escaped where they are text."""
    return Html("".join(escape(part) for part in parts))


def tag(name: str, *content: str, **attributes: str | float) -> Html:
    """An element.

    Args:
        name: element name, from code and never from data.
        content: children; text is escaped.
        attributes: values are escaped, numbers keep one decimal; an underscore in a name becomes a
            dash, one at the end is dropped.

    Example:
        >>> tag("td", "a < b", class_="text")
        '<td class="text">a &lt; b</td>'
    """
    written = joined(
        Html(f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"')
        for key, value in attributes.items()
    )
    return Html(f"<{name}{written}>{joined(content)}</{name}>")


def _attribute(value: str | float) -> str:
    if isinstance(value, str):
        return escape(str(value))
    return f"{value:.1f}".removesuffix(".0")
