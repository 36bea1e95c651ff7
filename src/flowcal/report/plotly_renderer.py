"""How the book shows a plotly figure: drawn by the book's own copy of plotly.js, with caption and text alternative."""

import hashlib
import html
import json
from collections.abc import Sequence
from typing import Any

import plotly.io
from docutils import nodes
from myst_nb.core.render import MimeData, MimeRenderPlugin, NbElementRenderer

__all__ = ["PlotlyRenderer", "figure_html"]

MIME = "application/vnd.plotly.v1+json"


class PlotlyRenderer(MimeRenderPlugin):  # type: ignore[misc]  # myst-nb comes without types
    """Plugin of myst-nb that turns a figure's JSON, the notebook's own output, into HTML."""

    mime_priority_overrides = (("html", MIME, 1),)

    @staticmethod
    def handle_mime(renderer: NbElementRenderer, data: MimeData, inline: bool) -> Sequence[nodes.Element] | None:
        """The figure as a raw HTML node.

        Parameters
        ----------
        renderer : NbElementRenderer
        data : MimeData
        inline : bool

        Returns
        -------
        list of Element, or None
            None for every other kind of output.
        """
        if inline or data.mime_type != MIME:
            return None
        return [nodes.raw(text=figure_html(data.content), format="html")]


def figure_html(figure: dict[str, Any]) -> str:
    """The figure as an HTML figure element that needs no other script than the book's plotly.js.

    Parameters
    ----------
    figure : dict
        As plotly writes it to JSON, with 'caption' and 'alt' in its layout's meta.

    Returns
    -------
    str
    """
    meta = figure["layout"].get("meta", {})
    name = "plotly-" + hashlib.sha256(json.dumps(figure, sort_keys=True).encode()).hexdigest()[:12]
    drawn = plotly.io.to_html(
        {"data": figure["data"], "layout": figure["layout"]},
        include_plotlyjs=False,
        include_mathjax=False,
        full_html=False,
        div_id=name,
        config={"displaylogo": False, "responsive": True},
        validate=False,
    )
    alt = html.escape(meta.get("alt", ""), quote=True)
    caption = html.escape(meta.get("caption", ""))
    body = f'<div role="img" aria-label="{alt}">{drawn}</div><figcaption>{caption}</figcaption>'
    return f'<figure class="plotly-figure">{body}</figure>'
