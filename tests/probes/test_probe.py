"""Probes of whole models: activations are those of the raw modules, and the curves say what they must."""

import json

import pytest
import torch
from einops import einsum

from circuitkit.core.errors import OptionError
from circuitkit.core.run_directory import load_run
from circuitkit.models.loading import load_model
from circuitkit.probes import plan as plan_module
from circuitkit.probes.features import read_features, rows_of
from circuitkit.probes.options import ProbeOptions
from circuitkit.probes.plan import plan_probes
from circuitkit.probes.probe import probe
from circuitkit.probes.readings import Reading
from circuitkit.reports.html import report
from circuitkit.tasks.loading import load_task


def _reading(model, *, rows=7, length=9):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(4, length + 1, (rows,), generator=generator)
    return Reading(
        name="x",
        place="x",
        ids=torch.randint(5, model.info.vocab_size, (rows, length), generator=generator),
        mask=torch.arange(length) < lengths[:, None],
        positions=lengths - 1 - torch.arange(rows) % 3,
    )


def _raw_streams(model, reading):
    raw = model.raw if model.is_causal else model.raw.base_model
    with torch.no_grad():
        out = raw(reading.ids, attention_mask=reading.mask.long(), output_hidden_states=True)
    each = torch.arange(len(reading.ids))
    return [hidden[each, reading.positions] for hidden in out.hidden_states]


@pytest.mark.parametrize("of", ["resid_pre", "resid_post"])
def test_streams_are_hugging_faces_hidden_states(tiny_model, of):
    reading = _reading(tiny_model)
    streams = _raw_streams(tiny_model, reading)  # of causal models the last is after the final norm
    found = read_features(tiny_model, reading, of, batch_size=3)
    assert list(found) == [row.name for row in rows_of(tiny_model.info, of)]
    assert torch.equal(found["embed"], streams[0])
    for layer in range(tiny_model.info.n_layers - 1):
        wanted = streams[layer + (of == "resid_post")]
        torch.testing.assert_close(found["embed" if (layer, of) == (0, "resid_pre") else f"L{layer}"], wanted)


def test_head_values_make_up_what_attention_writes(tiny_model):
    reading = _reading(tiny_model)
    found = read_features(tiny_model, reading, "z")
    each = torch.arange(len(reading.ids))
    for layer in range(tiny_model.info.n_layers):
        z = torch.stack([found[f"L{layer}H{head}"] for head in range(tiny_model.info.n_heads)], 1)
        written = einsum(z, tiny_model.w_o(layer), "row head d, head d model -> row model")
        whole = tiny_model.capture(reading.ids, reading.mask, {"attn_out"}, [layer])["attn_out"][layer]
        gap = whole[each, reading.positions] - written
        torch.testing.assert_close(gap, gap[:1].expand_as(gap), atol=1e-5, rtol=1e-4)  # the output bias


@pytest.fixture(scope="module")
def toys():
    return load_model("toy-gpt2"), load_model("toy-distilgpt2")


@pytest.fixture(scope="module")
def result(toys):
    return probe(
        toys[0],
        load_task("ioi"),
        student=toys[1],
        targets=["IO", "prior-occurrence"],
        random_model=True,
        n_prompts=400,
        controls=1,
        bootstrap=100,
    )


def test_a_model_that_answers_holds_the_answer_and_its_embedding_does_not(result):
    for who in ("model", "student"):
        curve = result.curve("IO", who)
        assert curve.rows[-1].value > 0.97 and curve.rows[-1].decodable
        assert curve.rows[0].value < 3 * curve.question.chance and not curve.rows[0].decodable
        assert all(abs(row.control - curve.question.chance) < 0.15 for row in curve.rows)
    assert result.curve("IO", "random").best.value < 0.3


def test_a_token_and_its_position_do_not_say_whether_it_is_a_repeat(result):
    assert result.curve("prior-occurrence").rows[0].value == 0.5
    assert result.curve("prior-occurrence").first is not None
    assert result.curve("prior-occurrence", "random").first is None


def test_scores_are_those_of_the_samples(result):
    for curve in result.curves:
        for i, row in enumerate(curve.rows):
            if curve.question.metric == "accuracy":
                assert row.value == pytest.approx(float(curve.said[i].mean()), abs=1e-6)
                assert row.above_embedding == pytest.approx(row.value - curve.rows[0].value, abs=1e-6)
            assert row.selectivity == pytest.approx(row.value - row.control, abs=1e-6)
            assert row.ci95[0] - 1e-9 <= row.value <= row.ci95[1] + 1e-9


def test_the_cost_is_known_before_and_the_same_after(toys, result):
    plan = plan_probes(
        toys[0],
        load_task("ioi"),
        student=toys[1],
        options=ProbeOptions(targets=["IO", "prior-occurrence"], random_model=True, n_prompts=400, controls=1),
    )
    # 2 targets x (5 + 3 + 5) rows x 4 folds x (1 + 1 shuffle)
    assert plan.n_fits == result.n_fits == 2 * 13 * 4 * 2
    assert plan.cost.startswith("208 fits: 2 targets, 3 models, 4 folds, 1 + 1 shuffled")


def test_a_saved_run_reads_back_and_is_drawn(result, tmp_path):
    run = load_run(result.save(tmp_path / "run"), schema="circuitkit.probe/1")
    assert run.result == json.loads(json.dumps({**result.to_dict(), "tensors": run.result["tensors"]}))
    assert torch.equal(run.tensors["model.IO.said"], result.curve("IO").said)
    text = report(tmp_path / "run").read_text(encoding="utf-8")
    assert "On ioi, all of 2 targets can be told from toy-gpt2" in text
    assert report(tmp_path / "run", tmp_path / "again.html").read_text(encoding="utf-8") == text
    frame = result.frame()
    assert len(frame) == 26 and {"target", "who", "name", "value", "control", "p"} <= set(frame)


def test_heads_one_by_one(toys):
    found = probe(toys[1], load_task("numerals"), targets=["element-4"], of="z", n_prompts=200, controls=1, bootstrap=0)
    curve = found.curve("element-4")
    assert [row.row.name for row in curve.rows][:3] == ["embed", "L0H0", "L0H1"] and len(curve.rows) == 9
    assert curve.best.value > 0.5  # the student's last element is moved to the end by single heads
    assert all(row.selectivity_ci95 is None for row in curve.rows)


def test_an_interrupted_run_goes_on(toys, tmp_path, monkeypatch):
    task = load_task("ioi")

    def run(progress=lambda *_: None):
        return probe(
            toys[1], task, targets=["IO"], n_prompts=400, controls=1, bootstrap=10, resume=tmp_path, progress=progress
        )

    def stop(stage, done, total):
        if stage == "probes":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(stop)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1
    fitted = []
    measure = plan_module.probe_row
    monkeypatch.setattr(plan_module, "probe_row", lambda *a, **k: (fitted.append(1), measure(*a, **k))[1])
    whole = run()
    assert len(fitted) == 2  # of the three rows
    assert run().to_dict() == whole.to_dict() and len(fitted) == 2


def test_targets_that_cannot_be_asked_are_left_out_unless_named(toys):
    few = {"n_prompts": 60, "controls": 1}
    plan = plan_probes(toys[0], load_task("ioi"), options=ProbeOptions(**few))
    assert {p.question.target for p in plan.probings} == {"prior-occurrence"}
    assert any(notice.startswith("Left out: Target 'IO'") for notice in plan.notices)
    with pytest.raises(OptionError, match="Target 'IO'"):
        plan_probes(toys[0], load_task("ioi"), options=ProbeOptions(targets=["IO"], **few))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"of": "pattern"}, "Activation 'pattern'"),
        ({"split": "none"}, "Split 'none'"),
        ({"side": "left"}, "Side 'left'"),
        ({"folds": 1}, "1 folds"),
        ({"controls": 0}, "0 shuffles"),
        ({"strength": float("nan")}, "Strength nan"),
        ({"bootstrap": -1}, "-1 bootstrap draws"),
        ({"targets": ["IO", "IO"]}, "named twice"),
        ({"seed": -1}, "Seed -1"),
    ],
)
def test_bad_options_are_one_line(toys, given, said):
    with pytest.raises(OptionError, match=said):
        probe(toys[0], load_task("ioi"), **{"n_prompts": 60, "targets": ["prior-occurrence"], **given})


def test_without_bootstrap_draws_an_auroc_is_not_said_to_be_at_chance(toys, tmp_path):
    found = probe(toys[0], load_task("ioi"), targets=["prior-occurrence"], n_prompts=64, controls=1, bootstrap=0)
    assert not found.curves[0].tested and found.curves[0].first is None
    assert any("from where prior-occurrence can be told is not known" in warning for warning in found.warnings)
    text = report(found.save(tmp_path / "run")).read_text(encoding="utf-8")
    assert "nothing was tested" in text and "cannot be told from" not in text
