"""How well a circuit, and the scores it was chosen by, agree with a circuit that is known."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from sklearn.metrics import roc_auc_score
from torch import Tensor

from circuitkit.core.edge import EdgeSpace
from circuitkit.discovery.circuit_parts import CircuitKind, PartSpace, parse_kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Counts over the edges or nodes of one model, and what follows from them.

    Attributes:
        kind: What the circuits are made of.
        n_possible: Parts of the model.
        n_found: Parts of the circuit found.
        n_reference: Parts of the reference circuit.
        n_both: Parts of both.
        auc: Area under the ROC curve of the scores: the chance that a part of the reference has a higher score than
            another part, equal scores counted half. None without scores, or where all or no parts are in the reference.
    """

    kind: CircuitKind
    n_possible: int
    n_found: int
    n_reference: int
    n_both: int
    auc: float | None

    @property
    def precision(self) -> float | None:
        """Share of the parts found that are in the reference; None where none was found."""
        return self.n_both / self.n_found if self.n_found else None

    @property
    def recall(self) -> float | None:
        """Share of the reference that was found; None where it is empty."""
        return self.n_both / self.n_reference if self.n_reference else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None where both circuits are empty."""
        either = self.n_found + self.n_reference
        return 2 * self.n_both / either if either else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "kind": self.kind,
            "n_possible": self.n_possible,
            "n_found": self.n_found,
            "n_reference": self.n_reference,
            "n_both": self.n_both,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "auc": self.auc,
        }


def compare_with_reference(
    space: EdgeSpace,
    found: Bool[Tensor, "receiver sender"],
    reference: Bool[Tensor, "receiver sender"],
    *,
    kind: CircuitKind | str = "edges",
    scores: Float[Tensor, "*part"] | None = None,
) -> Agreement:
    """Compare a circuit with a reference circuit of the same model; only edges that the model has count.

    Args:
        space: The model's edges.
        found: The circuit's edges; for circuits of nodes `space.of_nodes(nodes)`, as for the reference.
        reference: The circuit that is taken as true.
        kind: What both are made of.
        scores: What the parts were ordered by, [receiver, sender] for edges and [component] for nodes; where effects
            of both signs belong to the circuit, their absolute values.

    Raises:
        OptionError: A circuit or the scores do not fit the model.
    """
    parts = PartSpace(space=space, kind=parse_kind(kind))
    there, true = parts.parts(found), parts.parts(reference)
    auc = None
    if scores is not None:
        values = parts.scores(scores).double().numpy()
        if 0 < int(true.sum()) < len(parts):
            auc = float(roc_auc_score(np.asarray(true), values))
    return Agreement(
        kind=parts.kind,
        n_possible=len(parts),
        n_found=int(there.sum()),
        n_reference=int(true.sum()),
        n_both=int((there & true).sum()),
        auc=auc,
    )
