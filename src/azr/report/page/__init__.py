"""The report's page: one HTML file that needs nothing else, shows what was written and runs none of it.

Whatever a model wrote reaches the page as JSON and is put on the screen by `textContent`. Even if that were forgotten
somewhere, the page's own policy lets the browser run two scripts only, those named by their digests, and load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from azr import __version__

SCRIPTS = ("data", "charts", "figures", "overview", "curriculum", "tree", "task", "ledger", "evals", "main")
"""Of `page/js`, in the order in which they are joined into one module."""


def render(data: Mapping[str, Any], *, live: str | None = None) -> str:
    """The page.

    Args:
        data: of `azr.report.build.page_data`.
        live: address, on the server that the page comes from, of the same data as JSON; the page asks for it every few
            seconds and draws itself anew. None for a file, which asks for nothing.
    """
    title = ", ".join([run["name"] for run in data["runs"]] or [found["name"] for found in data["evals"]])
    environment = Environment(loader=PackageLoader("azr.report", "page"), autoescape=True, undefined=StrictUndefined)
    library, script = charts_library(), _script()
    return environment.get_template("report.html.jinja").render(
        title=title,
        version=__version__,
        live=live or "",
        policy=_policy(library, script, live),
        style=Markup(_text("report.css")),
        data=Markup(for_script(data)),
        library=Markup(library),
        script=Markup(script),
    )


def for_script(data: Any) -> str:
    """JSON that stands within a script element: nothing in it can end the element, or begin a comment."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, default=list)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def charts_library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, which the package vl-convert-python ships."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


@cache
def _script() -> str:
    return "\n".join(_text(f"js/{name}.js") for name in SCRIPTS)


def _text(name: str) -> str:
    return resources.files("azr.report").joinpath("page", name).read_text(encoding="utf-8")


def _policy(library: str, script: str, live: str | None) -> str:
    """Content Security Policy: these two scripts, no others; no address but, for a live page, its own server's."""
    connect = "'self'" if live else "'none'"
    scripts = f"{_digest(library)} {_digest(script)}"
    return f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data:; connect-src {connect}"


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'"
