"""Rounding does not decide what a circuit keeps: 16-bit models are searched in float32 arithmetic."""

import gc
import json
from functools import cache

import pytest
import torch
from search_cases import OPTIONS, small_case
from transformers import GPT2LMHeadModel

from circuitkit.discovery.circuit_sweep import PARAMETERS, sweep_circuits
from circuitkit.discovery.discover import discover
from circuitkit.discovery.influence import influence
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.loading import load_model, wrap_model
from circuitkit.models.precision import in_float32
from circuitkit.models.weights import weights_digest
from circuitkit.tasks.batch import build_batch
from circuitkit.tasks.loading import load_task

PARTED = {"method": "acdc", "tau": 0.05, "metric": "logit_diff"}
SEARCHES = [  # the first three kept other edges fast than one at a time in bfloat16 arithmetic
    ("toy-distilbert", 6, PARTED),
    ("toy-bert", 3, PARTED | {"tau": 0.5}),
    ("toy-llama", 6, {"method": "path-patching", "threshold": 0.2, "node_threshold": 0.2}),
    ("toy-gpt2", 6, {"method": "acdc", "tau": 0.1}),
    ("toy-llama", 6, {"method": "acdc", "tau": 0.1}),
    *(
        (name, 6, {"method": "prune", "threshold": 0.2})
        for name in ("toy-gpt2", "toy-llama", "toy-bert", "toy-distilbert")
    ),
]
NOT_NUMBERS = ("warnings",)


@pytest.fixture(scope="module")
def half_dirs(tmp_path_factory):
    """Checkpoints of trained models, stored in bfloat16."""

    @cache
    def folder(name):
        model = load_model(name, device="cpu", dtype="bfloat16")
        path = tmp_path_factory.mktemp("half") / name
        model.raw.save_pretrained(path)
        model.tokenizer.save_pretrained(path)
        return path

    return folder


def _half_case():
    model, batch = small_case("gpt2")
    raw = type(model.raw)(model.raw.config)
    raw.load_state_dict(model.raw.state_dict())
    return wrap_model(raw.to(torch.bfloat16), model.tokenizer, name="half"), batch


def _numbers(circuit):
    return {name: value for name, value in circuit.to_dict().items() if name not in NOT_NUMBERS}


@pytest.mark.parametrize(("name", "n", "options"), SEARCHES)
def test_fast_and_plain_keep_the_same_and_what_float32_keeps(name, n, options, half_dirs):
    model = load_model(half_dirs(name), device="cpu")
    assert model.dtype == torch.bfloat16
    batch = build_batch(load_task("numerals"), model, n_prompts=n)
    given = {"bootstrap": 0, **options}
    fast = discover(model, batch, **given)
    plain = discover(model, batch, sequential=True, judged="none", **given)
    assert torch.equal(fast.kept, plain.kept)
    wide = load_model(half_dirs(name), device="cpu", dtype="float32")
    wanted = discover(wide, batch, **given)
    assert _numbers(fast) == _numbers(wanted)
    assert fast.made_with["dtype"] == "float32"
    (said,) = set(fast.notices) - set(wanted.notices)
    assert "float32 arithmetic on its weights as stored in bfloat16; --dtype bfloat16" in said
    assert (model.dtype, weights_digest(model.raw)) == (torch.bfloat16, model.info.weights_sha256)


def test_the_arithmetic_that_was_asked_for_is_used_and_its_rounding_said(half_dirs):
    model = load_model(half_dirs("toy-distilbert"), device="cpu")
    batch = build_batch(load_task("numerals"), model, n_prompts=6)
    given = {"judged": "none", **PARTED}
    fast = discover(model, batch, as_loaded=True, **given)
    assert fast.made_with["dtype"] == "bfloat16"
    assert fast.model.weights_sha256 == model.info.weights_sha256
    assert fast.settings["as_loaded"] is True
    assert any("kept or removed by chance" in w and "--dtype auto or float32" in w for w in fast.notices)


@pytest.mark.parametrize("method", OPTIONS)
def test_every_method_searches_and_judges_in_float32(method):
    model, batch = _half_case()
    before = weights_digest(model.raw)
    given = {"method": method, "judged": "full", "bootstrap": 20, **OPTIONS[method]}
    found = discover(model, batch, **given)
    wide = in_float32(model)
    same = discover(wide, batch, **given)
    assert found.to_dict() == same.to_dict()
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.made_with["dtype"] == "float32"
    assert not any("ran in bfloat16" in w or "by chance" in w for w in found.notices)
    assert found.model == wide.info
    assert (model.dtype, weights_digest(model.raw)) == (torch.bfloat16, before)


def test_influence_inside_discover_is_that_of_float32():
    model, batch = _half_case()
    found = discover(model, batch, method="influence", top=4, bootstrap=0)
    wanted = influence(in_float32(model), batch, bootstrap=0)
    drops = dict(zip(wanted.components, wanted.drops.double().mean(1).tolist(), strict=True))
    assert {node: effect.drop for node, effect in found.node_effects.items()} == pytest.approx(
        {node: drops[node] for node in found.nodes}, abs=1e-6
    )
    rounded = influence(model, batch, bootstrap=0).drops.double().mean(1)
    assert (rounded - wanted.drops.double().mean(1)).abs().max() > 1e-4


def test_pieces_of_one_arithmetic_are_not_read_in_the_other(tmp_path):
    model, batch = _half_case()
    for method in ("acdc", "eap", "path-patching"):
        given = {"method": method, "judged": "none", **OPTIONS[method]}
        for as_loaded in (True, False, True):
            kept = discover(model, batch, as_loaded=as_loaded, resume=tmp_path, **given)
            assert kept.to_dict() == discover(model, batch, as_loaded=as_loaded, **given).to_dict()


@pytest.mark.parametrize("method", OPTIONS)
def test_the_copy_goes_with_the_search(method):
    model, batch = _half_case()
    gc.collect()
    before = _models_in_memory()
    circuit = discover(model, batch, method=method, bootstrap=10, **OPTIONS[method])
    assert _models_in_memory() == before
    assert circuit.model != model.info


def _models_in_memory():
    return sum(type(thing) in (HookedModel, GPT2LMHeadModel) for thing in gc.get_objects())


def test_a_sweep_over_one_copy_says_so_once():
    model, batch = _half_case()
    wide = in_float32(model)
    assert in_float32(wide) is wide  # discover makes no other

    def search(given, progress):
        return discover(wide, batch, method="acdc", judged="none", progress=progress, **given)

    swept = sweep_circuits(search, "acdc", [0.1, 0.4], progress=lambda *_: None).to_dict()
    assert swept["parameter"] == PARAMETERS["acdc"]
    assert swept["dtype"] == "float32"
    assert sum("as stored in bfloat16" in w for w in swept["warnings"]) == 1


def test_double_precision_stays():
    model, batch = small_case("gpt2")
    raw = type(model.raw)(model.raw.config)
    raw.load_state_dict(model.raw.state_dict())
    wide = wrap_model(raw.double(), model.tokenizer, name="double")
    found = discover(wide, batch, method="prune", bootstrap=0, **OPTIONS["prune"])
    assert found.made_with["dtype"] == "float64"
    assert not any("rounding" in w for w in found.notices)
