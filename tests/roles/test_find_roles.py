"""Roles of whole models: what is claimed, what is not, and what a result holds."""

import json
from dataclasses import replace

import pytest
import torch

import circuitkit as ck
from circuitkit.core.errors import OptionError
from circuitkit.core.run_directory import load_run
from circuitkit.interventions.rows import clean_logit_diff
from circuitkit.models.loading import load_model
from circuitkit.roles.assign import find_roles
from circuitkit.roles.notices import about_absent
from circuitkit.tasks.batch import build_batch
from circuitkit.tasks.loading import load_task


@pytest.fixture(scope="module")
def bert_ioi():
    return find_roles(load_model("toy-bert"), load_task("ioi"), n_prompts=40, bootstrap=200)


def test_the_embedded_bert_finds_the_repeated_name_and_moves_the_other(bert_ioi):
    """Against patterns read off the model here: L0H3 joins the two mentions, heads of block 3 read the other name."""
    model = load_model("toy-bert")
    batch = build_batch(load_task("ioi"), model, n_prompts=40)
    patterns = model.capture(batch.clean.ids, batch.clean.mask, ["pattern"])["pattern"]
    row, at = torch.arange(40), batch.label_positions
    doubled = patterns[0][row, 3, at["S2"], at["S1"]].mean()
    moved = patterns[3][row, :, at["END"], at["IO"]].mean(0)
    assert float(doubled) > 0.5 and float(moved.min()) > 0.9
    roles = bert_ioi.roles
    assert roles["L0H3"] == ["duplicate-token"]
    assert all("name-mover" in roles[f"L3H{head}"] for head in range(4))
    assert not any(roles[f"L{layer}H{head}"] for layer in (1, 2) for head in range(4))
    scores = bert_ioi.scores
    for head in range(4):
        evidence = scores[f"L3H{head}"]["name-mover"]["evidence"]
        assert evidence["attention"]["score"] == pytest.approx(float(moved[head]), abs=1e-4)
    qk = scores["L0H3"]["duplicate-token"]["evidence"]["qk"]
    assert qk["score"] > 0.9 * bert_ioi.influence.baseline.mean  # without matching names nothing of the answer is left


def test_a_result_is_whole(bert_ioi, tmp_path):
    result = bert_ioi.to_dict()
    names = [str(c) for c in load_model("toy-bert").components]
    assert result["schema"] == "circuitkit.roles/1"
    assert list(result["roles"]) == list(result["scores"]) == list(result["influence"]) == names
    assert result["roles"]["MLP0"] == [] and result["scores"]["MLP0"] == {}
    assert set(result["mlps"]) == {f"MLP{i}" for i in range(4)}
    assert any("post-LN" in warning for warning in result["warnings"])
    for tests in result["scores"].values():
        for role, row in tests.items():
            assert set(row["evidence"]) == {"attention", "random", "qk", "ov", "write"}
            held = [part["p"] for kind, part in row["evidence"].items() if part and kind not in ("qk", "ov")]
            assert row["p"] >= max(held) - 1e-12 and row["q"] >= row["p"] - 1e-12
            assert row["r"] >= min(1, 2 * row["p"]) - 1e-12
            assert row["claimed"] == (row["r"] <= 0.05), role
            assert (row["effect"] is not None) == row["claimed"]
            if row["claimed"]:
                low, high = row["ci95"]
                assert low <= row["score"] <= high
    run = load_run(bert_ioi.save(tmp_path / "run"), schema="circuitkit.roles/1")
    assert run.result["roles"] == result["roles"]
    assert run.tensors["duplicate-token.attention"].shape == (16, 40)
    example = run.result["examples"][0]
    assert run.tensors["example0.patterns"].shape == (len(example["heads"]), *2 * (len(example["tokens"]),))
    frame = bert_ioi.frame()
    assert len(frame) == 20 and (frame["roles"] == "unknown").sum() == sum(not r for r in result["roles"].values())


def test_by_heart_is_no_induction():
    """Block 0 of the embedded GPT-2 reads numerals after "in" without any match, as random text shows."""
    result = find_roles(load_model("toy-gpt2"), load_task("numerals"), n_prompts=48, bootstrap=0)
    row = result.scores["L0H2"]["induction"]["evidence"]
    assert row["attention"]["p"] < 1e-3 and row["random"]["p"] > 0.5
    assert not any("induction" in roles for roles in result.roles.values())
    assert "numeral-mover" in result.roles["L0H1"]


@pytest.mark.parametrize("name", ["toy-gpt2", "toy-bert", "toy-llama"])
def test_models_that_learned_nothing_have_no_roles(name):
    """Random weights, sharpened attention and answers swapped so that the logit difference is above 0 throughout."""
    claims, small, tests = 0, 0, 0
    for seed in range(2):
        model = load_model(name).with_random_weights(seed)
        with torch.no_grad():
            for parameter, weight in model.raw.named_parameters():
                if parameter.endswith(
                    ("c_attn.weight", "query.weight", "key.weight", "q_proj.weight", "k_proj.weight")
                ):
                    weight.mul_(25.0 if seed else 1.0)
        batch = build_batch(load_task("numerals" if seed else "ioi"), model, n_prompts=32)
        wrong = clean_logit_diff(model, batch) < 0
        swapped = replace(
            batch,
            correct_ids=torch.where(wrong, batch.incorrect_ids, batch.correct_ids),
            incorrect_ids=torch.where(wrong, batch.correct_ids, batch.incorrect_ids),
        )
        result = find_roles(model, swapped, bootstrap=0)
        assert result.influence.baseline.clear
        p = torch.stack([found.p for found in result.evidence.values()])
        claims += sum(map(len, result.roles.values()))
        small, tests = small + int((p <= 0.05).sum()), tests + p.numel()
    assert claims == 0
    assert small <= 0.05 * tests


def test_suppressing_the_repeated_name_helps():
    """Heads of the embedded GPT-2 that read S2 and lower it: the model does worse without them."""
    result = find_roles(load_model("toy-gpt2"), load_task("ioi"), n_prompts=64, bootstrap=0)
    suppressors = [name for name, held in result.roles.items() if "copy-suppression" in held]
    assert suppressors
    for name in suppressors:
        row = result.scores[name]["copy-suppression"]
        assert row["effect"] == "helps" and row["evidence"]["ov"]["score"] > 0
        assert result.influence.table()[name]["drop"] > 0


def test_the_result_says_where_repeated_words_were_read():
    rules = {}
    for task in ("ioi", "numerals"):
        definitions = find_roles(load_model("toy-bert"), load_task(task), n_prompts=8, bootstrap=0).to_dict()[
            "definitions"
        ]
        rules[task] = {definitions[role]["rule"] for role in ("duplicate-token", "induction") if role in definitions}
        assert definitions["previous-token"]["rule"] is None
    assert rules["ioi"] == {"at labels that repeat an earlier label's word"}
    assert rules["numerals"] == {"at every token that occurred before, because no labels repeat a word"}


def _rows(tmp_path, n, *, corrupted=True, labels=True):
    names, rows = ["Michael", "Jessica", "Ashley", "Daniel", "David", "James"], []
    for i in range(n):
        a, b, c, d, e = (names[(i + j * (1 + i // 6)) % 6] for j in range(5))
        if len({a, b}) < 2:
            continue
        clean = f"Then, {a} and {b} went to the store. {b} gave a ring to"
        row = {"clean": clean, "correct": f" {a}", "incorrect": f" {b}"}
        if corrupted:
            row["corrupted"] = f"Then, {c} and {d} went to the store. {e} gave a ring to"
        if labels:
            at = clean.rindex(b)
            row["labels"] = {"A": [6, 6 + len(a)], "B2": [at, at + len(b)]}
        rows.append(row)
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_task(file)


def test_prompts_without_partners_give_no_claims_but_all_else(tmp_path):
    result = find_roles(load_model("toy-gpt2"), _rows(tmp_path, 12, corrupted=False), n_prompts=12, bootstrap=50)
    assert not any(result.roles.values())
    assert any("no corrupted prompts" in warning for warning in result.warnings)
    assert "name-mover" in result.evidence and result.examples == ()
    assert result.influence.settings["ablation"] == "mean"


def test_prompts_without_labels_are_tested_for_what_needs_none(tmp_path):
    result = find_roles(load_model("toy-gpt2"), _rows(tmp_path, 12, labels=False), n_prompts=12, bootstrap=0)
    assert set(result.evidence) == {"previous-token", "duplicate-token", "induction"}
    assert any("name-mover" in warning and "label" in warning for warning in result.warnings)


def test_one_prompt(tmp_path):
    result = find_roles(load_model("toy-gpt2"), load_task("ioi"), n_prompts=1)
    assert not any(result.roles.values())
    assert any("Fewer than 8 prompts" in warning for warning in result.warnings)
    result.save(tmp_path / "one")


def test_prompts_of_no_common_form_are_not_patched():
    result = find_roles(load_model("toy-gpt2"), load_task("simpleqa"), n_prompts=10, bootstrap=0)
    assert not any(result.roles.values())
    assert any("other lengths" in warning for warning in result.warnings)


def test_a_second_run_takes_up_finished_shards(tmp_path):
    model, task = load_model("toy-bert"), load_task("ioi")
    options = {"n_prompts": 16, "bootstrap": 0, "resume": tmp_path / "parts"}
    first = find_roles(model, task, **options)
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "parts").rglob("*.safetensors")}
    assert len(files) > 3
    again = find_roles(model, task, **options)
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "parts").rglob("*.safetensors")} == files
    assert json.dumps(first.to_dict()) == json.dumps(again.to_dict())


def test_options_and_exports():
    assert ck.find_roles is find_roles
    with pytest.raises(OptionError, match="bootstrap draws"):
        find_roles(load_model("toy-gpt2"), load_task("ioi"), bootstrap=-1)
    with pytest.raises(OptionError, match="Alpha"):
        find_roles(load_model("toy-gpt2"), load_task("ioi"), alpha=2.0)
    lacking = {"a": "labels", "b": "labels"}
    assert about_absent(lacking, labelled=True) == ("Not tested: a, b; prompts need labels.",)
    assert "have no labels. In a .jsonl file" in about_absent(lacking, labelled=False)[1]
    assert about_absent({}, labelled=False) == ()


def test_a_head_that_reads_both_names_alike_moves_none():
    """L0H0 and L1H2 of the embedded GPT-2 read the first two names, whichever of them is the answer."""
    result = find_roles(load_model("toy-gpt2"), load_task("ioi"), n_prompts=64, bootstrap=0)
    model = load_model("toy-gpt2")
    batch = build_batch(load_task("ioi"), model, n_prompts=64)
    patterns = model.capture(batch.clean.ids, batch.clean.mask, ["pattern"])["pattern"]
    row, at = torch.arange(64), batch.label_positions
    for layer, head in ((0, 0), (1, 2)):
        read = {label: patterns[layer][row, head, at["END"], at[label]].mean().item() for label in ("IO", "S1", "S2")}
        assert read["IO"] > 0.4 and read["S1"] > 0.3
        row_of = result.scores[f"L{layer}H{head}"]["name-mover"]["evidence"]["attention"]
        assert row_of["rival"] == pytest.approx(read["S1"] + read["S2"], abs=1e-5)
        assert "name-mover" not in result.roles[f"L{layer}H{head}"]
