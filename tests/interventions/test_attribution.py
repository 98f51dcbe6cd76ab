"""First-order estimates against finite differences on raw models, and against the exact sweep where it is linear."""

import pytest
import torch
from brute_force import MODULES, forward, replacement_value, token_batch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from circuitkit.core.component import Component
from circuitkit.core.errors import ModelError, OptionError
from circuitkit.core.run_directory import ShardStore
from circuitkit.interventions import attribution as module
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.attribution import estimate_sweep
from circuitkit.interventions.chosen_prompts import sweep_prompts, when_needed
from circuitkit.interventions.replacement import Values, replacement
from circuitkit.interventions.rows import take
from circuitkit.interventions.sweep import sweep
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.loading import load_model, wrap_model
from circuitkit.tasks.batch import PromptBatch


@pytest.fixture
def precise(fresh_raw: PreTrainedModel, tiny_tokenizers) -> HookedModel:
    """Each family in float64, in which finite differences are worth something."""
    family = next(name for name in MODULES if type(fresh_raw).__name__.lower().startswith(name))
    return wrap_model(fresh_raw.double(), tiny_tokenizers[family], name=f"precise-{family}")


def batch_for(model: HookedModel) -> PromptBatch:
    return token_batch(model.info.vocab_size, [[5, 5, 5], [7, 7]], answer_inside=not model.is_causal)


def slope(model: HookedModel, component: Component, batch: PromptBatch, ablation: str, step: float = 3e-3) -> Tensor:
    """d(logit difference) / d(share of the way from activation to replacement), by central differences."""
    value = replacement_value(model.raw, model.info.family, component, batch, ablation)
    found = []
    for sign in (1, -1):
        with nudged(model, component, value, sign * step):
            rows = torch.arange(len(batch.pairs))
            at = forward(model.raw, batch.clean.ids, batch.clean.mask)[rows, batch.clean.answer_pos]
        found.append(at[rows, batch.correct_ids] - at[rows, batch.incorrect_ids])
    return (found[0] - found[1]) / (2 * step)


class nudged:  # noqa: N801 - reads as a verb
    """A component's activation moved part of the way to its replacement, by hooks of its own."""

    def __init__(self, model: HookedModel, component: Component, value: Tensor, share: float) -> None:
        blocks, projection, mlp = MODULES[model.info.family]
        block = model.raw.get_submodule(f"{blocks}.{component.layer}")
        width = model.info.d_head

        def after(_module: object, _args: object, output: Tensor) -> Tensor:
            return output + share * (value - output)

        def before(_module: object, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            z, head = args[0].clone(), component.head
            where = slice(head * width, (head + 1) * width)
            z[..., where] += share * (value - z[..., where])
            return (z,)

        if component.head is None:
            self.handle = block.get_submodule(mlp).register_forward_hook(after)
        else:
            self.handle = block.get_submodule(projection).register_forward_pre_hook(before)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_error: object) -> None:
        self.handle.remove()


@pytest.mark.parametrize("ablation", ["corrupted-mean", "resample", "zero"])
def test_estimates_are_the_slopes_that_finite_differences_find(precise, ablation):
    batch = batch_for(precise)
    found = estimate_sweep(precise, batch, source=Ablation(ablation))
    for component, estimate in zip(found.components, found.ablated - found.clean, strict=True):
        wanted = slope(precise, component, batch, ablation).float()
        torch.testing.assert_close(estimate, wanted, rtol=3e-3, atol=1e-4, msg=lambda m, c=component: f"{c}: {m}")


def nearby(model: HookedModel, batch: PromptBatch, share: float):
    """Replacements that lie a small part of the way from every activation to its mean."""
    means = replacement(model, batch, Ablation.CORRUPTED_MEAN)

    def values(rows: Tensor, length: int) -> Values:
        taken, far = take(batch.clean, rows, model), means(rows, length)
        own = model.capture(taken.ids, taken.mask, ("z", "mlp_out"))
        return Values(
            z=lambda n: own["z"][n] + share * (far.z(n) - own["z"][n]),
            mlp=lambda n: own["mlp_out"][n] + share * (far.mlp(n) - own["mlp_out"][n]),
            embed=far.embed,
        )

    return values


def test_a_small_step_is_linear_and_then_estimate_and_sweep_agree(precise):
    batch = batch_for(precise)
    everything = torch.arange(len(batch.pairs))

    def gap(share: float) -> tuple[float, float]:
        source = nearby(precise, batch, share)
        exact = sweep_prompts(precise, batch, everything, components=precise.components, source=source)
        effect = exact.ablated - exact.clean
        estimated = estimate_sweep(precise, batch, source=source)
        return float((estimated.ablated - estimated.clean - effect).abs().max()), float(effect.abs().max())

    (wide, effect), (narrow, _) = gap(0.02), gap(0.01)
    assert wide < 0.1 * effect
    assert narrow < 0.35 * wide  # the error of a first-order estimate is of second order


def test_nothing_is_left_behind_on_the_model(fresh_raw, tiny_tokenizers):
    family = next(name for name in MODULES if type(fresh_raw).__name__.lower().startswith(name))
    model = wrap_model(fresh_raw, tiny_tokenizers[family], name="kept")
    wanted = [i % 2 == 0 for i, _ in enumerate(fresh_raw.parameters())]
    for parameter, trained in zip(fresh_raw.parameters(), wanted, strict=True):
        parameter.requires_grad_(trained)
    estimate_sweep(model, batch_for(model))
    assert [p.requires_grad for p in fresh_raw.parameters()] == wanted
    assert all(p.grad is None for p in fresh_raw.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in fresh_raw.modules())


def test_the_result_does_not_depend_on_how_many_run_together(tiny_model):
    batch = batch_for(tiny_model)
    whole = estimate_sweep(tiny_model, batch)
    for size in (1, 2, 3):
        parts = estimate_sweep(tiny_model, batch, batch_size=size)
        torch.testing.assert_close(parts.ablated, whole.ablated, rtol=1e-4, atol=1e-5)


def test_bfloat16_estimates_are_those_of_float32_but_for_rounding(fresh_raw, tiny_tokenizers):
    family = next(name for name in MODULES if type(fresh_raw).__name__.lower().startswith(name))
    model = wrap_model(fresh_raw, tiny_tokenizers[family], name="rounded")
    batch = batch_for(model)
    wanted = estimate_sweep(model, batch)
    fresh_raw.bfloat16()
    found = estimate_sweep(model, batch)
    effect = (wanted.ablated - wanted.clean, found.ablated - found.clean)
    assert found.ablated.dtype == torch.float32
    assert float((effect[1] - effect[0]).norm() / effect[0].norm()) < 0.05


def short_of_memory_above(rows: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    real, sizes = module.attribution, []

    def limited(model, taken, values, **answers):
        sizes.append(len(taken.ids))
        if len(taken.ids) > rows:
            raise torch.OutOfMemoryError
        return real(model, taken, values, **answers)

    monkeypatch.setattr(module, "attribution", limited)
    return sizes


def test_too_many_rows_for_the_memory_are_halved(tiny_model, monkeypatch):
    batch = batch_for(tiny_model)
    wanted = estimate_sweep(tiny_model, batch)
    sizes = short_of_memory_above(2, monkeypatch)
    torch.testing.assert_close(estimate_sweep(tiny_model, batch).ablated, wanted.ablated, rtol=1e-4, atol=1e-5)
    assert max(sizes) == 5 and min(sizes) <= 2


def test_where_one_prompt_does_not_fit_the_error_is_one_line(tiny_model, monkeypatch):
    short_of_memory_above(0, monkeypatch)
    with pytest.raises(OptionError, match="--method exact"):
        estimate_sweep(tiny_model, batch_for(tiny_model))


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_size_that_is_not_positive_is_refused(tiny_model, size):
    with pytest.raises(OptionError, match="not positive"):
        estimate_sweep(tiny_model, batch_for(tiny_model), batch_size=size)


def test_gradients_that_are_no_numbers_are_refused(tiny_model, monkeypatch):
    def broken(model, taken, values, **_answers):
        rows = len(taken.ids)
        return {"clean": torch.zeros(rows), "estimate": torch.full((len(model.components), rows), torch.nan)}

    monkeypatch.setattr(module, "attribution", broken)
    with pytest.raises(ModelError, match="not finite"):
        estimate_sweep(tiny_model, batch_for(tiny_model))


def test_finished_shards_are_found_again(tiny_model, tmp_path, monkeypatch):
    batch, store = batch_for(tiny_model), ShardStore(tmp_path, "key")
    first = estimate_sweep(tiny_model, batch, store=store)
    monkeypatch.setattr(module, "attribution", lambda *_a, **_k: pytest.fail("run again"))
    again = estimate_sweep(tiny_model, batch, store=store)
    assert torch.equal(first.ablated, again.ablated) and torch.equal(first.clean, again.clean)


def test_chosen_prompts_keep_the_means_of_the_whole_batch(tiny_model):
    batch = batch_for(tiny_model)
    whole = sweep(tiny_model, batch)
    prompts = torch.tensor([4, 0, 2])
    components = tiny_model.components[::2]
    some = sweep_prompts(
        tiny_model,
        batch,
        prompts,
        components=components,
        source=replacement(tiny_model, batch, Ablation.CORRUPTED_MEAN),
    )
    torch.testing.assert_close(some.clean, whole.clean[prompts], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(some.ablated, whole.ablated[::2][:, prompts], rtol=1e-4, atol=1e-5)


def test_values_are_prepared_once_and_only_when_needed():
    made: list[int] = []

    def prepare():
        made.append(1)
        nothing = torch.zeros(1, 1, 1)
        return lambda rows, length: Values(z=lambda n: nothing[None], mlp=lambda n: nothing, embed=nothing)

    source = when_needed(prepare)
    assert made == []
    for _ in range(2):
        source(torch.arange(2), 3)
    assert made == [1]


@pytest.mark.filterwarnings("ignore:Some parameters are on the meta device")
def test_blocks_that_accelerate_keeps_on_disk(tiny_dirs, tmp_path):
    whole = load_model(tiny_dirs["gpt2"])
    ends = ("transformer.wte", "transformer.wpe", "transformer.drop", "transformer.ln_f", "lm_head")
    places = dict.fromkeys(ends, "cpu") | {
        f"transformer.h.{layer}": "disk" if layer else "cpu" for layer in range(whole.info.n_layers)
    }
    raw = AutoModelForCausalLM.from_pretrained(tiny_dirs["gpt2"], device_map=places, offload_folder=tmp_path)
    spread = wrap_model(raw, whole.tokenizer, name="spread")
    wanted, found = (estimate_sweep(model, batch_for(whole)) for model in (whole, spread))
    torch.testing.assert_close(found.ablated, wanted.ablated, rtol=0, atol=1e-5)
