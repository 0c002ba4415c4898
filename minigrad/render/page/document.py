"""One HTML file with everything in it: style, script and data; no server and no network.

Text of users reaches the page as JSON in an inert script element, `<` escaped, and the DOM through
textContent alone. A content security policy lets only this page's own script run, by its hash, and
lets nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..output import write_picture

SCRIPTS = ("layout.js", "route.js", "draw.js", "panel.js", "record.js", "page.js", "keys.js")
_UNSAFE: dict[str, str | int | None] = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


@dataclass(frozen=True)
class Page:
    """A finished page: ``html`` is the whole file; a notebook shows it inline."""

    html: str
    height: int = 760

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file; one of that name is replaced whole. GraphError if it cannot be."""
        write_picture(path, self.html.encode("utf-8"), "explore")

    def _repr_html_(self) -> str:
        """An iframe, so that the page's style and keys stay its own."""
        return (
            f'<iframe srcdoc="{html.escape(self.html, quote=True)}" title="minigrad" '
            f'sandbox="allow-scripts" allow="fullscreen" '
            f'style="width:100%;height:{self.height}px;border:1px solid #8884;border-radius:8px">'
            "</iframe>"
        )


def document(data: Mapping[str, Any], title: str) -> str:
    """The file's text."""
    style = asset("page.css")
    script = '"use strict";\n' + "\n".join(asset(name) for name in SCRIPTS)
    parts = {
        "TITLE": html.escape(_visible(title)),
        "POLICY": f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src 'unsafe-inline'; script-src '{_digest(script)}'",
        "STYLE": style,
        "DATA": json_text(data),
        "SCRIPT": script,
    }
    pieces = asset("page.html").split("%%")  # text, name, text, name, ...: nothing is rescanned
    return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def json_text(data: Any) -> str:
    """JSON that is safe inside a script element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # A lone surrogate is a legal Python string and no legal UTF-8.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text.translate(str.maketrans(_UNSAFE))


def asset(name: str) -> str:
    """A file of the package's assets."""
    from importlib import resources

    return resources.files(__package__).joinpath("assets", name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
