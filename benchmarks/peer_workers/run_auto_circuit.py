"""auto-circuit in its node mode: each component's only edge is patched; and the gradient of that edge's mask."""

import torch
from auto_circuit.data import PromptDataLoader, PromptDataset
from auto_circuit.prune_algos.mask_gradient import mask_gradient_prune_scores
from auto_circuit.types import AblationType
from auto_circuit.utils.ablation_activations import src_ablations
from auto_circuit.utils.graph_utils import patch_mode, patchable_model
from hooked import hooked_transformer
from serving import Method, serve
from setting import COMPONENTS, ROWS, Setting
from torch import Tensor

NAMES = [f"MLP {layer}" if head is None else f"A{layer}.{head}" for layer, head in COMPONENTS]


def build(setting: Setting) -> dict[str, Method]:
    """Wrap the model once; patching leaves it as it was."""
    hooked = hooked_transformer(setting, use_attn_result=True, use_hook_mlp_in=True)
    model = patchable_model(hooked, factorized=False, slice_output="last_seq", separate_qkv=False)
    edges = {name: [edge for edge in model.edges if edge.src.name == name] for name in NAMES}
    assert all(len(found) == 1 for found in edges.values())

    @torch.no_grad()
    def exact(setting: Setting, ablation: str) -> Tensor:
        drops = torch.zeros(len(NAMES))
        for batch in setting.batches():
            clean = batch.logit_diff(model(batch.clean)[model.out_slice])
            values = src_ablations(model, batch.corrupted, AblationType[ablation.upper()])
            for i, name in enumerate(NAMES):
                with patch_mode(model, values, edges[name]):
                    patched = model(batch.clean)[model.out_slice]
                drops[i] += (clean - batch.logit_diff(patched)).sum() / len(setting.clean)
        return drops

    def gradient(setting: Setting, ablation: str) -> Tensor:
        correct, incorrect = setting.answers.split(1, dim=1)
        prompts = PromptDataset(setting.clean, setting.corrupted, list(correct), list(incorrect))
        rows = min(ROWS, len(setting.clean))  # it leaves out what does not fill a batch
        loader = PromptDataLoader(prompts, seq_len=None, diverge_idx=0, batch_size=rows)
        scores = mask_gradient_prune_scores(
            model,
            loader,
            None,
            grad_function="logit",
            answer_function="avg_diff",
            mask_val=0.0,
            ablation_type=AblationType[ablation.upper()],
            clean_corrupt="corrupt" if ablation == "resample" else None,
        )
        return torch.stack([edges[name][0].prune_score(scores) for name in NAMES]) / len(loader)

    return {"auto-circuit, node patching": exact, "auto-circuit, mask gradient": gradient}


if __name__ == "__main__":
    serve(build, packages=("auto-circuit", "transformer-lens", "transformers", "torch"))
