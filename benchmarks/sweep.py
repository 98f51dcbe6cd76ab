"""Time the replay sweep against the two loops that people write by hand, interleaved in one run.

    python benchmarks/sweep.py toy-gpt2 toy-bert --n-prompts 64 --repeats 3

(a) the naive loop over transformer-lens hooks: one full bridge forward for every component and batch of prompts;
(b) the same loop over raw Hugging Face modules with forward hooks.
Both ablate to zero, as the sweep does here, and must give its numbers to 1e-4 of the largest logit difference.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.rows import logit_diff
from circuitkit.interventions.sweep import sweep
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.loading import load_model
from circuitkit.tasks.batch import PromptBatch, build_batch
from circuitkit.tasks.loading import load_task

ROWS = 32


def loop(model: HookedModel, batch: PromptBatch, run: Callable[[Component, Tensor, Tensor], Tensor]) -> Tensor:
    """Logit differences [component, prompt] with `run(component, ids, mask) -> logits` called for every batch."""
    out = torch.zeros(len(model.components), len(batch.pairs))
    for number, component in enumerate(model.components):
        for start in range(0, len(batch.pairs), ROWS):
            rows = torch.arange(start, min(start + ROWS, len(batch.pairs)))
            logits = run(component, batch.clean.ids[rows], batch.clean.mask[rows])
            at = logits[torch.arange(len(rows)), batch.clean.answer_pos[rows]]
            out[number, rows] = logit_diff(at, batch.correct_ids[rows], batch.incorrect_ids[rows])
    return out


@torch.no_grad()
def bridge_loop(model: HookedModel, batch: PromptBatch) -> Tensor:
    """(a) Hooks of transformer-lens."""

    def run(component: Component, ids: Tensor, mask: Tensor) -> Tensor:
        def silence(value: Tensor, hook: object) -> Tensor:
            changed = value.clone()
            changed[:, :, slice(None) if component.head is None else component.head] = 0
            return changed

        point = "mlp.out.hook_out" if component.head is None else "attn.hook_z"
        name = f"blocks.{component.layer}.{point}"
        with model.bridge.hooks(fwd_hooks=[(name, silence)]):
            return model.bridge(ids, attention_mask=mask.long())

    return loop(model, batch, run)


@torch.no_grad()
def raw_loop(model: HookedModel, batch: PromptBatch) -> Tensor:
    """(b) Hooks on the raw modules."""
    family, width = model.family, model.info.d_head

    def run(component: Component, ids: Tensor, mask: Tensor) -> Tensor:
        block = family.blocks(model.raw)[component.layer]

        def silence(_module: object, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            z = args[0].clone()
            z[..., component.head * width : (component.head + 1) * width] = 0
            return (z,)

        if component.head is None:
            handle = family.mlp(block).register_forward_hook(lambda _m, _a, out: torch.zeros_like(out))
        else:
            handle = family.out_proj(block).register_forward_pre_hook(silence)
        try:
            return model.raw(input_ids=ids, attention_mask=mask.long(), **family.forward_kwargs).logits
        finally:
            handle.remove()

    return loop(model, batch, run)


def main() -> None:
    """Print one line a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--task", default="ioi")
    parser.add_argument("--n-prompts", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    ways = {"sweep": lambda m, b: sweep(m, b, ablation=Ablation.ZERO).ablated, "bridge": bridge_loop, "raw": raw_loop}
    print(f"{torch.get_num_threads()} threads; medians of {args.repeats}; times as ratios to the sweep")
    for name in args.models:
        model = load_model(name)
        batch = build_batch(load_task(args.task), model, n_prompts=args.n_prompts)
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        values: dict[str, Tensor] = {}
        for _ in range(args.repeats):
            for way, call in ways.items():
                start = time.perf_counter()
                values[way] = call(model, batch)
                seconds[way].append(time.perf_counter() - start)
        error = max((values["sweep"] - values[way]).abs().max().item() for way in ("bridge", "raw"))
        if error > 1e-4 * max(1.0, values["raw"].abs().max().item()):
            raise SystemExit(f"{name}: the sweep and the loops differ by {error:.1e}")
        ratio = {
            way: statistics.median(t / s for t, s in zip(seconds[way], seconds["sweep"], strict=True))
            for way in ("bridge", "raw")
        }
        print(f"{name:16} bridge loop {ratio['bridge']:.1f}x, raw loop {ratio['raw']:.1f}x, difference {error:.1e}")


if __name__ == "__main__":
    main()
