"""File names are bytes and need not be UTF-8; what we write must be."""


def printable(text: str) -> str:
    r"""The text with what UTF-8 cannot hold written out as `\udcXX`.

    Python reads a byte of a file name or an argument that is not UTF-8 as a lone surrogate, which cannot be
    written. Written out inside JSON it is still the same string when read back.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shown_token(text: str) -> str:
    """A token as a table shows it: without the blanks around it, or quoted where nothing else would be seen of it."""
    bare = text.strip()
    return bare if bare and bare.isprintable() else repr(text)
