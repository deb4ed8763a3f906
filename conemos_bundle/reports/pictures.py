"""Pictures inside a page: PNG as data URIs, with few colors, and no more of them than a page holds."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

MOST_LETTERS = 2_000_000  # of all pictures of a page, which shall stay below 3 MB
_GRAYS, _COLORS = 96, 96
_WIDTHS = (1100, 900, 740, 600, 480)  # pixels


def data_uri(picture: Image.Image) -> Markup:
    """A picture as the address of an ``img``: markup, since a page may show it as it is.

    Example::

        >>> print(data_uri(Image.new("L", (2, 2)))[:30])
        data:image/png;base64,iVBORw0K
    """
    stream = io.BytesIO()
    picture = picture.convert("RGB")
    # few pixels are of an outline: those that cover most of the colors, not those of most pixels
    colors = picture.quantize(_COLORS, Image.Quantize.MAXCOVERAGE).getpalette()
    palette = Image.new("P", (1, 1))
    palette.putpalette([*np.repeat(np.linspace(0, 255, _GRAYS).round().astype(int), 3).tolist(), *(colors or [])])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(stream, format="PNG", optimize=True)
    letters = base64.b64encode(stream.getvalue()).decode()  # no quotes, no brackets
    return Markup(f"data:image/png;base64,{letters}")  # noqa: S704


def figure_picture(figure: Figure) -> Image.Image:
    """What Matplotlib has drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.frombytes("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba())).convert("RGB")


def embed(files: Mapping[str, Path], most_letters: int = MOST_LETTERS) -> dict[str, Markup]:
    """Picture files as data URIs, made smaller until they fit; where even small ones do not, the last are left out.

    Args:
        files: by their titles; each can be read.
        most_letters: of all of them.
    """
    found: dict[str, Markup] = {}
    for width in _WIDTHS:
        found = {}
        for title, file in files.items():
            with Image.open(file) as picture:
                # palettes and alpha have no values in between
                small = picture.convert("RGB")
            small.thumbnail((width, 4 * width), Image.Resampling.LANCZOS)
            found[title] = data_uri(small)
            if sum(map(len, found.values())) > most_letters:
                del found[title]
                break
        else:
            return found
    return found
