"""Activation patching against hooks placed by hand on raw modules, and the laws that it obeys."""

from dataclasses import replace

import pytest
import torch
from brute_patching import Patcher
from tiny_tasks import labelled

from circuitkit.core.component import Component, Stream
from circuitkit.core.errors import OptionError
from circuitkit.interventions.engine import run_interventions
from circuitkit.interventions.intervention import Intervention, replace_components
from circuitkit.models.loading import load_model
from circuitkit.probes.patch_sites import default_parts, parse_parts
from circuitkit.probes.patching import activation_patching
from circuitkit.probes.places import patch_places
from circuitkit.tasks.batch import build_batch
from circuitkit.tasks.loading import load_task

EXACT = {"atol": 1e-4, "rtol": 0}
PARTS = ("block", "head", "mlp", "q", "k", "v", "pattern")
CHOSEN = (Component(0, 1), Component(1, 3), Component(1, 2), Component(0))
QUICK = {"bootstrap": 20, "n_prompts": 16}


def logit_diff(logits, batch, row):
    at = logits[batch.clean.answer_pos[row]]
    return at[batch.correct_ids[row]] - at[batch.incorrect_ids[row]]


def by_hand(model, batch, row, direction):
    mask = batch.clean.mask[row]
    clean, corrupted = batch.clean.ids[row][mask], batch.corrupted.ids[row][mask]
    pair = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    return Patcher(model.raw, model.info.family, *pair), mask


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_streams_are_patched_as_by_hooks(tiny_model, direction):
    batch = labelled(tiny_model)
    found = activation_patching(tiny_model, batch, parts=("block",), direction=direction, bootstrap=0)
    places = patch_places(tiny_model, batch, "labels")
    assert found.positions == places.names
    assert {"A", "B", "END", "other tokens"} == set(places.names[:-1])
    assert [row.name for row in found.rows] == ["embed", *(f"block{n}" for n in range(tiny_model.info.n_layers))]
    for row in range(len(batch.pairs)):
        patcher, mask = by_hand(tiny_model, batch, row, direction)
        for i, site in enumerate(found.rows):
            for j in range(len(places.names)):
                logits = patcher.stream(site.layer, places.masks[j, row][mask])
                torch.testing.assert_close(found.patched[i, j, row], logit_diff(logits, batch, row), **EXACT)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("part", ["q", "k", "v", "pattern"])
def test_parts_of_heads_are_patched_as_by_hooks(tiny_model, part, direction):
    batch = labelled(tiny_model, ((5,), (8, 7)))
    heads = [c for c in CHOSEN if c.kind == "head"]
    found = activation_patching(tiny_model, batch, parts=(part,), components=heads, direction=direction, bootstrap=0)
    places = patch_places(tiny_model, batch, "labels")
    assert [row.name for row in found.rows] == [f"{head}.{part}" for head in heads]
    assert found.effects.abs().max() > 0.01  # else the comparison shows nothing
    for row in range(len(batch.pairs)):
        patcher, mask = by_hand(tiny_model, batch, row, direction)
        for i, head in enumerate(heads):
            for j in range(len(places.names)):
                logits = patcher.head_part(head.layer, head.head, part, places.masks[j, row][mask])
                torch.testing.assert_close(found.patched[i, j, row], logit_diff(logits, batch, row), **EXACT)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_everything_patched_is_the_partner(tiny_model, direction):
    """The stream at all tokens carries all there is; the unpatched runs are those of the raw model."""
    batch = labelled(tiny_model)
    found = activation_patching(tiny_model, batch, parts=("block",), direction=direction, bootstrap=0)
    torch.testing.assert_close(
        found.effects[:, -1], (found.clean - found.corrupted).expand(len(found.rows), -1), **EXACT
    )
    for row in range(len(batch.pairs)):
        patcher, mask = by_hand(tiny_model, batch, row, direction)
        nowhere = torch.zeros(int(mask.sum()), dtype=torch.bool)
        base = found.corrupted if direction == "denoise" else found.clean
        torch.testing.assert_close(base[row], logit_diff(patcher.stream(0, nowhere), batch, row), **EXACT)


def test_a_place_before_any_difference_changes_nothing(tiny_model):
    """In causal models nothing before the first differing token can; in encoders the embedding alone."""
    batch = labelled(tiny_model, shared=3)
    found = activation_patching(tiny_model, batch, parts=PARTS, components=CHOSEN, positions="tokens", bootstrap=0)
    before = found.effects[:, :3]
    if not tiny_model.is_causal:
        before = before[[i for i, row in enumerate(found.rows) if row.name == "embed"]]
    assert before.abs().max() < 1e-5
    assert found.effects[:, 3:].abs().max() > 0.1


def test_identical_partners_leave_nothing(tiny_model):
    batch = labelled(tiny_model)
    same = replace(batch, corrupted=batch.clean)
    found = activation_patching(tiny_model, same, parts=PARTS, components=CHOSEN, bootstrap=10)
    assert found.effects.abs().max() < 1e-5
    assert found.shares is None
    assert "nothing to take shares of" in " ".join(found.warnings)


def test_noising_is_denoising_with_the_sides_exchanged(tiny_model):
    batch = labelled(tiny_model)
    other = replace(batch, clean=batch.corrupted, corrupted=batch.clean)
    options = {"parts": ("block", "mlp", "v", "pattern"), "components": CHOSEN[2:], "bootstrap": 0}
    noised = activation_patching(tiny_model, batch, direction="noise", **options)
    denoised = activation_patching(tiny_model, other, direction="denoise", **options)
    torch.testing.assert_close(noised.patched, denoised.patched, **EXACT)
    torch.testing.assert_close(noised.clean, denoised.corrupted, **EXACT)


def test_batch_size_changes_nothing(tiny_models):
    batch = labelled(tiny_models["llama"])
    options = {"parts": ("block", "head", "k"), "components": ["L1H2"], "bootstrap": 0}
    one, many = (activation_patching(tiny_models["llama"], batch, batch_size=n, **options) for n in (1, 64))
    torch.testing.assert_close(one.patched, many.patched, **EXACT)


def test_streams_together_with_components(tiny_model):
    """A stream that is replaced everywhere hides what is replaced before it and not what is replaced behind it."""
    batch = labelled(tiny_model)
    early, late = Component(0, 2), Component(1)
    units = [
        replace_components(Stream(0)),
        Intervention(edits={Stream(0): None, early: None}),
        Intervention(edits={Stream(0): None, late: None}),
        replace_components(Stream(-1), Stream(0), late),
        replace_components(late),
    ]
    runs = run_interventions(tiny_model, batch, units, source="resample").changed
    partner = run_interventions(tiny_model, batch, [replace_components(Stream(-1))], source="resample").changed[0]
    for same in runs[:4]:
        torch.testing.assert_close(same, partner, **EXACT)
    assert (runs[4] - partner).abs().max() > 0.01


def test_streams_are_replaced_by_other_prompts_only(tiny_models):
    model = tiny_models["gpt2"]
    batch = labelled(model)
    with pytest.raises(OptionError, match="only by that of other prompts"):
        run_interventions(model, batch, [replace_components(Stream(1))], source="mean")
    with pytest.raises(OptionError, match="block7 is not in the model"):
        run_interventions(model, batch, [replace_components(Stream(7))], source="resample")
    zeroed = run_interventions(model, batch, [replace_components(Stream(-1))], source="zero")
    assert zeroed.changed.isfinite().all()  # what the first block reads can be ablated, as before


def test_labels_are_their_words_and_all_tokens_come_last(tiny_models):
    model = tiny_models["gpt2"]
    batch = labelled(model, ((6, 6),))
    batch.clean.words[:] = torch.tensor([0, 1, 2, 2, 3, 4])  # the middle label's word has two tokens
    places = patch_places(model, batch, "labels")
    assert places.names == ("A", "B", "END", "other tokens", "all tokens")
    assert places.masks[:, 0].long().tolist() == [
        [0, 1, 0, 0, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 1],
        [1, 0, 0, 0, 1, 0],
        [1, 1, 1, 1, 1, 1],
    ]


def test_tokens_are_named_where_all_prompts_agree(tiny_models):
    model = tiny_models["gpt2"]
    batch = labelled(model, ((4, 6),))
    word = model.tokenizer(" Mary")["input_ids"]
    batch.clean.ids[:, 0] = word[0]
    places = patch_places(model, batch, "tokens")
    assert places.names == ("0 Mary", "1", "2", "3", *(n for n in places.names[4:-1]), "all tokens")
    assert len(places.names) == 7
    assert places.defined.long().tolist() == [[1, 1]] * 4 + [[0, 1]] * 2 + [[1, 1]]


def test_map_by_hand(tiny_models):
    """Means, shares and times the layer's mean of a map whose numbers are written out."""
    made = activation_patching(tiny_models["gpt2"], labelled(tiny_models["gpt2"]), parts=("head",), bootstrap=50)
    rows = made.rows[:2]
    found = replace(
        made,
        rows=rows,
        positions=("a", "b", "all tokens"),
        defined=torch.tensor([[True, True], [True, False], [True, True]]),
        clean=torch.tensor([5.0, 7.0]),
        corrupted=torch.tensor([1.0, 3.2]),
        patched=torch.tensor([[[2.0, 4.2], [3.0, 99.0], [5.0, 7.0]], [[1.0, 3.2], [1.0, 9.0], [3.0, 5.2]]]),
    )
    torch.testing.assert_close(found.mean_effects, torch.tensor([[1.0, 2.0, 3.9], [0.0, 0.0, 2.0]]).double())
    torch.testing.assert_close(found.gaps, torch.tensor([3.9, 4.0, 3.9]).double())
    assert found.shares is not None
    wanted = torch.tensor([1 / 3.9, torch.nan, 1.0]).double()  # the one prompt at b shows no gap with an error
    torch.testing.assert_close(found.shares[0], wanted, equal_nan=True)
    assert "At 1 of 3 positions (b)" in " ".join(found.warnings)
    # four single places of one layer have the mean 3 / 4
    torch.testing.assert_close(found.layer_ratios[0], torch.tensor([4 / 3, 8 / 3, 5.2]).double())
    assert found.peaks == {rows[0].name: "b", rows[1].name: "a"}
    table = found.table()
    low, high = table[rows[0].name]["a"]["ci95"]
    assert (low, high) == pytest.approx((1.0, 1.0), abs=1e-6)  # both prompts rise by 1
    assert table[rows[0].name]["b"]["ci95"] is None  # some draws hold no prompt that has it
    assert table[rows[0].name]["b"]["share"] is None and table[rows[0].name]["a"]["share"] == pytest.approx(1 / 3.9)


def test_z_is_the_head(tiny_models):
    model = tiny_models["gpt2"]
    found = activation_patching(model, labelled(model), parts=("z",), components=["L0H1"], bootstrap=0)
    assert [(row.name, row.part) for row in found.rows] == [("L0H1", "head")]


def test_without_parts_blocks_and_what_the_components_are(tiny_models):
    model = tiny_models["gpt2"]
    found = activation_patching(model, labelled(model), components=["L0H1"], bootstrap=0)
    assert [row.name for row in found.rows if row.part != "block"] == ["L0H1"] and found.settings["parts"] == [
        "block",
        "head",
    ]
    assert default_parts(None) == default_parts(["MLP0", "L0H1"]) == ("block", "head", "mlp")
    assert default_parts([Component(layer=0)]) == ("block", "mlp")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": ("heads",)}, "Part 'heads' unknown"),
        ({"parts": ()}, "No part"),
        ({"direction": "up"}, "Direction 'up' unknown"),
        ({"positions": "words"}, "Positions 'words' unknown"),
        ({"components": ["L9H9"]}, "L9H9 is not in"),
        ({"components": ["MLP0"], "parts": ("q",)}, "nothing to patch for part 'q'"),
        ({"components": []}, "nothing to patch"),
        ({"bootstrap": -1}, "-1 bootstrap draws"),
        ({"batch_size": 0}, "Batch size 0"),
    ],
)
def test_bad_options_are_refused_in_one_line(tiny_models, options, message):
    model = tiny_models["gpt2"]
    with pytest.raises(OptionError, match=message) as error:
        activation_patching(model, labelled(model), **options)
    assert "\n" not in str(error.value)


def test_prompts_that_cannot_be_patched_are_refused(tiny_models):
    model = tiny_models["gpt2"]
    batch = labelled(model)
    for broken, message in (
        (replace(batch, corrupted=None), "no corrupted prompts"),
        (replace(batch, positional=False), "no positions in common"),
        (replace(batch, label_positions={}), "share no labels"),
    ):
        with pytest.raises(OptionError, match=message):
            activation_patching(model, broken)


def test_stopped_patching_goes_on_where_it_was(tiny_models, tmp_path):
    model, calls = tiny_models["llama"], []
    batch = labelled(model)
    options = {"parts": ("block", "k"), "components": ["L0H0"], "bootstrap": 0}
    whole = activation_patching(model, batch, **options)

    class Enough(Exception):
        pass

    def stop(stage, done, total):
        calls.append((stage, done, total))
        if done > 0.9 * total:  # in the last of the jobs
            raise Enough

    with pytest.raises(Enough):
        activation_patching(model, batch, resume=tmp_path, progress=stop, **options)
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.safetensors")}
    assert len(kept) >= 2
    again = activation_patching(model, batch, resume=tmp_path, **options)
    assert all(file.stat().st_mtime_ns == when for file, when in kept.items())
    assert torch.equal(again.patched, whole.patched)
    assert len({total for _, _, total in calls}) == 1
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)


def test_one_prompt_has_no_intervals(tiny_models):
    model = tiny_models["gpt2"]
    found = activation_patching(model, labelled(model, ((6,),)), parts=("block",), bootstrap=20)
    assert found.weights() is None and found.shares is None
    assert found.to_dict()["effects"]["block0"]["END"]["ci95"] is None


def test_tasks_are_patched_and_saved(tiny_model, tmp_path):
    found = activation_patching(tiny_model, load_task("months"), parts=("block", "q"), **QUICK)
    run = found.save(tmp_path / "run")
    assert (run / "tensors.safetensors").exists()
    result = found.to_dict()
    assert result["schema"] == "circuitkit.patching/1"
    assert set(result["effects"]) == {row["name"] for row in result["rows"]}
    assert result["positions"][-1]["name"] == "all tokens"
    assert len(found.frame()) == len(found.rows) * len(found.positions)


def test_shares_are_of_the_gap_of_the_prompts_that_have_a_position(tiny_models):
    """A clear gap over all prompts is none over the few that reach a position; nor are layer means that cancel."""
    model = tiny_models["gpt2"]
    made = activation_patching(model, labelled(model), parts=("head",), bootstrap=0)
    found = replace(
        made,
        rows=made.rows[:1],
        positions=("all have", "few have", "all tokens"),
        defined=torch.tensor([[True] * 6, [False] * 3 + [True] * 3, [True] * 6]),
        clean=torch.tensor([9.0, 8.0, 9.0, 2.0, 3.0, 2.0]),
        corrupted=torch.tensor([1.0, 0.0, 0.0, 2.1, 2.9, 2.0]),
        patched=torch.tensor([[[9.0, 8.0, 9.0, 2.1, 2.9, 2.0], [0.0, 0.0, 0.0, 3.1, 1.9, 2.0], [9.0] * 6]]),
        n_draws=200,
    )
    assert found.gap.clear and found.shares is not None
    assert found.shares.isnan().tolist() == [[False, True, False]]
    cells = found.table()[made.rows[0].name]
    assert cells["few have"]["share"] is None and cells["few have"]["share_ci95"] is None
    assert cells["few have"]["effect"] == pytest.approx(0.0, abs=1e-6)
    cancelling = replace(found, patched=torch.tensor([[[9.0, 0.0, 9.0, 0.1, 5.0, 2.0], [0.0] * 6, [9.0] * 6]]))
    cancelled = replace(cancelling, corrupted=torch.tensor([1.0, 8.0, 0.0, 8.0, 2.9, 2.0]))
    assert cancelled.layer_ratios.isnan().all()


def test_what_is_said_of_means_is_not_said_where_none_are_taken():
    model = load_model("toy-gpt2", device="cpu")
    batch = build_batch(load_task("ioi"), model, n_prompts=4)
    assert batch.about_means and set(batch.about_means) <= set(batch.notices)
    found = activation_patching(model, batch, parts=("mlp",), components=["MLP0"], bootstrap=0)
    assert not set(found.warnings) & set(batch.about_means)


def test_one_prompt_is_not_said_to_lack_a_gap(tiny_models):
    model = tiny_models["gpt2"]
    found = activation_patching(model, labelled(model, ((5,),)), parts=("mlp",), bootstrap=0)
    assert "One prompt cannot show whether corruption" in " ".join(found.warnings)
    assert "does not clearly lower" not in " ".join(found.warnings)


def test_one_part_under_two_names_is_refused():
    assert parse_parts(["mlp", "z"]) == ("mlp", "head")
    for given, words in ((["head", "z"], "head and z are the same.*values"), (["q", "mlp", "q"], "q and q are the")):
        with pytest.raises(OptionError, match=words) as caught:
            parse_parts(given)
        assert "\n" not in str(caught.value)
