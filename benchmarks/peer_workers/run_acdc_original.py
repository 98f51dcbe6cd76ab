"""The ACDC of its authors' repository, ArthurConmy/Automatic-Circuit-Discovery.

Beside our edges it tests one between each head's query, key or value and its input, which cuts that input off as a
whole, and it visits a block's values before its keys before its queries. Circuits are therefore alike but not the
same; what goes into the logits and the last MLP is decided before any of that. Drawing the graph after every node is
left out.
"""

import time
from typing import Any

import torch
from acdc import TLACDCExperiment as experiment
from edges import RECEIVERS, SENDERS, Receiver
from hooked import hooked_transformer
from serving import Method, serve
from setting import N_LAYERS, Place, Setting
from torch import Tensor

WARM_UP_SECONDS = 3.0


def sender_name(place: Place | None) -> tuple[str, tuple[int | None, ...]]:
    """Hook and index."""
    if place is None:
        return "blocks.0.hook_resid_pre", (None,)
    layer, head = place
    if head is None:
        return f"blocks.{layer}.hook_mlp_out", (None,)
    return f"blocks.{layer}.attn.hook_result", (None, None, head)


def receiver_name(receiver: Receiver) -> tuple[str, tuple[int | None, ...]]:
    """Hook and index."""
    place, name = receiver
    if place is None:
        return f"blocks.{N_LAYERS - 1}.hook_resid_post", (None,)
    layer, head = place
    if head is None:
        return f"blocks.{layer}.hook_mlp_in", (None,)
    return f"blocks.{layer}.hook_{name}_input", (None, None, head)


def places(graph: Any) -> dict[tuple[int, int], Any]:  # noqa: ANN401 - a class of the package
    """Its edges between our senders and receivers, by (receiver, sender)."""
    rows = {receiver_name(receiver): row for row, receiver in enumerate(RECEIVERS)}
    columns = {sender_name(sender): column for column, sender in enumerate(SENDERS)}
    found = dict[tuple[int, int], Any]()
    for (child, child_index, parent, parent_index), edge in graph.all_edges().items():
        row = rows.get((child, child_index.hashable_tuple))
        column = columns.get((parent, parent_index.hashable_tuple))
        if row is not None and column is not None:
            found[row, column] = edge
    return found


def build(setting: Setting) -> dict[str, Method]:
    """The search stops after some seconds, as it can take long: what it has decided by then is there."""
    torch.set_grad_enabled(False)
    experiment.show = lambda *_args, **_options: None
    model = hooked_transformer(setting, use_attn_result=True, use_hook_mlp_in=True, use_split_qkv_input=True)

    def search(setting: Setting, tau: float, limit: float) -> Tensor:
        """[3, receiver, sender]: decided, kept, effect."""
        start = time.perf_counter()
        model.reset_hooks()
        clean = model(setting.clean)[:, -1].log_softmax(-1)

        def kl(logits: Tensor) -> Tensor:
            return (clean.exp() * (clean - logits[:, -1].log_softmax(-1))).sum(-1).mean()

        found = experiment.TLACDCExperiment(
            model=model, ds=setting.clean, ref_ds=setting.corrupted, threshold=tau, metric=kl, indices_mode="normal"
        )
        edges = places(found.corr)
        while found.current_node is not None and time.perf_counter() - start < limit:
            found.step()
        out = torch.zeros(3, len(RECEIVERS), len(SENDERS))
        for place, edge in edges.items():
            if edge.effect_size is not None:
                out[:, place[0], place[1]] = torch.tensor([1.0, float(edge.present), edge.effect_size])
        return out

    search(setting.first(2), 0.01, WARM_UP_SECONDS)
    return {"acdc": search}


if __name__ == "__main__":
    serve(build, packages=("transformer-lens", "transformers", "torch"), warm_up=())
