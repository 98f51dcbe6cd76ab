"""The roles that heads are tested for: where each reads, what must follow from it, and who described it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from circuitkit.models.hooked_model import HookedModel
from circuitkit.roles import label_places, places, repeated_labels
from circuitkit.roles.places import Places, Side
from circuitkit.tasks.batch import PromptBatch

Circuit = Literal["qk", "ov"]
"""What is patched: where a head looks, or what it takes from there."""

Write = Literal["copies", "suppresses", "answer", "copied-answer", "indirect"]
"""What a head must write.

copies, suppresses: its OV circuit puts the tokens that it reads among the 5 most, or least, likely ones.
answer: its write at the answer position has the correct answer among the 5 most likely tokens.
copied-answer: the same of the token that the prompt holds: the correct answer or, in sequences, the last element.
indirect: less than half of its effect goes by the direct path to the logits; the rest goes through later components.
"""

PlacesOf = Callable[[HookedModel, PromptBatch, Side], Places]
"""From a model, a batch and a side to where a role reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What heads of one role do, as hypotheses that can be tested.

    Attributes:
        name: What it is called in results.
        title: The claim in one line.
        source: Who described it.
        places: From a model, a batch and a side to where the role reads.
        needs: What prompts must have for it.
        side: The prompts in which its attention is measured. What it causes is measured in the clean ones.
        rather_than: Where else the same queries might read, and must read less; None: nowhere in particular.
        attention: Whether the claim says where a head looks.
        causal: The patched circuits, one of which must matter; with two, p-values are doubled.
        helps: Whether patching must lower the logit difference; if not, it may change it either way.
        write: What it must write; None: the role says nothing about that.
        anywhere: Where it must read so in random text too, because the role is about tokens, not about the task; None:
            nowhere.
        implied_by: Roles of which this one is a part: a head that is claimed to have one of them is not listed with
            this one too, though its evidence is kept.
    """

    name: str
    title: str
    source: str
    places: PlacesOf
    needs: str
    side: Side = "clean"
    rather_than: PlacesOf | None = None
    attention: bool = True
    causal: tuple[Circuit, ...]
    helps: bool = True
    write: Write | None = None
    anywhere: PlacesOf | None = None
    implied_by: tuple[str, ...] = ()


_WANG = "Wang et al. 2023, Interpretability in the Wild, arXiv:2211.00593, section 3"
_OLSSON = "Olsson et al. 2022, In-context Learning and Induction Heads, arXiv:2209.11895"
_LAN = "Lan, Torr and Barez 2024, arXiv:2311.04131; Haskins and Adams 2026, Distilled Circuits, section 3.2.1"
_COLLECTED = "Hanna, Liu and Variengien 2023, arXiv:2305.00586; Stolfo, Belinkov and Sachan 2023, arXiv:2305.15054: \
heads bring numbers to the answer position, MLPs compute with them there"
_GOULD = "Gould et al. 2024, Successor Heads, arXiv:2312.09230; Distilled Circuits, Appendix J"
_SEQUENCE = "labelled elements of a sequence: a correct answer that is not in the prompt, and the last label's word as \
the incorrect one"

_ALL = (
    Role(
        name="previous-token",
        title="Every token reads the one before it",
        source=_OLSSON,
        places=places.previous_token,
        needs="two tokens of text",
        causal=("ov",),  # where it looks depends on positions alone, so that another text's pattern is the same
        anywhere=places.previous_token,
    ),
    Role(
        name="duplicate-token",
        title="A token reads its earlier occurrences",
        source=_WANG,
        places=repeated_labels.duplicate_token,
        needs="a token, or a labelled word, that occurs twice",
        causal=("qk", "ov"),
        anywhere=places.duplicate_token,
    ),
    Role(
        name="induction",
        title="A token reads what followed its earlier occurrences",
        source=f"{_OLSSON}; {_WANG}",
        places=repeated_labels.induction,
        needs="a token, or a labelled word, that occurs twice",
        causal=("qk", "ov"),
        anywhere=places.induction,
    ),
    Role(
        name="similar-member",
        title="Every element of a sequence reads those before it, whatever their order (corrupted prompts)",
        source=_LAN,
        places=label_places.elements_read_earlier,
        needs=f"corrupted prompts of the same form, and {_SEQUENCE}",
        side="corrupted",
        causal=("qk", "ov"),
    ),
    Role(
        name="numeral-detection",
        title="Every element of a sequence reads its predecessors",
        source=_LAN,
        places=label_places.elements_read_earlier,
        needs=_SEQUENCE,
        causal=("qk", "ov"),
    ),
    Role(
        name="name-mover",
        title="The answer position reads the correct answer, rather than the incorrect one, and copies it",
        source=_WANG,
        places=label_places.end_reads_answer,
        rather_than=label_places.end_reads_distractor,
        needs="a label on the correct answer",
        causal=("ov",),
        write="copies",
    ),
    Role(
        name="numeral-mover",
        title="The answer position reads the elements of a sequence and copies them",
        source=_LAN,
        places=label_places.end_reads_elements,
        needs=_SEQUENCE,
        causal=("ov",),
        write="copies",
    ),
    Role(
        name="numeral-collector",
        title="The answer position reads the elements of a sequence, of which later components make the answer",
        source=_COLLECTED,
        places=label_places.end_reads_elements,
        needs=_SEQUENCE,
        causal=("ov",),
        write="indirect",
        implied_by=("numeral-mover",),
    ),
    Role(
        name="s-inhibition",
        title="The answer position reads the last mention of the repeated distractor, for later heads",
        source=_WANG,
        places=label_places.end_reads_repeated,
        needs="two labels on the incorrect answer",
        causal=("ov",),
        write="indirect",
    ),
    Role(
        name="successor",
        title="The answer position reads the last element of a sequence, and its successor is written",
        source=_GOULD,
        places=label_places.end_reads_last_element,
        needs=_SEQUENCE,
        causal=("ov",),
        write="answer",
    ),
    Role(
        name="copy",
        title="What the head writes at the answer position is a word of the prompt: the answer, or the last element",
        source=_GOULD,
        places=label_places.end_reads_copied,
        needs=f"a label on the correct answer, or {_SEQUENCE}",
        attention=False,
        causal=("ov",),
        helps=False,
        write="copied-answer",
        implied_by=("name-mover", "numeral-mover"),
    ),
    Role(
        name="copy-suppression",
        title="The answer position reads labelled words and makes them less likely",
        source="McDougall et al. 2023, Copy Suppression, arXiv:2310.04625; Wang et al. 2023 (negative name movers)",
        places=label_places.end_reads_labels,
        needs="labels",
        causal=("ov",),
        helps=False,
        write="suppresses",
    ),
)

ROLES: Mapping[str, Role] = {role.name: role for role in _ALL}
"""Every role by its name."""
