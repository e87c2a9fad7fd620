"""The report's page: one self-contained HTML file that shows model output without running any of it.

Model output reaches the page as JSON and is shown by `textContent`. As a second barrier, the page's Content Security
Policy allows only two scripts, by their digests, and no other resources.
"""

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

SCRIPTS = (
    "data",
    "links",
    "charts",
    "figures",
    "overview",
    "curriculum",
    "tree",
    "task",
    "ledger",
    "evals",
    "sweep",
    "main",
)
"""Files of `page/js`, in the order in which they are joined into one module."""


def render(data: Mapping[str, Any], *, live: str | None = None) -> str:
    """The page with the data of `azr.report.build.page_data`.

    With a sweep under `sweep` instead, it is a sweep's. `live` is the path of the same data on the page's server, which
    the page polls to redraw itself; None for a file.
    """
    shown = data["runs"] or data["evals"] or [data["sweep"]]
    title = ", ".join(one["name"] for one in shown)
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
    """JSON for a script element: nothing in it can end the element or start a comment."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, default=list)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def charts_library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, from the package vl-convert-python."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


@cache
def _script() -> str:
    return "\n".join(_text(f"js/{name}.js") for name in SCRIPTS)


def _text(name: str) -> str:
    return resources.files("azr.report").joinpath("page", name).read_text(encoding="utf-8")


def _policy(library: str, script: str, live: str | None) -> str:
    """Content Security Policy: only these two scripts, and no connections except a live page's to its own server."""
    connect = "'self'" if live else "'none'"
    scripts = f"{_digest(library)} {_digest(script)}"
    return f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data:; connect-src {connect}"


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'"
