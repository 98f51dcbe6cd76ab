"""A circuit: the heads and MLPs, or the edges between them, that a search kept, and how good they are."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import pandas as pd
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.edge import Edge, EdgeSpace
from circuitkit.core.errors import ResultError
from circuitkit.core.run_directory import load_run, save_run
from circuitkit.discovery.circuit_parts import CircuitKind, PartSpace
from circuitkit.models.info import ModelInfo

SCHEMA = "circuitkit.circuit/1"
_READ = (
    *("model", "task", "method", "kind", "node_effects", "faithfulness", "units", "evaluations"),
    *("settings", "warnings"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEffect:
    """What a head or MLP of a circuit is worth.

    Attributes:
        drop: Fall of the model's logit difference when it alone is ablated, in logits; None where not measured.
        loss: Fall of the circuit's logit difference when it is removed from the circuit; None where not measured.
    """

    drop: float | None = None
    loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Circuit:
    """What a discovery method found in one model on one task.

    Attributes:
        model: The model.
        task: Name, hash and prompt counts of the task.
        method: The method that found it.
        kind: Whether nodes or edges were searched; a circuit of nodes keeps everything that they write.
        kept: The edges kept, in the order of `EdgeSpace`.
        edge_effects: Effect of every edge as the method measured or estimated it, positive where the edge helps; 0
            where it did not look. None for methods that search nodes.
        node_effects: What the circuit's heads and MLPs are worth.
        faithfulness: How good it is (see `Judgement`); None where it was not judged.
        units: What an effect and a drop are, in words.
        evaluations: How many circuits the search ran; 0 where it ran none.
        settings: Every option of the search.
        made_with: Versions, device, dtype and command.
        notices: Plain facts that a reader must see.
        gradients: How many gradients of each prompt the search took; None for methods that take none.
    """

    model: ModelInfo
    task: Mapping[str, Any]
    method: str
    kind: CircuitKind
    kept: Bool[Tensor, "receiver sender"]
    edge_effects: Float[Tensor, "receiver sender"] | None
    node_effects: Mapping[Component, NodeEffect]
    faithfulness: Mapping[str, Any] | None
    units: Mapping[str, str]
    evaluations: int
    settings: Mapping[str, Any]
    made_with: Mapping[str, Any]
    notices: tuple[str, ...]
    gradients: int | None = None

    @property
    def space(self) -> EdgeSpace:
        """Order of senders and receivers."""
        return EdgeSpace(self.model.n_layers, self.model.n_heads)

    @property
    def nodes(self) -> tuple[Component, ...]:
        """The heads and MLPs kept, in the order in which they are computed.

        In a circuit of edges these are the ones with a kept edge in and a kept edge out.
        """
        parts = PartSpace(space=self.space, kind=self.kind)
        inside = set(parts.components_in(self.kept))
        return tuple(s.component for s in self.space.senders if s.component is not None and s.component in inside)

    @property
    def edges(self) -> dict[Edge, float] | None:
        """The edges kept, with their effects; None in a circuit of nodes."""
        if self.edge_effects is None:
            return None
        space = self.space
        return {
            edge: self.edge_effects[space.receiver_index[edge.receiver], space.sender_index[edge.sender]].item()
            for edge in space.edges(self.kept)
        }

    @property
    def graph(self) -> "nx.MultiDiGraph[str]":
        """The circuit as a graph: components as nodes, `embed` and `logits`, and one edge for each input that reads.

        Nodes carry `layer`, `drop` and `loss`; edges `input` (q, k, v, mlp or logits) and `effect`. In a circuit of
        nodes everyone reads all before it, so that edges stand for paths and have no effect of their own.
        """
        graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        graph.add_node("embed", layer=-1)
        for node in self.nodes:
            graph.add_node(str(node), layer=node.layer, **asdict(self.node_effects.get(node, NodeEffect())))
        graph.add_node("logits", layer=self.model.n_layers)
        effects = self.edges
        inside = self.kept & self.space.between(self.nodes)
        for edge in self.space.edges(inside):
            reader = edge.receiver.component
            name = edge.receiver.input or ("logits" if reader is None else "mlp")
            target = "logits" if reader is None else str(reader)
            effect = None if effects is None else effects[edge]
            graph.add_edge(str(edge.sender), target, key=name, input=name, effect=effect)
        return graph

    def layout(self) -> dict[str, tuple[float, float]]:
        """Where to draw the graph's nodes: blocks from bottom to top, heads from left to right, the MLP on the right.

        `networkx.draw(circuit.graph, circuit.layout())` draws it.
        """
        width, top = self.model.n_heads, 2.0 * self.model.n_layers
        places = {"embed": (width / 2, -1.0), "logits": (width / 2, top)}
        for node in self.nodes:
            is_mlp = node.head is None
            places[str(node)] = (float(width if node.head is None else node.head), 2.0 * node.layer + is_mlp)
        return places

    def frame(self) -> pd.DataFrame:
        """One row an edge, the largest effect first; in a circuit of nodes one row a node."""
        if (edges := self.edges) is None:
            rows: list[dict[str, Any]] = [
                {"node": str(n), **asdict(self.node_effects.get(n, NodeEffect()))} for n in self.nodes
            ]
            return pd.DataFrame(rows, columns=["node", "drop", "loss"])
        rows = [{"sender": str(e.sender), "receiver": str(e.receiver), "effect": x} for e, x in edges.items()]
        frame = pd.DataFrame(rows, columns=["sender", "receiver", "effect"])
        return frame.sort_values("effect", key=abs, ascending=False, ignore_index=True, kind="stable")

    def node_circuit(self) -> Bool[Tensor, "receiver sender"]:
        """The same circuit as one of nodes: every edge out of its heads and MLPs and the embedding."""
        return self.space.of_nodes(self.nodes)

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract of `circuitkit.circuit/1`."""
        edges = self.edges
        return {
            "schema": SCHEMA,
            "model": asdict(self.model),
            "task": dict(self.task),
            "method": self.method,
            "kind": self.kind,
            "settings": dict(self.settings),
            **self.made_with,
            "units": dict(self.units),
            "nodes": [str(node) for node in self.nodes],
            "node_effects": {str(n): asdict(self.node_effects.get(n, NodeEffect())) for n in self.nodes},
            "edges": None
            if edges is None
            else [{"sender": str(e.sender), "receiver": str(e.receiver), "effect": x} for e, x in edges.items()],
            "n_possible": {"nodes": len(self.space.senders) - 1, "edges": self.space.n_edges},
            "evaluations": self.evaluations,
            "gradients": self.gradients,
            "faithfulness": None if self.faithfulness is None else dict(self.faithfulness),
            "senders": [str(sender) for sender in self.space.senders],
            "receivers": [str(receiver) for receiver in self.space.receivers],
            "warnings": list(self.notices),
        }

    def save(self, path: str | Path) -> Path:
        """Write a run directory (`result.json`, `tensors.safetensors`).

        Raises:
            ResultError: It cannot be written.
        """
        return save_run(Path(path), self.to_dict(), *self.tensors())

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, tuple[str, ...]]]:
        """The tensors saved beside the JSON, and the names of their axes."""
        tensors = {"kept": self.kept}
        if self.edge_effects is not None:
            tensors["edge_effects"] = self.edge_effects
        return tensors, dict.fromkeys(tensors, ("receiver", "sender"))

    @classmethod
    def load(cls, path: str | Path) -> "Circuit":
        """Read a circuit back from a run directory.

        Raises:
            ResultError: There is no run, it is broken, or it holds something else.
        """
        run = load_run(path, schema=SCHEMA)
        r = run.result
        if missing := [name for name in _READ if name not in r] + ["kept"] * ("kept" not in run.tensors):
            raise ResultError(f"Run {str(path)!r} lacks {', '.join(missing)}, which a circuit has. Make it again.")
        made_with = {name: r[name] for name in ("command", "device", "dtype", "versions") if name in r}
        return cls(
            model=ModelInfo(**r["model"]),
            task=r["task"],
            method=r["method"],
            kind=r["kind"],
            kept=run.tensors["kept"],
            edge_effects=run.tensors.get("edge_effects"),
            node_effects={Component.parse(name): NodeEffect(**x) for name, x in r["node_effects"].items()},
            faithfulness=r["faithfulness"],
            units=r["units"],
            evaluations=r["evaluations"],
            gradients=r.get("gradients"),
            settings=r["settings"],
            made_with=made_with,
            notices=tuple(r["warnings"]),
        )

    def __contains__(self, part: Component | Edge) -> bool:
        """Whether a head or MLP, or an edge, is in the circuit."""
        if isinstance(part, Component):
            return part in self.nodes
        return bool(self.kept[self.space.receiver_index[part.receiver], self.space.sender_index[part.sender]])

    def __repr__(self) -> str:
        n, of = len(self.nodes), len(self.space.senders) - 1
        edges = "" if self.edge_effects is None else f", {int(self.kept.sum())} of {self.space.n_edges} edges"
        judged = None if self.faithfulness is None else self.faithfulness.get("faithfulness")
        faith = "" if judged is None else f", faithfulness {judged:.3f}"
        return (
            f"Circuit({self.method} on {self.model.name!r}, {self.task['name']}: {n} of {of} heads and MLPs{edges}"
            f"{faith})"
        )
