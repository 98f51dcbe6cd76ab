"""Our ACDC and edge attribution, with the prompts of the setting, from the loaded model to the result."""

from collections.abc import Sequence

import torch
from edges import RECEIVERS, SENDERS, without
from run_ours import prompt_batch
from serving import Method, serve
from setting import Setting
from torch import Tensor

from circuitkit.discovery.acdc import acdc
from circuitkit.discovery.eap import eap
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.models.loading import load_model

TAU = 0.01


def build(setting: Setting) -> dict[str, Method]:
    """The same weights for all."""
    model = load_model(setting.folder, device="cpu")

    def runner(setting: Setting) -> CircuitRunner:
        return CircuitRunner(model, prompt_batch(setting), source=Ablation.RESAMPLE, metrics=("kl",))

    def search(setting: Setting, tau: float) -> Tensor:
        """[2, receiver, sender]: kept, effect."""
        found = acdc(runner(setting), tau=tau, metric="kl")
        return torch.stack([found.kept.float(), found.effects])

    def kl(setting: Setting, removed: Sequence[Sequence[Sequence[int]]]) -> Tensor:
        """Mean KL divergence of the model without some edges, for each set of them."""
        measured = runner(setting)
        circuits = torch.stack([without(measured.space.possible, edges) for edges in removed])
        return measured.run(circuits)["kl"].double().mean(1)

    def attribution(setting: Setting) -> Tensor:
        return eap(model, prompt_batch(setting), ablation=Ablation.RESAMPLE, metric="logit_diff").mean

    space = runner(setting.first(1)).space
    assert (len(space.receivers), len(space.senders)) == (len(RECEIVERS), len(SENDERS))
    search(setting.first(2), TAU)
    attribution(setting.first(2))
    return {"acdc": search, "kl": kl, "eap": attribution}


if __name__ == "__main__":
    serve(build, packages=("circuitkit-distill", "transformers", "torch"), warm_up=())
