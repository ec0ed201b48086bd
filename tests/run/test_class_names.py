"""Class names as they are shown."""

import os
import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tiny_imagenet.callbacks.pictures import confusion_figure
from tiny_imagenet.errors import legible
from tiny_imagenet.run.class_names import drawable, first_synonym


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"caf\xe9", r"caf\xe9"),  # Latin-1
        (b"\xc3\xa8\xb9\xb7", r"è\xb9\xb7"),  # GBK, of which two bytes happen to be UTF-8
        ("café 猫 مرحبا".encode(), "café 猫 مرحبا"),
        ("👩‍🚀".encode(), "👩‍🚀"),  # joined by U+200D
        (b"$x^{2$ \\frac{", "$x^{2$ \\frac{"),
        (b"two\nlines\ttab", r"two\nlines\ttab"),
        (b"\x1b[31mred\x7f", r"\x1b[31mred\x7f"),
        ("\u202egnp.exe\u2028".encode(), r"\u202egnp.exe\u2028"),
    ],
)
def test_what_is_no_text_is_escaped(name, shown):
    assert legible(os.fsdecode(name)) == shown


def test_a_folder_s_name_has_no_synonyms():
    assert first_synonym("n01443537", "goldfish, Carassius auratus") == "goldfish"
    assert first_synonym("cat, black", "cat, black") == "cat, black"
    assert first_synonym("n02", ", odd") == ", odd"


def test_every_name_can_be_drawn_and_no_two_look_the_same():
    names = ["$\\frac{$", "a$b$c^", "猫", "犬", os.fsdecode(b"caf\xe9"), "two\nlines", "<script>"]
    assert [drawable(name) for name in names[2:5]] == [r"\u732b", r"\u72ac", r"caf\xe9"]
    figure = confusion_figure(np.eye(len(names), dtype=int), names, names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a missing glyph
        FigureCanvasAgg(figure).draw()
    ticks = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert ticks == ["$\\frac{$", "a$b$c^", r"\u732b", r"\u72ac", r"caf\xe9", r"two\nlines", "<script>"]


def test_a_character_that_the_font_has_is_drawn_as_it_is():
    text = "é ✓ Ω ß"
    assert drawable(text) == text
    figure = Figure()
    figure.text(0, 0, text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FigureCanvasAgg(figure).draw()
