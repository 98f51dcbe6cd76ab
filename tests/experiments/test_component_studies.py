"""Roles, probes and patching as studies hold what their own packages give."""

import pytest
from study_pairs import make_pair

from circuitkit.core.errors import OptionError
from circuitkit.discovery.discover import discover
from circuitkit.discovery.influence import influence
from circuitkit.experiments.compare import compare
from circuitkit.experiments.experiment import run_study
from circuitkit.probes.patching import activation_patching
from circuitkit.probes.probe import probe
from circuitkit.roles.assign import find_roles


@pytest.fixture(scope="module")
def pair():
    return make_pair(task="numerals", n_prompts=48)


def test_what_roles_cost(pair):
    study = run_study("roles", [pair])
    rows = study.frame("components")
    for who, model, batch in zip(
        ("teacher", "student"), (pair.teacher_model, pair.student_model), pair.batches, strict=True
    ):
        own = rows[rows["model"] == who].set_index("component")
        measured = influence(model, batch, bootstrap=0)
        base = float(measured.clean.double().mean())
        circuit = discover(model, batch, method="prune", threshold=0.2, judged="full", bootstrap=0)
        for component, drops in zip(measured.components, measured.drops, strict=True):
            row = own.loc[str(component)]
            assert row["change"] == pytest.approx(-100 * float(drops.double().mean()) / base, abs=1e-3)
            if component in circuit.node_effects:
                loss = circuit.node_effects[component].loss
                assert row["in_circuit"] == pytest.approx(-100 * loss / base, abs=1e-3)
            else:
                assert row["in_circuit"] is None or row["in_circuit"] != row["in_circuit"]
        roles = find_roles(model, batch, bootstrap=50).roles
        assert {name: ", ".join(own.loc[name, "roles"].split(", ")) for name in own.index} == {
            name: ", ".join(found) or "unknown" for name, found in roles.items()
        }


def test_the_strongest_of_a_role_leads_its_row(pair):
    study = run_study("roles", [pair])
    rows, every = study.frame("roles"), study.frame("components")
    assert len(rows)  # this teacher has a numeral mover
    found = find_roles(pair.teacher_model, pair.batches[0], bootstrap=50)
    assert any(found.implied.values())  # its mover collects as well
    for _, row in rows.iterrows():
        holders = [name for name, own in found.roles.items() if row["role"] in (*own, *found.implied[name])]
        own = every[(every["model"] == "teacher") & every["component"].isin(holders)]
        assert row["teacher"] == (" ".join(own["component"]) or "none")
        if len(own):
            assert row["teacher_strongest"] == own.loc[own["drop"].idxmax(), "component"]


def test_table_1_is_that_of_a_comparison(pair):
    study = run_study("roles", [pair])
    rows, components = study.frame("roles").set_index("role"), study.frame("components")
    compared = compare(pair.teacher_model, pair.student_model, pair.task, n_prompts=48, bootstrap=50)
    table = compared.roles.table1()
    assert table and {entry["role"] for entry in table} == set(rows.index)
    for entry in table:
        for who in ("teacher", "student"):
            theirs, row = entry[who], rows.loc[entry["role"]]
            if theirs is None:
                assert row[who] == "none"
                continue
            assert row[f"{who}_strongest"] == theirs["component"]
            assert row[f"{who}_change"] == pytest.approx(-theirs["full_model"]["points"], abs=1e-3)
            assert list(row[f"{who}_ci95"]) == pytest.approx(
                [-x for x in reversed(theirs["full_model"]["points_ci95"])], abs=1e-3
            )
            inside = theirs["circuit_minus_head"]
            if inside is None:
                assert row[f"{who}_in_circuit"] is None
                continue
            assert row[f"{who}_in_circuit"] == pytest.approx(-inside["points"], abs=1e-3)
            own = components[(components["model"] == who) & (components["component"] == theirs["component"])].iloc[0]
            assert list(own["in_circuit_ci95"]) == pytest.approx(
                [-x for x in reversed(inside["points_ci95"])], abs=1e-3
            )


def test_probes_of_both_models(pair):
    study = run_study("probes", [pair])
    models = pair.teacher_model, pair.student_model
    alone = probe(models[0], pair.task, student=models[1], n_prompts=48, bootstrap=50).frame()
    rows = study.frame("curves")
    assert len(rows) == len(alone)
    wanted = alone.assign(model=alone["who"].map({"model": "teacher", "student": "student"}))
    for got, want in zip(rows.to_dict("records"), wanted.to_dict("records"), strict=True):
        assert [got[k] for k in ("model", "target", "value", "control")] == [
            want[k] for k in ("model", "target", "value", "control")
        ]
        assert got["row"] == want["name"]
        assert got["blocks"] == (0 if want["name"] == "embed" else want["layer"] + 1)
    assert set(study.figures) == set(alone["target"])


def test_patching_of_both_models(pair):
    study = run_study("patching", [pair])
    rows = study.frame("places").set_index(["model", "place", "position"])
    found = activation_patching(pair.student_model, pair.batches[1], bootstrap=50)
    for name, places in found.table().items():
        for position, values in places.items():
            row = rows.loc[("student", name, position)]
            assert row["effect"] == pytest.approx(values["effect"])
            assert row["share"] == pytest.approx(values["share"])
    assert set(study.figures) == {
        f"{part}-{who}" for part in ("block", "head", "mlp") for who in ("teacher", "student")
    }


def test_patching_needs_partners_of_the_same_length():
    with pytest.raises(OptionError):
        run_study("patching", [make_pair(task="simpleqa")])
