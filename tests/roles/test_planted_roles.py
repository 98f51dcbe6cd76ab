"""Heads of known roles get these roles and no others; the models are checked by hand on the raw modules first."""

import functools

import pytest
from brute_force import forward
from hand_reads import read
from planted import planted
from planted_roles import PLANS, planted_roles

from circuitkit.core.component import Component
from circuitkit.roles.assign import find_roles

FAMILIES = ("gpt2", "llama", "bert", "distilbert")
case = functools.cache(planted_roles)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PLANS)
def test_planted_models_answer_by_their_heads(name, family):
    """By hand: the answer is right, and every planted head that reads from ASK looks where it was set to."""
    known = case(name, family)
    batch, raw = known.batch, known.model.raw
    at = {"L1H1": "n3", "L1H2": "S2", "L2H1": "IO", "L2H2": "IO", "L2H3": "IO"}
    for row, (ids, mask) in enumerate(zip(batch.clean.ids, batch.clean.mask, strict=True)):
        logits = forward(raw, ids[mask][None], mask[mask][None])[0, -1]
        assert logits.argmax() == batch.correct_ids[row]
        assert logits[batch.correct_ids[row]] - logits[batch.incorrect_ids[row]] > 2
        _, patterns, _ = read(raw, ids[mask])
        positions = {label: int(where[row]) for label, where in batch.label_positions.items()}
        for text in known.roles:
            head = Component.parse(text)
            if text in at:
                query, keys = -1, [positions[at[text]]]
            elif name == "similar":
                query, keys = positions["n3"], [positions["n1"], positions["n2"]]
            else:
                query, key = ("n3", "n2") if name == "detected" else ("S2", "S1")
                query, keys = positions[query], [positions[key]]
            assert patterns[head.layer][head.head][query, keys].sum() > 0.95, text


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PLANS)
def test_planted_heads_get_their_roles_and_nothing_else_gets_any(name, family):
    known = case(name, family)
    found = find_roles(known.model, known.batch, bootstrap=0).to_dict()["roles"]
    assert found == {str(c): known.roles.get(str(c), []) for c in known.model.components}


@pytest.mark.parametrize("family", FAMILIES)
def test_suppressors_say_what_they_do_to_the_task_and_movers_imply_copies(family):
    """The planted negative name mover lowers the answer: the model does better without it, by its own ablation too."""
    known = case("names", family)
    result = find_roles(known.model, known.batch, bootstrap=0)
    scores = result.scores
    assert scores["L2H2"]["copy-suppression"]["effect"] == "hurts"
    assert result.influence.table()["L2H2"]["drop"] < 0 < result.influence.table()["L2H1"]["drop"]
    assert scores["L2H1"]["name-mover"]["effect"] == "helps"
    assert scores["L2H3"]["copy-suppression"]["effect"] is None  # it is not claimed
    copy = scores["L2H1"]["copy"]
    assert copy["claimed"] and copy["implied_by"] == ["name-mover"] and scores["L2H1"]["name-mover"]["implied_by"] == []
    assert result.implied["L2H1"] == ["copy"] and result.to_dict()["definitions"]["copy"]["implied_by"]


@pytest.mark.parametrize("family", FAMILIES)
def test_collectors_are_told_from_heads_that_write_the_answer(family):
    """Both read the last number for END; patched by the direct path alone only the successor head's answer falls."""
    found = {name: find_roles(known.model, known.batch, bootstrap=0).scores["L1H1"]["numeral-collector"]["evidence"]
             for name, known in ((name, case(name, family)) for name in ("numbers", "collected", "moved"))}  # fmt: skip
    shares = {name: evidence["write"]["score"] / evidence["ov"]["score"] for name, evidence in found.items()}
    assert shares["numbers"] > 0.9 and abs(shares["collected"]) < 0.1 and shares["moved"] < 0
    assert found["collected"]["ov"]["score"] > 2


CIRCUITS = {  # of tests/planted.py, whose prompts have no labels
    "induction": {"L0H1": ["previous-token"], "L1H2": ["induction"]},
    "shared": {"L0H1": ["previous-token"], "L1H2": ["induction"], "L1H3": ["induction"]},
    "retrieval": {},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", CIRCUITS)
def test_roles_without_labels_in_planted_circuits(name, family):
    """What retrieves an item by its colour matters, but does nothing that a role is defined for: unknown."""
    known = planted(name, family, n_prompts=32)
    found = find_roles(known.model, known.batch, bootstrap=0).to_dict()
    assert found["roles"] == {str(c): CIRCUITS[name].get(str(c), []) for c in known.model.components}
    if name == "retrieval":
        assert found["influence"]["L1H1"]["influence"] > 0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_reading_alone_is_no_role(family):
    """Two heads read as the duplicate-token head and the name mover do, and what they write goes nowhere."""
    known = case("names", family)
    scores = find_roles(known.model, known.batch, bootstrap=0).to_dict()["scores"]
    for head, alike, role in (("L1H3", "L0H1", "duplicate-token"), ("L2H3", "L2H1", "name-mover")):
        if alike in known.roles:
            attention, same = (scores[text][role]["evidence"]["attention"] for text in (head, alike))
            assert attention["score"] == pytest.approx(same["score"], abs=0.05)
            assert attention["score"] > 0.3
            assert attention["p"] < 1e-3
            assert scores[head][role]["p"] > 0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_random_weights_have_no_roles(family):
    known = case("names", family)
    found = find_roles(known.model.with_random_weights(1), known.batch, bootstrap=0).to_dict()
    assert not any(found["roles"].values())
