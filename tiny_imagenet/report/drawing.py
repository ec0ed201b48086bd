"""Figures and photographs as image files, and a figure's legend as text, which a phone can show at a legible size."""

import base64
import io
from dataclasses import dataclass, field

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

DPI = 120
COLOURS = 256  # of a figure's file


@dataclass(frozen=True)
class Entry:
    """A line of a legend: its text and the mark before it, `line`, `dashed`, `block`, or none."""

    text: str
    mark: str
    colour: str


@dataclass(frozen=True)
class Drawn:
    """An image file, and what the page shows instead of it: the image without its legend, and the legend."""

    file: bytes
    extension: str
    source: str
    size: tuple[int, int]
    legend: list[Entry] = field(default_factory=list)

    @property
    def wide(self) -> bool:
        """Whether it needs the page's whole width."""
        return self.size[0] > 7.5 * DPI or self.extension == "jpg"


def drawn(content: Figure | Image.Image) -> Drawn:
    """Draw a figure as PNG; a photograph becomes JPEG, a fifth of the size."""
    if isinstance(content, Image.Image):
        file = _encoded(content, "JPEG", quality=88)
        return Drawn(file, "jpg", _source(file, "jpeg"), content.size)
    content.set_dpi(DPI)
    canvas = FigureCanvasAgg(content)
    canvas.draw()
    image = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")
    image = image.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    file = _encoded(image, "PNG")
    if not content.legends:
        return Drawn(file, "png", _source(file, "png"), image.size)
    legend = content.legends[0]
    above = image.height - int(legend.get_window_extent().y1)
    image = image.crop((0, 0, image.width, above))
    entries = [
        _entry(handle, text.get_text()) for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True)
    ]
    return Drawn(file, "png", _source(_encoded(image, "PNG"), "png"), image.size, entries)


def _entry(handle: Line2D, text: str) -> Entry:
    text = text.replace(r"\$", "$").strip()
    if not isinstance(handle, Line2D):
        return Entry(text, "block", to_hex(handle.get_facecolor()))
    if handle.get_linestyle() == "None":
        return Entry(text, "", "")
    return Entry(text, "dashed" if handle.get_linestyle() == "--" else "line", to_hex(handle.get_color()))


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def _source(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
