"""Prompts whose corrupted partner has another number of tokens: left out of what patches, listed, and nothing else."""

import json

import pytest
import torch

from circuitkit.alignment.prompts import shared_batches
from circuitkit.core.errors import OptionError
from circuitkit.experiments.compare import compare
from circuitkit.experiments.few_prompts import first_prompts
from circuitkit.experiments.pair import measure_pair
from circuitkit.models.loading import load_model
from circuitkit.probes.patching import activation_patching
from circuitkit.roles.assign import find_roles
from circuitkit.tasks.batch import build_batch
from circuitkit.tasks.loading import load_task
from circuitkit.tasks.usable import UNEVEN

NAMES = ("Michael", "Jessica", "Ashley", "Daniel", "David", "James")
UNEVEN_AT = (0, 5, 9)


def row(i, *, longer=False):
    a, b, c, d, e = (NAMES[(i + j * (1 + i // 6 % 5)) % 6] for j in (0, 1, 2, 3, 4))
    clean = f"Then, {a} and {b} went to the store. {b} gave a ring to"
    at = clean.rindex(b)
    return {
        "clean": clean,
        "corrupted": f"Then, {c} and {d} went to the {'ring ' * longer}store. {e} gave a ring to",
        "correct": f" {a}",
        "incorrect": f" {b}",
        "labels": {"A": [6, 6 + len(a)], "B2": [at, at + len(b)]},
    }


def written(path, uneven, kept):
    """A file of the rows named, of which some are uneven."""
    rows = [row(i, longer=i in uneven) for i in kept]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return load_task(path)


@pytest.fixture
def mixed(tmp_path):
    return written(tmp_path / "mixed.jsonl", UNEVEN_AT, range(18))


@pytest.fixture
def even(tmp_path):
    return written(tmp_path / "even.jsonl", (), [i for i in range(18) if i not in UNEVEN_AT])


def test_the_batch_is_that_of_the_file_without_them(mixed, even):
    model = load_model("toy-gpt2")
    found, wanted = build_batch(mixed, model, least_even=8), build_batch(even, model)
    assert found.positional and wanted.positional and found.pairs == wanted.pairs
    assert found.prompt_index == tuple(i for i in range(18) if i not in UNEVEN_AT)
    for side in ("clean", "corrupted"):
        for part in ("ids", "mask", "answer_pos", "words"):
            assert torch.equal(getattr(getattr(found, side), part), getattr(getattr(wanted, side), part))
    assert torch.equal(found.group, wanted.group) and found.label_positions.keys() == wanted.label_positions.keys()
    assert [(drop.index, drop.prompt, drop.reason) for drop in found.dropped] == [
        (i, row(i)["clean"], UNEVEN) for i in UNEVEN_AT
    ]
    (notice,) = (n for n in found.notices if UNEVEN in n)
    assert notice.startswith("3 of 18 prompts were left out") and "0 'Then, Michael and" in notice and "9 '" in notice


def test_without_the_option_or_enough_others_all_stay(mixed):
    model = load_model("toy-gpt2")
    for least in (None, 16):
        batch = build_batch(mixed, model, least_even=least)
        assert not batch.positional and len(batch.pairs) == 18 and batch.dropped == () and batch.n_even == 15
    assert len(build_batch(mixed, model, least_even=15).pairs) == 15
    assert len(build_batch(mixed, model, need_corrupted=False, least_even=1).pairs) == 18


def test_two_models_lose_the_same_prompts(mixed):
    teacher, student = load_model("toy-gpt2"), load_model("toy-bert")
    batches = shared_batches(teacher, student, mixed, n_prompts=18, seed=0, need_corrupted=True, least_even=8)
    assert batches[0].prompt_index == batches[1].prompt_index == tuple(i for i in range(18) if i not in UNEVEN_AT)
    assert all(batch.positional for batch in batches)
    assert [drop.index for drop in batches[1].dropped] == list(UNEVEN_AT)


def _same(found, wanted, keys):
    assert {key: found[key] for key in keys} == {key: wanted[key] for key in keys}


def test_roles_are_those_of_the_file_without_them(mixed, even):
    model = load_model("toy-gpt2")
    found, wanted = (find_roles(model, task, n_prompts=18, bootstrap=50) for task in (mixed, even))
    one, other = found.to_dict(), wanted.to_dict()
    _same(one, other, ("scores", "roles", "influence", "mlps", "logit_diff", "definitions", "absent"))
    assert any(bool((role.follow < 1).any()) for role in wanted.evidence.values())  # heads were patched
    assert [drop["index"] for drop in one["task"]["dropped"]] == list(UNEVEN_AT)
    assert any(UNEVEN in warning for warning in found.warnings) and not any("No role is" in w for w in found.warnings)


def test_patches_are_those_of_the_file_without_them(mixed, even):
    model = load_model("toy-gpt2")
    options = {"parts": ("block", "head"), "components": ["L1H2"], "n_prompts": 18, "bootstrap": 20}
    found, wanted = (activation_patching(model, task, **options) for task in (mixed, even))
    assert torch.equal(found.patched, wanted.patched) and found.table() == wanted.table()
    assert any(UNEVEN in warning for warning in found.warnings)
    assert found.to_dict()["task"]["n_dropped"] == 3


def test_where_too_few_remain_it_is_off_and_says_why(tmp_path):
    model = load_model("toy-gpt2")
    task = written(tmp_path / "most.jsonl", range(7, 18), range(18))
    found = find_roles(model, task, n_prompts=18, bootstrap=0)
    assert not any(found.roles.values()) and len(found.influence.clean) == 18
    (why,) = (w for w in found.warnings if "No role is claimed" in w)
    assert "7 of 18 have their clean prompt's number of tokens; 8 are needed" in why
    assert len(activation_patching(model, task, parts=("block",), n_prompts=18, bootstrap=0).clean) == 7
    none = written(tmp_path / "none.jsonl", range(18), range(18))
    with pytest.raises(OptionError, match="no positions in common") as error:
        activation_patching(model, none, parts=("block",), n_prompts=18, bootstrap=0)
    assert "\n" not in str(error.value)


def test_compared_roles_are_those_of_the_file_without_them(mixed, even):
    teacher, student = load_model("toy-gpt2"), load_model("toy-distilgpt2")
    sides = [compare(teacher, student, task, n_prompts=18, bootstrap=0) for task in (mixed, even)]
    one, other = (side.roles for side in sides)
    assert one is not None and other is not None
    assert one.teacher.tested == other.teacher.tested != frozenset()
    assert one.teacher.result.roles == other.teacher.result.roles
    assert one.student.result.scores == other.student.result.scores
    assert sum(UNEVEN in warning for warning in sides[0].warnings) == 1
    assert not any(UNEVEN in warning for warning in sides[1].warnings)


def test_studies_take_the_even_prompts(mixed, even):
    teacher, student = load_model("toy-gpt2"), load_model("toy-distilgpt2")
    pairs = [measure_pair(teacher, student, task, n_prompts=18, bootstrap=0) for task in (mixed, even)]
    found, wanted = (first_prompts(pair, 64, least_even=8) for pair in pairs)
    assert found[0].pairs == wanted[0].pairs and found[1].positional
    assert not pairs[0].batches[0].positional
    assert wanted is pairs[1].batches
