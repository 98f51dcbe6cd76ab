"""Every number that decides what the battery's trained students become."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from circuitkit.experiments.battery.training import Course


@dataclass(frozen=True, slots=True, kw_only=True)
class BatteryRecipe:
    """How the students are made.

    Attributes:
        layers: Family -> teacher layer that each layer of a student of few layers starts from.
        initial_sd: Standard deviation of fresh weights: about 1 / sqrt(width) of the embedded models. With the
            families' own .02 models of this size stay at a guess between the two names for thousands of steps.
        shares: Share of each task among the rows that are learned from.
        n_rows: Rows of all words drawn, of which a course uses as many as it has steps for.
        n_first_rows: Rows of few words drawn.
        n_words: Words of each list in the rows of few words.
        courses: Key of a student -> how long and how fast it is trained.
        scan_prompts: Prompts on which heads are ablated to choose the one that is taken out or merged.
    """

    layers: Mapping[str, tuple[int, ...]] = field(
        default_factory=lambda: {"gpt2": (0, 2), "bert": (0, 3), "llama": (0, 2)}
    )
    initial_sd: float = 0.1
    shares: Mapping[str, float] = field(default_factory=lambda: {"ioi": 0.75, "numerals": 0.25})
    n_rows: int = 24000
    n_first_rows: int = 4000
    n_words: int = 24
    courses: Mapping[str, Course] = field(
        default_factory=lambda: {
            "distilled": Course(steps=120, learning_rate=1e-3, warmup=10),
            "distilled-random": Course(steps=1200, few_words=400),
            "labels": Course(steps=1200, few_words=400),
            "other-seed": Course(steps=1200, few_words=400, learning_rate=2e-3),
            "shortcut-ioi": Course(steps=200),
            "shortcut-numerals": Course(steps=1200, few_words=400),
            "ablated-healed": Course(steps=30, learning_rate=3e-4, warmup=5),
            "merged-healed": Course(steps=30, learning_rate=3e-4, warmup=5),
        }
    )
    scan_prompts: int = 48
