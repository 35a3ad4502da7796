"""The shell of every page: one layout, one style, one policy, and one environment that disarms what it prints.

A page is one HTML file that opens anywhere and asks the network for nothing. Its template extends `page.html.j2`, which
writes head, content security policy, header, facts and footer. What a page prints may come from a model, a data file
or a person: jinja2 escapes it and names its invisible characters, so that no template can forget to.
"""

import base64
import hashlib
import re
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from withstand.core.text import DASH, clock, facts, interval, percent, short, visible, whole

HERE = Path(__file__).parent


def render(template: Path, **values: Any) -> str:
    """The page that a template makes of these values."""
    page: str = environment(template.parent).get_template(template.name).render(values)
    return page.lstrip()


@cache
def environment(folder: Path = HERE) -> Environment:
    """Templates of `folder` and of the shell. Every value that is not `Markup` is made visible, then escaped."""
    jinja = Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else visible(value),
    )
    jinja.filters.update(percent=percent, interval=interval, whole=whole, short=short, clock=clock)
    jinja.filters.update(facts=facts, prose=_prose, csp_hash=_csp_hash)
    jinja.globals["version"] = metadata.version("withstand")
    return jinja


def style() -> str:
    """The style of the report, for the explorer."""
    return "".join(environment().get_template(name).render() for name in ("page.css", "report.css", "monitor.css"))


def _csp_hash(text: Markup) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _prose(text: Any) -> Markup:
    """`text` escaped, with code between backticks and no line break inside a rate."""
    safe = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(visible(text))))
    return Markup(re.sub(rf"(?:ASR |&[lg]t;)?[0-9.]+(?:{DASH}[0-9.]+)? ?%", r'<span class="nowrap">\g<0></span>', safe))
