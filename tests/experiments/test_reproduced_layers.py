"""Figures of layers and MLPs beside the published ones: ours equal what raw modules and single commands give."""

from dataclasses import replace

import pytest
import torch
from study_pairs import make_pair

from circuitkit.discovery.influence import influence
from circuitkit.experiments.experiment import run_study
from circuitkit.experiments.published.figures import published
from circuitkit.experiments.reproduce.comparison import comparison_table
from circuitkit.experiments.reproduce.measured import measured_figures
from circuitkit.experiments.study_options import StudyOptions
from circuitkit.probes.patching import activation_patching
from circuitkit.probes.probe import probe

CLOSE = 1e-4


@pytest.fixture(scope="module")
def pair():
    return make_pair(task="numerals", n_prompts=48)


@pytest.fixture(scope="module")
def studies(pair):
    return {name: run_study(name, [pair], StudyOptions()) for name in ("mlp", "probes", "patching", "roles")}


@pytest.fixture(scope="module")
def found(studies):
    return measured_figures(studies)


def outputs(model, batch, which):
    """What every block's MLP writes, or the stream behind every block: by raw forward hooks, prompt by prompt."""
    kept, hooks = [], []
    for block in model.raw.transformer.h:
        module = block.mlp if which == "mlp" else block
        hooks.append(
            module.register_forward_hook(
                lambda _m, _i, out: kept.append(out[0] if isinstance(out, tuple) and which != "mlp" else out)
            )
        )
    prompts = []
    for ids, mask in zip(batch.clean.ids, batch.clean.mask, strict=True):
        kept.clear()
        with torch.no_grad():
            model.raw(ids[mask][None])
        prompts.append(torch.stack([x.reshape(-1, x.shape[-1]) for x in kept]))
    for hook in hooks:
        hook.remove()
    return prompts


def by_variant(found, component):
    return {o.variant: o for o in found if o.quantity == "mlp_cosine" and o.component == component}


def test_cosines_are_those_of_raw_modules(pair, found):
    models = pair.teacher_model, pair.student_model
    mlps = [outputs(m, b, "mlp") for m, b in zip(models, pair.batches, strict=True)]
    streams = [outputs(m, b, "stream") for m, b in zip(models, pair.batches, strict=True)]
    for t, s in ((3, 1), (2, 0)):
        ours = by_variant(found, f"MLP{t} with MLP{s}")
        each = [torch.cosine_similarity(a[t], b[s], dim=-1).double() for a, b in zip(*mlps, strict=True)]
        wanted = {
            "all tokens": torch.stack([x.mean() for x in each]).mean(),
            "first token": torch.stack([x[0] for x in each]).mean(),
            "other tokens": torch.stack([x[1:].mean() for x in each]).mean(),
        }
        means = [
            torch.cat([x[layer] for x in own]).double().mean(0) for own, layer in zip(streams, (t, s), strict=True)
        ]
        wanted["mean stream"] = torch.cosine_similarity(*means, dim=0)
        assert {name: one.value for name, one in ours.items()} == {
            name: pytest.approx(float(value), abs=CLOSE) for name, value in wanted.items()
        }
        assert {one.role for one in ours.values()} == ({"last MLPs"} if (t, s) == (3, 1) else {None})


def test_perfect_from_is_read_off_the_probes(pair, found, studies):
    models = pair.teacher_model, pair.student_model
    alone = probe(models[0], pair.task, student=models[1], n_prompts=48, bootstrap=50)
    ours = {(o.side, o.variant): o for o in found if o.quantity == "probe element perfect from"}
    assert len(ours) == 2 * sum(
        curve.question.target.startswith("element-") for curve in alone.curves if curve.who == "model"
    )
    for (side, target), one in ours.items():
        curve = alone.curve(target, "model" if side == "teacher" else "student")
        told = [row.value for row in curve.rows[1:]]
        wanted = None
        while told and told[-1] == 1:
            wanted = len(told) - 1
            told.pop()
        assert one.value == wanted
        assert ("there is none" in one.definition) == (wanted is None)
    # by hand: told every time at layers 1, 3 and 4 and not at 2, so from 3 on
    curves = studies["probes"].tables["curves"]
    rows = [
        {**curves.rows[0], "model": "teacher", "target": "element-1", "row": name, "value": value}
        for name, value in (("embed", 1.0), ("L0", 0.5), ("L1", 1.0), ("L2", 0.9), ("L3", 1.0), ("L4", 1.0))
    ]
    made = replace(
        studies["probes"], tables={"targets": replace(curves, rows=()), "curves": replace(curves, rows=tuple(rows))}
    )
    (one,) = [o for o in measured_figures({"probes": made}) if o.quantity.endswith("perfect from")]
    assert one.value == 3


def test_the_gain_of_a_block_is_that_of_patching_alone(pair, found, studies):
    roles = studies["roles"].frame("roles").set_index("role")
    for side, model, batch in zip(
        ("teacher", "student"), (pair.teacher_model, pair.student_model), pair.batches, strict=True
    ):
        alone = activation_patching(model, batch, parts=["block"], bootstrap=0)
        shares = alone.shares[:, :-1]  # embed, block0, ...; without all tokens
        rises = shares[1:] - shares[:-1]
        head = roles.loc["numeral-detection", f"{side}_strongest"] if "numeral-detection" in roles.index else None
        ours = {o.variant: o for o in found if (o.quantity, o.side) == ("patching gain", side)}
        if isinstance(head, str):
            layer = int(head[1 : head.index("H")])
            at = int(shares[layer + 1].argmax())
        else:
            layer, at = divmod(int(rises.argmax()), rises.shape[1])
            assert "adds most" in ours["share"].definition
        assert ours["share"].component == f"block{layer}"
        assert ours["share"].value == pytest.approx(float(shares[layer + 1, at]), abs=CLOSE)
        assert ours["rise"].value == pytest.approx(float(rises[layer, at]), abs=CLOSE)
        assert alone.positions[at] in ours["share"].definition


def test_a_known_detection_head_decides_the_layer(studies):
    table = studies["roles"].tables["roles"]
    row = {**{c.name: None for c in table.columns}, "role": "numeral-detection", "teacher_strongest": "L1H2"}
    made = replace(studies["roles"], tables={**studies["roles"].tables, "roles": replace(table, rows=(row,))})
    gains = [o for o in measured_figures({**studies, "roles": made}) if o.quantity == "patching gain"]
    assert {(o.side, o.component) for o in gains if o.side == "teacher"} == {("teacher", "block1")}
    assert "numeral detection head L1H2" in gains[0].definition


@pytest.fixture(scope="module")
def berts():
    return make_pair("toy-bert", "toy-distilbert", task="numerals", n_prompts=64)


def test_heads_and_mlps_of_bert_stand_beside_appendix_i(berts):
    studies = {name: run_study(name, [berts], StudyOptions()) for name in ("mlp", "roles")}
    found, like = measured_figures(studies), published().pairs["bert/distilbert"]
    table = comparison_table("", found, like, same=False, tasks=["numerals"]).frame()
    ours = table[table["ours"].notna()]
    assert set(ours["of"].dropna()) == {"bert/distilbert, not these"}
    cosines = ours[(ours["quantity"] == "mlp cosine") & ours["paper"].notna()]
    assert set(cosines["paper"]) == {0.928} and len(cosines) == 2  # of MLP outputs, and of streams as printed
    for side, model, batch, paper in zip(
        ("teacher", "student"),
        (berts.teacher_model, berts.student_model),
        berts.batches,
        (-76.68, -4.98),
        strict=True,
    ):
        measured = influence(model, batch, bootstrap=0)
        base = float(measured.clean.double().mean())
        change = {
            str(c): -100 * float(d.double().mean()) / base
            for c, d in zip(measured.components, measured.drops, strict=True)
        }
        last = ours[(ours["quantity"] == "mlp drop") & (ours["model"] == side)]
        assert list(last["paper"]) == [paper]
        assert last["ours"].item() == pytest.approx(change[f"MLP{model.info.n_layers - 1}"], abs=1e-3)
        movers = ours[(ours["quantity"] == "role drop") & (ours["model"] == side) & ours["paper"].notna()]
        assert len(movers)  # both have a numeral mover
        for _, row in movers[movers["definition"].str.startswith("Eq. 4")].iterrows():
            name = row["component"].split(": ")[1].split(" ")[0]
            assert row["ours"] == pytest.approx(change[name], abs=1e-3)


def test_of_the_very_models_every_figure_has_a_row():
    like = published().pairs["bert/distilbert"]
    table = comparison_table("", (), like, same=True, tasks=["numerals"]).frame()
    heads = table[table["quantity"] == "role drop"].set_index("component")["paper"].to_dict()
    assert heads == {
        "numeral-detection: none (theirs L4H2)": -6.57,
        "numeral-detection: none (theirs L1H9)": -100.0,
        "numeral-mover: none (theirs L4H0)": -10.83,
        "numeral-mover: none (theirs L0H0)": -44.34,
    }
    assert set(table.loc[table["quantity"] == "role drop", "discrepancies"].str.contains("bert_head_hook")) == {True}
    assert len(table[table["quantity"] == "mlp cosine"]) == 12
