"""Class names as they are shown: one of several synonyms, and as matplotlib can draw it."""

from functools import cache

from tiny_imagenet.errors import legible


def first_synonym(class_id: str, name: str) -> str:
    """goldfish of "goldfish, Carassius auratus". A name that is the id has no synonyms, but may have a comma."""
    return name if name == class_id else name.split(",")[0].strip() or name


def drawable(text: str) -> str:
    r"""Text in which what the font lacks is escaped (\u732b): otherwise all such characters are the same empty box."""
    return "".join(c if _has_glyph(c) else c.encode("unicode_escape").decode() for c in legible(text))


@cache
def _has_glyph(character: str) -> bool:
    from matplotlib.font_manager import FontProperties, findfont, get_font  # takes half a second

    return get_font(findfont(FontProperties())).get_char_index(ord(character)) != 0
