"""What the report needs of `circuitkit.patching/1`."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from circuitkit.reports.records import Estimate, Interval, ModelCard, Record, TaskCard

PATCHING = "circuitkit.patching/1"


class Gap(Record):
    """Clean minus corrupted logit difference, and whether it is clearly above zero."""

    mean: float
    ci95: Interval | None = None
    clear: bool


class PatchedSite(Record):
    """One row of the map."""

    name: str
    part: str
    layer: int = Field(ge=-1)


class PatchedPosition(Record):
    """One column of the map, and how many prompts have such tokens."""

    name: str
    n_prompts: int = Field(ge=1)


class PatchEffect(Record):
    """One cell of the map: logits, share of the gap, and times the mean of its layer."""

    effect: float
    ci95: Interval | None = None
    share: float | None = None
    share_ci95: Interval | None = None
    layer_ratio: float | None = None


class TopWord(Record):
    """A token that is most probable in some prompts."""

    text: str
    n_prompts: int


class LensStage(Record):
    """The answer read behind one block."""

    stage: str
    logit_diff: float
    median_rank: float
    top1: float
    top_words: tuple[TopWord, ...]


class Lens(Record):
    """The logit lens."""

    additive: bool
    stages: Annotated[tuple[LensStage, ...], Field(min_length=1)]


class PatchingRecord(Record):
    """`circuitkit.patching/1`; the last position is all tokens."""

    model: ModelCard
    task: TaskCard
    settings: dict[str, Any]
    direction: Literal["denoise", "noise"]
    logit_diff: Estimate
    corrupted_logit_diff: Estimate
    gap: Gap
    rows: Annotated[tuple[PatchedSite, ...], Field(min_length=1)]
    positions: Annotated[tuple[PatchedPosition, ...], Field(min_length=2)]
    effects: dict[str, dict[str, PatchEffect]]
    lens: Lens
    warnings: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _has_every_cell(self) -> "PatchingRecord":
        for row in self.rows:
            for position in self.positions:
                if position.name not in self.effects.get(row.name, {}):
                    raise ValueError(f"the effect of {row.name} at {position.name} is missing")
        return self

    @property
    def singles(self) -> tuple[str, ...]:
        """Names of the positions but the last, all tokens."""
        return tuple(position.name for position in self.positions[:-1])

    def strongest(self, row: str) -> tuple[str, PatchEffect]:
        """The single position at which a row does most, and what it does there."""
        return max(((name, self.effects[row][name]) for name in self.singles), key=lambda item: item[1].effect)
