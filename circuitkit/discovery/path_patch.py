"""Path patching: what one component does through one input of another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.digest import digest
from circuitkit.core.edge import Edge, EdgeSpace, Receiver, Sender
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.run_directory import ShardStore
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.interventions.replacement import Replacement
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

AT_ONCE = 64
"""Edges of one receiver that are corrupted in one call, each in a run of its own."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PathEffects:
    """Effects of direct paths on what the model does.

    Attributes:
        senders: Who writes.
        receivers: Who reads.
        metric: What is measured.
        clean: The metric of the intact model on every prompt.
        effects: Fall of the metric when only this receiver reads the sender's replacement; rise for `kl`. In the
            metric's unit (logits, nats, probability); positive where the path helps. 0 where there is none.
        possible: Where there is a path: the sender is computed before the receiver reads.
    """

    senders: tuple[Sender, ...]
    receivers: tuple[Receiver, ...]
    metric: str
    clean: Float[Tensor, " prompt"]
    effects: Float[Tensor, "receiver sender prompt"]
    possible: Bool[Tensor, "receiver sender"]

    @property
    def mean(self) -> Float[Tensor, "receiver sender"]:
        """Mean effect over the prompts."""
        return self.effects.double().mean(-1)

    @property
    def standard_error(self) -> Float[Tensor, "receiver sender"]:
        """Of the mean effect; infinite for one prompt, 0 where there is no path."""
        n = self.effects.shape[-1]
        if n == 1:
            return torch.zeros_like(self.mean).masked_fill(self.possible, torch.inf)
        return self.effects.double().std(-1) / n**0.5


def path_patch(
    model: HookedModel,
    batch: PromptBatch,
    senders: Sequence[Sender | str],
    receivers: Sequence[Receiver | str],
    *,
    ablation: Ablation | str | Replacement = Ablation.CORRUPTED_MEAN,
    metric: str = "logit_diff",
    batch_size: BatchSize = "auto",
    store: ShardStore | None = None,
    progress: Progress = silent,
) -> PathEffects:
    """Effect of each sender on what the model does through one input of each receiver.

    Only the direct path is corrupted: the receiver reads the sender's replacement in place of what the sender
    writes, while all components between the two, heads and MLPs, keep their clean values; everything behind the
    receiver then runs on what it gets (Goldowsky-Dill et al. 2023, arXiv 2304.05969). Wang et al. 2023 (arXiv
    2211.00593) freeze the heads between the two but let the change through the MLPs, so that their paths include
    those through MLPs; here these are paths of their own, and each sender and receiver is patched alone. In post-LN
    models the receiver's input is renormalised with the sender's replacement in it.

    Args:
        model: The model.
        batch: Prompts; results keep their order.
        senders: Such as `embed`, `L2H1` and `MLP2`, by name or as `Sender`.
        receivers: Such as `L3H0.q`, `MLP3` and `logits`, by name or as `Receiver`.
        ablation: What the corrupted path carries: an ablation, or its values.
        metric: What is measured: `logit_diff`, `kl`, `probability` or `top1`.
        batch_size: Rows (edge x prompt) run at a time. Numbers differ by rounding only.
        store: Where finished pieces are kept and found again; its key must tell model, prompts and ablation apart.
        progress: Called as paths are measured; units are the blocks behind them.

    Raises:
        OptionError: A name is not understood or not in the model, no sender comes before any receiver, or an
            option is unknown.
    """
    writers = tuple(s if isinstance(s, Sender) else Sender.parse(s) for s in senders)
    readers = tuple(r if isinstance(r, Receiver) else Receiver.parse(r) for r in receivers)
    space = EdgeSpace(model.info.n_layers, model.info.n_heads)
    possible = _possible(space, writers, readers)
    edges = [Edge(writers[s], readers[r]) for r, s in possible.nonzero().tolist()]
    runner = CircuitRunner(model, batch, source=ablation, metrics=[metric], batch_size=batch_size, progress=progress)
    effects = torch.zeros(*possible.shape, len(batch.pairs))
    effects[possible] = edge_effects(runner, edges, metric=metric, store=store, progress=progress)
    return PathEffects(
        senders=writers,
        receivers=readers,
        metric=metric,
        clean=runner.clean[metric],
        effects=effects,
        possible=possible,
    )


def _possible(
    space: EdgeSpace, senders: Sequence[Sender], receivers: Sequence[Receiver]
) -> Bool[Tensor, "receiver sender"]:
    size = f"a model of {space.n_layers} layers of {space.n_heads} heads"
    for kind, some, known in (("Sender", senders, space.sender_index), ("Receiver", receivers, space.receiver_index)):
        if unknown := [str(one) for one in some if one not in known]:
            raise OptionError(f"{kind} {', '.join(unknown)} is not in {size}; name one that is.")
    rows = [space.receiver_index[receiver] for receiver in receivers]
    columns = [space.sender_index[sender] for sender in senders]
    possible = space.possible[rows][:, columns]
    if not bool(possible.any()):
        raise OptionError("No sender given is computed before any receiver given; give later receivers.")
    return possible


def edge_effects(
    runner: CircuitRunner,
    edges: Sequence[Edge],
    *,
    metric: str = "logit_diff",
    store: ShardStore | None = None,
    stage: str = "path patching",
    progress: Progress = silent,
) -> Float[Tensor, "edge prompt"]:
    """Corrupt each edge alone in the whole model.

    Args:
        runner: The model, the prompts, and what corrupted edges carry.
        edges: The edges; those of one receiver, which share all that is computed before it, side by side.
        metric: One of the runner's metrics.
        store: Where finished pieces are kept and found again; its key must tell the runner's options apart.
        stage: Name of this work in progress reports.
        progress: Called as edges are measured; units are the blocks behind them.

    Returns:
        Fall of the metric (rise for `kl`) per edge and prompt, in its unit.

    Raises:
        OptionError: The runner does not measure the metric, or the model has no such edge.
    """
    space = runner.space
    if metric not in runner.clean:
        raise OptionError(f"Effects on {metric} need a runner that measures it; it has {', '.join(runner.clean)}.")
    name = f"edges-{digest([metric, [str(edge) for edge in edges]])}"
    done, total = 0, sum(_blocks_behind(space, edge.receiver) for edge in edges)
    found = [torch.zeros(0, len(runner.batch.pairs))]
    for first, some in _of_one_receiver(edges):
        shard = store.load(f"{name}-{first}") if store else None
        if shard is None:
            without = torch.stack([space.possible & ~space.mask([edge]) for edge in some])
            fall = runner.clean[metric] - runner.run(without)[metric]
            shard = {"effects": -fall if metric == "kl" else fall}
            if store:
                store.save(f"{name}-{first}", shard)
        found.append(shard["effects"])
        done += len(some) * _blocks_behind(space, some[0].receiver)
        progress(stage, done, total)
    return torch.cat(found)


def _of_one_receiver(edges: Sequence[Edge]) -> Iterator[tuple[int, Sequence[Edge]]]:
    """Edges to run together, with the number of the first of them."""
    first = 0
    for _, group in groupby(edges, key=lambda edge: edge.receiver):
        left = first + len(list(group))
        while first < left:
            some = edges[first : min(first + AT_ONCE, left)]
            yield first, some
            first += len(some)


def _blocks_behind(space: EdgeSpace, receiver: Receiver) -> int:
    return 1 if receiver.component is None else 1 + space.n_layers - receiver.component.layer
