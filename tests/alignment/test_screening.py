"""Screened against exact: the same score within its stated error, on the embedded pairs."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import pytest
import torch

from circuitkit.alignment.align import align
from circuitkit.alignment.matching import Matching, match_components
from circuitkit.alignment.prompts import shared_batches
from circuitkit.alignment.result import AlignmentResult
from circuitkit.alignment.robustness import measure_robustness
from circuitkit.alignment.score import alignment_score
from circuitkit.alignment.screening import screened_score
from circuitkit.alignment.similarity.measure import measure_similarity
from circuitkit.core.errors import OptionError
from circuitkit.core.run_directory import ShardStore
from circuitkit.discovery.influence import Influence, influence
from circuitkit.interventions import attribution
from circuitkit.models.embedded import embedded_path
from circuitkit.models.families.gpt2 import GPT2Family
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.loading import load_model
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.loading import load_task

Pair = tuple[str, str]
PAIRS: list[Pair] = [("toy-gpt2", "toy-distilgpt2"), ("toy-bert", "toy-distilbert"), ("toy-llama", "toy-minitron")]
OPTIONS: Mapping[str, object] = {
    "n_prompts": 64,
    "bootstrap": 0,
    "null": "none",
    "controls": False,
    "fingerprint": False,
}
CLOSE = 0.005


@cache
def toy(name: str) -> HookedModel:
    return load_model(embedded_path(name))


@cache
def aligned(method: str) -> AlignmentResult:
    return align(toy("toy-gpt2"), toy("toy-distilgpt2"), load_task("ioi"), method=method, **OPTIONS)


@cache
def batches(pair: Pair, task: str, n: int) -> tuple[PromptBatch, PromptBatch]:
    return shared_batches(*map(toy, pair), load_task(task), n_prompts=n, seed=0, need_corrupted=True)


@cache
def matching(pair: Pair, task: str, n: int) -> Matching:
    """Most similar components; the same for both methods."""
    return match_components(measure_similarity((toy(pair[0]), toy(pair[1])), batches(pair, task, n), option="auto"))


@cache
def measured(pair: Pair, task: str, method: str, n: int = 64) -> tuple[Influence, Influence]:
    sides = zip(pair, batches(pair, task, n), strict=True)
    teacher, student = (influence(toy(name), batch, method=method, bootstrap=0) for name, batch in sides)
    return teacher, student


def score(pair: Pair, task: str, method: str, n: int = 64) -> float:
    teacher, student = measured(pair, task, method, n)
    return float(alignment_score(matching(pair, task, n), teacher.values, student.values))


@pytest.mark.parametrize("task", ["ioi", "numerals"])
@pytest.mark.parametrize("pair", PAIRS, ids=[pair[0] for pair in PAIRS])
def test_a_screened_score_is_the_exact_one_within_its_error(pair, task):
    screened = screened_score(matching(pair, task, 64), *measured(pair, task, "screen"))
    assert screened is not None
    assert screened_score(matching(pair, task, 64), *measured(pair, task, "exact")) is None
    off = abs(score(pair, task, "screen") - score(pair, task, "exact"))
    assert off <= screened.error_in_score + 1e-6
    assert max(off, screened.error_in_score) < CLOSE


@pytest.mark.parametrize("pair", PAIRS, ids=[pair[0] for pair in PAIRS])
def test_what_is_called_exact_is_exact_and_the_most_influential_is(pair):
    for wanted, found in zip(*(measured(pair, "numerals", method) for method in ("exact", "screen")), strict=True):
        torch.testing.assert_close(found.clean, wanted.clean, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.ablated[found.exact], wanted.ablated[found.exact], rtol=1e-4, atol=1e-4)
        assert bool(found.exact[found.values.argmax()])
        assert int(found.values.argmax()) == int(wanted.values.argmax())
    assert not bool(measured(pair, "numerals", "screen")[0].exact.all())


def test_too_few_prompts_to_estimate_from_are_all_measured():
    exact, screened = (measured(PAIRS[0], "numerals", method, n=8) for method in ("exact", "screen"))
    found = screened_score(matching(PAIRS[0], "numerals", 8), *screened)
    assert found is not None and found.error_in_score == 0 and found.notices == ()
    for wanted, side in zip(exact, screened, strict=True):
        assert bool(side.exact.all())
        torch.testing.assert_close(side.ablated, wanted.ablated, rtol=1e-4, atol=1e-4)
    assert abs(score(PAIRS[0], "numerals", "screen", 8) - score(PAIRS[0], "numerals", "exact", 8)) < 1e-5


def test_the_result_says_what_was_estimated(tmp_path):
    found = aligned("screen")
    record = found.to_dict()
    assert record["settings"]["method"] == "screen"
    names = [str(c) for c in found.teacher.components]
    assert [record["influence"]["teacher"][name]["exact"] for name in names] == found.teacher.exact.tolist()
    assert set(record["screen"]) == {"teacher", "student", "error_in_score"}
    assert record["screen"]["teacher"]["n_exact"] == int(found.teacher.exact.sum())
    assert -1 <= record["screen"]["teacher"]["rank_correlation"] <= 1
    assert any("may move A" in warning and "interval" not in warning for warning in found.warnings)  # has none
    assert any("measured exactly" in warning for warning in found.warnings)
    again = AlignmentResult.load(found.save(tmp_path / "run"))
    assert again.to_dict() == record


def test_an_exact_result_says_that_nothing_was_estimated(tmp_path):
    found = aligned("exact")
    record = found.to_dict()
    assert record["screen"] is None and record["settings"]["method"] == "exact"
    assert all(row["exact"] for side in record["influence"].values() for row in side.values())
    assert AlignmentResult.load(found.save(tmp_path / "run")).to_dict() == record


def test_intervals_include_the_error_of_estimates():
    found = influence(toy("toy-gpt2"), load_task("ioi"), n_prompts=64, method="screen", bootstrap=200)
    assert found.screen is not None
    estimated = int((found.screen.deviation.norm(dim=1)).argmax())
    row = found.table()[str(found.components[estimated])]
    error = float(found.screen.deviation[estimated].norm())
    assert row["drop_ci95"][1] - row["drop_ci95"][0] > 2 * error


def test_the_interval_of_the_mean_drop_includes_the_error_of_estimates():
    """Both follow from the same draws; the plain bootstrap of the same numbers has the estimates as if exact."""
    teacher, student = (
        influence(toy(name), batch, method="screen", bootstrap=400)
        for name, batch in zip(PAIRS[0], batches(PAIRS[0], "ioi", 64), strict=True)
    )
    weights = teacher.weights()
    found = measure_robustness(teacher, student, weights=weights)
    plain = measure_robustness(replace(teacher, screen=None), replace(student, screen=None), weights=weights)
    assert teacher.screen is not None and found.teacher is not None and plain.teacher is not None
    assert found.teacher.mean_drop == plain.teacher.mean_drop
    assert _width(found.teacher.ci95) > _width(plain.teacher.ci95)
    assert _width(found.brittleness_ci95) > _width(plain.brittleness_ci95)
    baseline = weights.means(teacher.clean)
    errors = teacher.screen.redraw(400, seed=0)
    drawn = 100 * (weights.means(teacher.drops) + errors) / baseline[:, None]
    low, high = drawn.clamp(0, 100).mean(1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    assert found.teacher.ci95 == pytest.approx((low, high))
    assert any("which its interval includes" in notice for notice in _notices(teacher, student))


def _width(interval: tuple[float, float] | None) -> float:
    assert interval is not None
    return interval[1] - interval[0]


def _notices(teacher: Influence, student: Influence) -> tuple[str, ...]:
    found = screened_score(matching(PAIRS[0], "ioi", 64), teacher, student)
    assert found is not None
    return found.notices


@pytest.mark.parametrize("top_k", [4, 15])
def test_no_error_is_claimed_where_estimates_choose_the_components(top_k, tmp_path):
    """Far down the list all drops are estimates; components in another order have other matches."""
    pair, options = (toy("toy-bert"), toy("toy-distilbert")), dict(OPTIONS) | {"top_k": top_k}
    exact, found = (align(*pair, load_task("ioi"), method=method, **options) for method in ("exact", "screen"))
    assert found.screen is not None
    off, claimed = abs(found.score - exact.score), found.screen.error_in_score
    if top_k == 4:
        assert claimed is not None and off <= claimed + 1e-6
    else:
        assert claimed is None and off > 0.02
        assert any("not known" in warning for warning in found.warnings)
        assert AlignmentResult.load(found.save(tmp_path / "run")).to_dict() == found.to_dict()


def test_the_influence_record_keeps_estimates_apart(tmp_path):
    found = influence(toy("toy-gpt2"), load_task("numerals"), n_prompts=64, method="screen", bootstrap=0)
    record = found.to_dict()
    assert record["settings"]["method"] == "screen" and record["screen"]["n_components"] == 20
    assert {name for name, row in record["influence"].items() if row["exact"]} == {
        str(c) for c, exact in zip(found.components, found.exact.tolist(), strict=True) if exact
    }
    assert set(found.frame()["exact"]) == {True, False}


def test_a_screened_sweep_takes_up_what_was_finished(tmp_path, monkeypatch):
    options = {"n_prompts": 64, "method": "screen", "bootstrap": 0, "resume": tmp_path}
    first = influence(toy("toy-gpt2"), load_task("numerals"), **options)
    shards = sorted(tmp_path.rglob("*.safetensors"))
    assert len(shards) > 4  # gradients, audit and what was then measured
    shards[0].unlink()
    saved: list[str] = []
    keep = ShardStore.save

    def counted(self: ShardStore, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        saved.append(name)
        keep(self, name, tensors)

    monkeypatch.setattr(ShardStore, "save", counted)
    again = influence(toy("toy-gpt2"), load_task("numerals"), **options)
    assert len(saved) == 1
    assert torch.equal(again.ablated, first.ablated) and torch.equal(again.exact, first.exact)
    monkeypatch.setattr(attribution, "attribution", lambda *_a, **_k: pytest.fail("run again"))
    influence(toy("toy-gpt2"), load_task("numerals"), **options)


def test_short_memory_takes_fewer_prompts_at_a_time(monkeypatch):
    whole = influence(toy("toy-gpt2"), batches(PAIRS[0], "ioi", 64)[0], method="screen", bootstrap=0)
    embed, refused = GPT2Family.embed, []

    def tight(self: GPT2Family, raw: torch.nn.Module, ids: torch.Tensor):
        if len(ids) > 8:
            refused.append(len(ids))
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return embed(self, raw, ids)

    monkeypatch.setattr(GPT2Family, "embed", tight)
    found = influence(toy("toy-gpt2"), batches(PAIRS[0], "ioi", 64)[0], method="screen", bootstrap=0)
    assert refused[:3] == [64, 32, 16]
    torch.testing.assert_close(found.ablated, whole.ablated, rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(GPT2Family, "embed", lambda *_a, **_k: (_ for _ in ()).throw(torch.OutOfMemoryError("x")))
    with pytest.raises(OptionError, match="Out of memory on cpu with the activations of"):
        influence(toy("toy-gpt2"), batches(PAIRS[0], "ioi", 64)[0], method="screen", bootstrap=0)


@pytest.mark.parametrize(
    ("option", "choices"), [("method", "exact, screen"), ("normalize", "max, l1, l2"), ("sign", "clamp, abs")]
)
def test_unknown_options_are_refused_before_any_work(option, choices, monkeypatch):
    monkeypatch.setattr(GPT2Family, "embed", lambda *_a, **_k: pytest.fail("ran"))
    with pytest.raises(OptionError, match=f"choose one of {choices}"):
        influence(toy("toy-gpt2"), load_task("numerals"), **{option: "guess"})
