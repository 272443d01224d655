"""A matplotlib figure as SVG inside a page: text stays text, colors follow the light or dark scheme."""

import io
import re
from collections.abc import Mapping
from html import escape

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

_PROLOGUE = re.compile(r"\A.*?(?=<svg )", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)


def inline_svg(
    figure: Figure, name: str, colors: Mapping[str, str], titles: Mapping[str, str] | None = None
) -> str:
    """The figure as an `<svg>` element for a page.

    `name`, unique within the page, begins all ids in it. `colors` maps a color such as "#0072B2" to the CSS
    variable that takes its place, such as "--series-1"; the color itself is what a reader without the
    variable sees. `titles` maps the `gid` of an artist to the text shown when the pointer is on it. The
    element has no width or height, and fills its container.
    """
    FigureCanvasSVG(figure)
    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = _METADATA.sub("", _PROLOGUE.sub("", text.getvalue()))
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(|xlink:href=")#', rf"\1#{name}-", svg)
    for color, variable in colors.items():
        svg = re.sub(rf"(stroke|fill): {color}\b", rf"\1: var({variable}, {color})", svg, flags=re.IGNORECASE)
    for gid, title in (titles or {}).items():
        svg = svg.replace(f'<g id="{name}-{gid}">', f'<g id="{name}-{gid}"><title>{escape(title)}</title>', 1)
    return svg.strip()
