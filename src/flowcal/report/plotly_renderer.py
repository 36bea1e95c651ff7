"""How the book shows a plotly figure: drawn by the book's own copy of plotly.js, with caption and text alternative."""

import html
import json
from collections.abc import Sequence
from typing import Any

from docutils import nodes
from myst_nb.core.render import MimeData, MimeRenderPlugin, NbElementRenderer

__all__ = ["PlotlyRenderer", "figure_html"]

MIME = "application/vnd.plotly.v1+json"
HEIGHT = 450  # pixels, plotly's own


class PlotlyRenderer(MimeRenderPlugin):  # type: ignore[misc]  # myst-nb comes without types
    """Plugin of myst-nb that turns a figure's JSON, the notebook's own output, into HTML."""

    mime_priority_overrides = tuple((builder, MIME, 1) for builder in ("html", "singlehtml"))

    @staticmethod
    def handle_mime(renderer: NbElementRenderer, data: MimeData, inline: bool) -> Sequence[nodes.Element] | None:
        """The figure as a raw HTML node; None for every other kind of output."""
        if inline or data.mime_type != MIME:
            return None
        return [nodes.raw(text=figure_html(data.content), format="html")]


def figure_html(figure: dict[str, Any]) -> str:
    """A figure's JSON as an HTML element with its caption and text alternative, drawn by the book's `figures.js`."""
    layout = figure["layout"]
    meta = layout.get("meta", {})
    alt, caption = (html.escape(meta.get(part, "")) for part in ("alt", "caption"))
    drawn = json.dumps({"data": figure["data"], "layout": layout}).replace("<", r"\u003c")  # no tag ends the script
    return (
        f'<figure class="plotly-figure" aria-label="{alt}">'
        f'<div class="plotly-graph-div" style="height: {layout.get("height", HEIGHT)}px"></div>'
        f'<script type="application/json">{drawn}</script>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
