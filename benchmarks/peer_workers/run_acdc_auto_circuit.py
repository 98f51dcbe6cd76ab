"""auto-circuit's ACDC and its mask gradients (edge attribution), on its factorised graph.

`acdc` has an input each for the queries, keys and values of a head, as ours; `acdc-joint` one for all three.
auto-circuit tests the edges into one layer in the order in which a Python set gives them, which is another in every
process. So that its result can be compared, the set is replaced by an ordered one; the package is as it comes.
"""

from collections.abc import Sequence

import torch
from auto_circuit.data import PromptDataLoader, PromptDataset
from auto_circuit.prune_algos.ACDC import acdc_prune_scores
from auto_circuit.prune_algos.mask_gradient import mask_gradient_prune_scores
from auto_circuit.types import AblationType, Edge
from auto_circuit.utils.ablation_activations import src_ablations
from auto_circuit.utils.graph_utils import patch_mode, patchable_model
from auto_circuit.utils.patchable_model import PatchableModel
from edges import RECEIVERS, SENDERS, Receiver, edge_set
from hooked import hooked_transformer
from ordered_set import OrderedSet
from serving import Method, serve
from setting import Place, Setting
from torch import Tensor

WARM_UP_EDGES = 20


def sender_name(place: Place | None) -> str:
    """As auto-circuit calls it."""
    return "Resid Start" if place is None else _component(place)


def receiver_name(receiver: Receiver, *, joint: bool) -> str:
    """As auto-circuit calls it."""
    place, name = receiver
    if place is None:
        return "Resid End"
    return _component(place) if joint or not name else f"{_component(place)}.{name.upper()}"


def _component(place: Place) -> str:
    layer, head = place
    return f"MLP {layer}" if head is None else f"A{layer}.{head}"


def ordered(model: PatchableModel, *, joint: bool) -> dict[tuple[int, int], Edge]:
    """The edges by (receiver, sender), in the order in which our ACDC visits them; in the model's set too."""
    known = {(edge.dest.name, edge.src.name): edge for edge in model.edges}
    found = dict[tuple[int, int], Edge]()
    for row in reversed(range(len(RECEIVERS))):
        for column in reversed(range(len(SENDERS))):
            names = receiver_name(RECEIVERS[row], joint=joint), sender_name(SENDERS[column])
            if names in known:
                found[row, column] = known.pop(names)
    assert not known
    model.edges = OrderedSet(found.values())
    return found


def prompts(setting: Setting) -> PromptDataLoader:
    """All of them as one batch: its ACDC uses the first batch only."""
    correct, incorrect = setting.answers.split(1, dim=1)
    data = PromptDataset(setting.clean, setting.corrupted, list(correct), list(incorrect))
    return PromptDataLoader(data, seq_len=None, diverge_idx=0, batch_size=len(setting.clean))


def build(setting: Setting) -> dict[str, Method]:
    """Two graphs over the same weights; patching leaves them as they were."""
    options = {"use_attn_result": True, "use_hook_mlp_in": True}
    graphs = {
        False: hooked_transformer(setting, use_split_qkv_input=True, **options),
        True: hooked_transformer(setting, use_attn_in=True, **options),
    }
    models = {
        joint: patchable_model(hooked, factorized=True, slice_output="last_seq", separate_qkv=not joint)
        for joint, hooked in graphs.items()
    }
    edges = {joint: ordered(model, joint=joint) for joint, model in models.items()}

    def search(setting: Setting, tau: float, *, joint: bool) -> Tensor:
        """Edges kept: those that no threshold removed."""
        loader = prompts(setting)
        scores = acdc_prune_scores(models[joint], loader, None, tao_exps=[0], tao_bases=[tau])  # pyright: ignore
        return edge_set([place for place, edge in edges[joint].items() if edge.prune_score(scores).isinf()])

    @torch.no_grad()
    def kl(setting: Setting, removed: Sequence[Sequence[Sequence[int]]]) -> Tensor:
        """Mean KL divergence of the model without some edges, for each set of them."""
        model, values = models[False], src_ablations(models[False], setting.corrupted, AblationType.RESAMPLE)
        clean, means = model(setting.clean)[model.out_slice].log_softmax(-1), list[Tensor]()
        for some in removed:
            with patch_mode(model, values, [edges[False][row, column] for row, column in some]):
                patched = model(setting.clean)[model.out_slice].log_softmax(-1)
            means.append((clean.exp() * (clean - patched)).sum(-1).mean())
        return torch.stack(means)

    def attribution(setting: Setting) -> Tensor:
        scores = mask_gradient_prune_scores(
            models[False], prompts(setting), None, grad_function="logit", answer_function="avg_diff", mask_val=0.0
        )
        out = torch.zeros(len(RECEIVERS), len(SENDERS))
        for place, edge in edges[False].items():
            out[place] = edge.prune_score(scores)
        return out

    for joint, model in models.items():  # warm up
        everything, model.edges = model.edges, OrderedSet(list(model.edges)[-WARM_UP_EDGES:])
        search(setting.first(2), 0.01, joint=joint)
        model.edges = everything
    attribution(setting.first(2))
    return {
        "acdc": lambda setting, tau: search(setting, tau, joint=False),
        "acdc-joint": lambda setting, tau: search(setting, tau, joint=True),
        "kl": kl,
        "eap": attribution,
    }


if __name__ == "__main__":
    serve(build, packages=("auto-circuit", "transformer-lens", "transformers", "torch"), warm_up=())
