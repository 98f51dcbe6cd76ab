"""Templates: text with `{slot}` fields, filled so that the place of every mention stays known."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter

from circuitkit.core.errors import TaskError
from circuitkit.tasks.prompt import Span, span

Mention = tuple[str, int]
"""A slot and how often it has been named so far in the prompt; the first mention is 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A parsed template.

    Attributes:
        name: Prompts of one template have the same structure.
        pieces: Literal text, each piece followed by the mention that stands after it (None: nothing does).
    """

    name: str
    pieces: tuple[tuple[str, Mention | None], ...]

    @property
    def mentions(self) -> tuple[Mention, ...]:
        """Every mention of a slot, in the order of the text."""
        return tuple(mention for _, mention in self.pieces if mention is not None)

    def fill(
        self, values: Mapping[str, str], *, overrides: Mapping[Mention, str] | None = None
    ) -> tuple[str, dict[Mention, Span]]:
        """The text and the character span of every mention; `overrides` replace single mentions."""
        text = ""
        spans: dict[Mention, Span] = {}
        for literal, mention in self.pieces:
            text += literal
            if mention is not None:
                own = None if overrides is None else overrides.get(mention)
                value = values[mention[0]] if own is None else own
                spans[mention] = span(len(text), len(text) + len(value))
                text += value
        return text, spans


def parse_template(name: str, text: str) -> Template:
    """Read a template.

    Raises:
        TaskError: Braces do not match, or a field is not a plain slot name.
    """
    counts: Counter[str] = Counter()
    pieces: list[tuple[str, Mention | None]] = []
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise TaskError(
            f"Template {name!r} cannot be read ({error}); wanted {{slot}} fields. Double other braces."
        ) from error
    for literal, field, form, conversion in parsed:
        if field is None:
            pieces.append((literal, None))
            continue
        if not field.isidentifier() or form or conversion:
            raise TaskError(
                f"Template {name!r} has the field {{{field}}}; wanted a plain slot name such as {{noun}}. "
                f"Double other braces."
            )
        counts[field] += 1
        pieces.append((literal, (field, counts[field])))
    return Template(name=name, pieces=tuple(pieces))
