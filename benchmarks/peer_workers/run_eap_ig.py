"""EAP-IG's exact effect of a node: `evaluate_graph` with all edges out of it patched, as its own exact scores do.

`attribute_node(method="exact")` itself fails: it gives the logits a score too, past the end of its scores. Its gradient
scores ask for a CUDA device whatever the model is on.
"""

import torch
from eap.evaluate import evaluate_baseline, evaluate_graph
from eap.graph import Graph
from hooked import hooked_transformer
from serving import Method, serve
from setting import COMPONENTS, Setting
from torch import Tensor

NAMES = [f"m{layer}" if head is None else f"a{layer}.h{head}" for layer, head in COMPONENTS]


def logit_diff(logits: Tensor, _other: Tensor, _lengths: Tensor, answers: Tensor) -> Tensor:
    """Correct minus incorrect [prompt] at the last position."""
    picked = logits[:, -1].gather(1, answers)
    return picked[:, 0] - picked[:, 1]


def build(setting: Setting) -> dict[str, Method]:
    """It takes text, and puts the first token before it itself; its graph is set back for every node."""
    model = hooked_transformer(
        setting, words=True, use_attn_result=True, use_split_qkv_input=True, use_hook_mlp_in=True
    )

    def text(ids: Tensor) -> list[str]:
        return [model.tokenizer.decode(row[1:]) for row in ids]

    assert torch.equal(model.to_tokens(text(setting.clean), prepend_bos=True), setting.clean)

    def exact(setting: Setting, ablation: str) -> Tensor:
        loader = [(text(b.clean), text(b.corrupted), b.answers) for b in setting.batches()]
        graph = Graph.from_model(model)
        clean = evaluate_baseline(model, loader, logit_diff, quiet=True).mean()
        drops = torch.zeros(len(NAMES))
        for i, name in enumerate(NAMES):
            graph.in_graph |= graph.real_edge_mask
            graph.nodes_in_graph[:] = True
            for edge in graph.nodes[name].child_edges:
                edge.in_graph = False
            kind = "patching" if ablation == "resample" else "zero"
            drops[i] = clean - evaluate_graph(model, graph, loader, logit_diff, quiet=True, intervention=kind).mean()
        return drops

    return {"EAP-IG, evaluate_graph": exact}


if __name__ == "__main__":
    serve(build, packages=("eap", "transformer-lens", "transformers", "torch"))
