"""What the reports need of `circuitkit.circuit/1`."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from circuitkit.core.component import Component
from circuitkit.core.edge import EdgeSpace, Receiver, Sender
from circuitkit.core.errors import OptionError
from circuitkit.reports.judgement_record import Judgement
from circuitkit.reports.records import ComponentName, ModelCard, Record, TaskCard


def _sender_name(text: str) -> str:
    try:
        Sender.parse(text)
    except OptionError as error:
        raise ValueError(str(error)) from error
    return text


def _receiver_name(text: str) -> str:
    try:
        Receiver.parse(text)
    except OptionError as error:
        raise ValueError(str(error)) from error
    return text


class NodeEffect(Record):
    """What a kept component does, in logits.

    Attributes:
        drop: Fall when it alone is ablated in the full model; None when that was not measured.
        loss: Fall when it is removed from the circuit; None when that was not measured.
    """

    drop: float | None = None
    loss: float | None = None


class KeptEdge(Record):
    """One kept edge; `effect` is None when it was not measured."""

    sender: Annotated[str, AfterValidator(_sender_name)]
    receiver: Annotated[str, AfterValidator(_receiver_name)]
    effect: float | None = None

    @property
    def reader(self) -> str:
        """The component that the receiver belongs to, or `logits`."""
        return self.receiver.split(".", maxsplit=1)[0]

    @property
    def kind(self) -> str:
        """`q`, `k`, `v`, `mlp` or `logits`."""
        receiver = Receiver.parse(self.receiver)
        return receiver.input or ("logits" if receiver.component is None else "mlp")


class Possible(Record):
    """How many components and edges the model has."""

    nodes: int = Field(ge=1)
    edges: int | None = None


class CircuitRecord(Record):
    """`circuitkit.circuit/1`; `faithfulness` is None where the circuit was not judged."""

    model: ModelCard
    task: TaskCard
    settings: dict[str, Any]
    method: str
    kind: Literal["nodes", "edges"]
    nodes: tuple[ComponentName, ...]
    node_effects: dict[ComponentName, NodeEffect] = {}
    edges: tuple[KeptEdge, ...] | None = None
    n_possible: Possible
    units: dict[str, str] = {}
    evaluations: int | None = None
    gradients: int | None = None
    faithfulness: Judgement | None
    warnings: tuple[str, ...] = ()

    def effect(self, name: str) -> NodeEffect:
        """Effects of one component, or none measured."""
        return self.node_effects.get(name, NodeEffect())

    @property
    def edge_unit(self) -> str:
        """Unit of the effects of edges: that of the metric the method used."""
        words = f"{self.units.get('effect', '')} {self.settings.get('metric', '')}".lower()
        if "probability" in words:
            return "probability"
        return "nats" if "kl" in words or "nats" in words else "logits"

    @model_validator(mode="after")
    def _parts_are_in_the_model(self) -> "CircuitRecord":
        if (self.kind == "edges") != (self.edges is not None):
            raise ValueError(f"a circuit of {self.kind} {'lacks its' if self.edges is None else 'has'} edges")
        model = self.model
        for name in (*self.nodes, *self.node_effects):
            part = Component.parse(name)
            if part.layer >= model.n_layers or (part.head or 0) >= model.n_heads:
                raise ValueError(f"{name} is not in a model of {model.n_layers} layers of {model.n_heads} heads")
        _refuse_twice(self.nodes, "component")
        if len(self.nodes) > self.n_possible.nodes:
            raise ValueError(f"{len(self.nodes)} components are kept of {self.n_possible.nodes}")
        self._check_edges(EdgeSpace(model.n_layers, model.n_heads))
        return self

    def _check_edges(self, space: EdgeSpace) -> None:
        edges = self.edges or ()
        for edge in edges:
            receiver, sender = Receiver.parse(edge.receiver), Sender.parse(edge.sender)
            column = space.sender_index.get(sender)
            if column is None or receiver not in space.receiver_index or column >= space.n_upstream(receiver):
                raise ValueError(f"{edge.sender} to {edge.receiver} is not an edge of this model")
        _refuse_twice([f"{edge.sender} to {edge.receiver}" for edge in edges], "edge")
        if self.n_possible.edges is not None and len(edges) > self.n_possible.edges:
            raise ValueError(f"{len(edges)} edges are kept of {self.n_possible.edges}")


def _refuse_twice(names: Sequence[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} {name} stands there twice")
        seen.add(name)
