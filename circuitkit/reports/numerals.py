"""Numbers as the reports write them: true minus signs, fixed digits, intervals in words."""

Interval = tuple[float, float]


def fixed(value: float, digits: int = 2) -> str:
    """A number with fixed digits, a true minus sign and no negative zero."""
    text = f"{value:.{digits}f}"
    if text.startswith("-"):
        text = text[1:] if float(text) == 0 else "\u2212" + text[1:]
    return text


def interval(bounds: Interval | None, digits: int = 2) -> str:
    """`0.45 to 0.53`, or an en dash when none was computed."""
    return "\u2013" if bounds is None else f"{fixed(bounds[0], digits)} to {fixed(bounds[1], digits)}"


def with_interval(value: float, bounds: Interval | None, digits: int = 2) -> str:
    """`0.49 (95% interval 0.45 to 0.53)`."""
    text = fixed(value, digits)
    return text if bounds is None else f"{text} (95% interval {interval(bounds, digits)})"


def count(value: int) -> str:
    """An integer with thin spaces between thousands, at which no line breaks."""
    return f"{value:,}".replace(",", "\u202f")


def p_value(p: float) -> str:
    """`p = 0.03`, and `p < 0.001` where three digits would print zero."""
    return "p\u00a0<\u00a00.001" if p < 0.0005 else f"p\u00a0=\u00a0{fixed(p, 3 if p < 0.095 else 2)}"


def share(value: float) -> str:
    """A share between 0 and 1 as a whole percentage."""
    return f"{fixed(100 * value, 0)}%"
