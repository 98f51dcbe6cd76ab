"""What the reports need of a saved result, checked when it is read: a broken run is named, not drawn."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError, ResultError

Interval = tuple[float, float]
ALIGNMENT, TABLE, INFLUENCE, CIRCUIT, SWEEP, COMPARISON = (
    "circuitkit.alignment/1",
    "circuitkit.alignment-table/1",
    "circuitkit.influence/1",
    "circuitkit.circuit/1",
    "circuitkit.circuit-sweep/1",
    "circuitkit.comparison/1",
)


def _component_name(text: str) -> str:
    try:
        Component.parse(text)
    except OptionError as error:
        raise ValueError(str(error)) from error
    return text


ComponentName = Annotated[str, AfterValidator(_component_name)]


class Record(BaseModel):
    """Reads a result or a part of it; keys that no figure uses are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


_Kind = TypeVar("_Kind", bound=Record)


def read_record(kind: type[_Kind], result: Mapping[str, Any]) -> _Kind:
    """Check a result and read what the reports need of it.

    Args:
        kind: What it should be.
        result: What `result.json` holds.

    Raises:
        ResultError: A key is missing or holds something else than it should.
    """
    try:
        return kind.model_validate(dict(result))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the result"
        what = first["msg"].removeprefix("Value error, ")
        raise ResultError(
            f"Result is broken at {where}: {what}; wanted {result.get('schema')}. Make the run again."
        ) from error


class Estimate(Record):
    """A mean logit difference, its 95% interval and the share of prompts answered correctly."""

    mean: float
    ci95: Interval | None = None
    accuracy: float | None = None


class Effect(Record):
    """What one component does: drop in logits (signed), normalised influence, and whether they were measured."""

    drop: float
    influence: float
    ci95: Interval | None = None
    drop_ci95: Interval | None = None
    exact: bool = True


Effects = Annotated[dict[ComponentName, Effect], Field(min_length=1)]


class ModelCard(Record):
    """Sizes and identity of one model."""

    name: str
    family: str
    n_layers: int = Field(ge=1)
    n_heads: int = Field(ge=1)
    d_model: int | None = None
    n_params: int | None = None
    weights_sha256: str | None = None
    revision: str | None = None


class DroppedPrompt(Record):
    """A prompt that was not used, and why."""

    index: int
    prompt: str
    reason: str


class TaskCard(Record):
    """The prompts that a result rests on."""

    name: str
    sha256: str | None = None
    n_prompts: int
    n_dropped: int = 0
    dropped: tuple[DroppedPrompt, ...] = ()


class TableRecord(Record):
    """`circuitkit.alignment-table/1`: one alignment result a task."""

    tasks: dict[str, dict[str, Any]] = Field(min_length=1)


class InfluenceRecord(Record):
    """`circuitkit.influence/1`."""

    model: ModelCard
    task: TaskCard
    settings: dict[str, Any]
    logit_diff: Estimate
    influence: Effects
    warnings: tuple[str, ...] = ()
