"""What the reports need of how good a circuit is: the part `faithfulness` of `circuitkit.circuit/1`."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from circuitkit.reports.records import Interval, Record


def _as_measured(value: Any) -> Any:  # noqa: ANN401 - what pydantic hands over before it checks
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return {"mean": value} if plain else value


class Measured(Record):
    """A mean with its 95% interval; a result may also store the mean alone, as a plain number."""

    mean: float
    ci95: Interval | None = None


Number = Annotated[Measured, BeforeValidator(_as_measured)]


class Accuracy(Record):
    """Shares of prompts with the correct answer above the incorrect one; `top1`: above every other token."""

    model: float | None = None
    circuit: float | None = None
    model_top1: float | None = None
    circuit_top1: float | None = None


class Completeness(Record):
    """Gaps in logits between the circuit and the model when the same random parts are removed from both."""

    mean_difference: float
    max_difference: float | None = None
    n_subsets: int | None = None
    ci95: dict[str, Interval | None] = {}


class PartCost(Record):
    """What the circuit (`loss`) and the whole model (`drop`) lose without one part, in logits."""

    loss: float
    loss_ci95: Interval | None = None
    drop: float | None = None
    drop_ci95: Interval | None = None


class Minimality(Record):
    """Whether each part is needed; of a large circuit only some parts are measured."""

    n_parts: int
    n_not_needed: int | None = None
    parts: dict[str, PartCost]


class RandomOrders(Record):
    """Areas of circuits that grow in random orders."""

    cpr: tuple[float, ...] = ()
    cmd: tuple[float, ...] = ()


class CurveIntervals(Record):
    """95% intervals of a curve and of its areas."""

    faithfulness: tuple[Interval, ...] | None = None
    cpr: Interval | None = None
    cmd: Interval | None = None


class Curve(Record):
    """Faithfulness of circuits of growing size.

    Attributes:
        sizes: Shares of all parts, or numbers of parts.
        faithfulness: Of the highest scores first; None where faithfulness is not defined.
        faithfulness_by_magnitude: Of the highest absolute scores first.
        cpr: Area under the first.
        cmd: Distance of the second to 1.
        random: The same areas of random orders.
        ci95: Intervals.
    """

    sizes: tuple[float, ...] = Field(min_length=1)
    faithfulness: tuple[float, ...] | None = None
    faithfulness_by_magnitude: tuple[float, ...] | None = None
    cpr: float | None = None
    cmd: float | None = None
    random: RandomOrders | None = None
    ci95: CurveIntervals = CurveIntervals()

    @model_validator(mode="after")
    def _one_value_a_size(self) -> "Curve":
        for values in (self.faithfulness, self.faithfulness_by_magnitude, self.ci95.faithfulness):
            if values is not None and len(values) != len(self.sizes):
                raise ValueError(f"{len(self.sizes)} sizes but {len(values)} values of faithfulness")
        return self


def _as_completeness(value: Any) -> Any:  # noqa: ANN401 - what pydantic hands over before it checks
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return {"mean_difference": value} if plain else value


class Judgement(Record):
    """How good the circuit is. Logit differences are in logits, KL in nats, the rest are shares.

    `complement_share` is the faithfulness of the rest of the model, without the circuit.
    """

    model_logit_diff: Number
    circuit_logit_diff: Number
    corrupted_logit_diff: Number | None = None
    complement_logit_diff: Number | None = None
    faithfulness: Number | None = None
    complement_share: Number | None = None
    kl: Number | None = None
    accuracy: Accuracy = Accuracy()
    completeness: Annotated[Completeness | None, BeforeValidator(_as_completeness)] = None
    minimality: Minimality | None = None
    curve: Curve | None = None

    @model_validator(mode="before")
    @classmethod
    def _intervals_to_their_means(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic's protocol
        """Put each entry of `ci95` beside the plain number that it belongs to."""
        if not isinstance(data, Mapping):
            return data
        joined = {key: value for key, value in data.items() if value is not None}
        for name, bounds in (data.get("ci95") or {}).items():
            value = _as_measured(data.get(name))
            if isinstance(value, Mapping) and value.get("ci95") is None:
                joined[name] = {**value, "ci95": bounds}
        return joined
