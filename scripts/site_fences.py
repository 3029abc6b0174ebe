"""A hook of mkdocs: it shows code blocks whose mark is for the tests alone, such as `python notest`, without it.

The site's parser takes a block with such a mark for text, and all that follows it for code.
"""

from __future__ import annotations

import re
from typing import Any

MARKED = re.compile(r"^```(python|bash) (?:notest|sim|libero)$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the page without the marks."""
    return MARKED.sub(r"```\1", markdown)
