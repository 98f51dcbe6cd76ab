"""The one jinja environment of all reports: escaping on, and an error for every misspelt name."""

import functools

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from circuitkit.reports import numerals


@functools.cache
def environment() -> Environment:
    """Templates of this package with the number formats as filters."""
    made = Environment(
        loader=PackageLoader("circuitkit.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("fixed", "interval", "count", "share", "p_value"):
        made.filters[name] = getattr(numerals, name)
    return made


def verbatim(name: str) -> Markup:
    """A style sheet or script of the templates folder, to stand in a page as it is."""
    loader = environment().loader
    assert loader is not None
    return Markup(loader.get_source(environment(), name)[0])
