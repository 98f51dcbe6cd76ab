"""Counterfactuals of two models: the same kinds and clean prompts for both, each side as its tokenizer has it."""

import json

import pytest
import torch

from circuitkit.alignment.prompts import shared_batches
from circuitkit.core.errors import TaskError
from circuitkit.models.loading import load_model
from circuitkit.tasks.loading import load_task

ASKED = {"n_prompts": 24, "seed": 0, "need_corrupted": False, "counterfactuals": True}


@pytest.fixture(scope="module")
def models():
    return load_model("toy-gpt2", device="cpu"), load_model("toy-bert", device="cpu")


def test_two_tokenizers_share_kinds_and_prompts(models) -> None:
    teacher, student = shared_batches(*models, load_task("ioi"), **ASKED)
    assert tuple(teacher.counterfactuals) == tuple(student.counterfactuals) == ("abc", "flip", "order", "name")
    assert teacher.prompt_index == student.prompt_index
    for batch in (teacher, student):
        assert batch.corrupted is None
        for block in batch.counterfactuals.values():
            assert torch.equal(block.mask, batch.clean.mask)
    texts = [[pair.counterfactuals["flip"] for pair in batch.pairs] for batch in (teacher, student)]
    assert texts[0] == texts[1]  # copied words leave nothing to draw
    once, again = shared_batches(models[0], models[0], load_task("ioi"), **ASKED)
    assert once is again


# To GPT-2 "store," is as long as "Mary's" and 3.5 is shorter than Zoe; to BERT it is the other way round.
GPT2_ONLY, BERT_ONLY, BOTH = ("a", "GONE, ", "Mary's "), ("b", "3.5", "Zoe"), ("c", "Mary", "Lisa")


def written(tmp_path, *changes: tuple[str, str, str]):
    """A file of prompts; each change is a kind, a word and what takes its place."""
    path = tmp_path / "mine.jsonl"
    lines: list[str] = []
    for place in ("store", "garden", "school", "office"):
        clean = f"When Mary and John went to the {place}, 3.5 John gave a drink to"
        kinds = {kind: clean.replace(old.replace("GONE", place), new) for kind, old, new in changes}
        lines.append(json.dumps({"clean": clean, "correct": " Mary", "incorrect": " John", "counterfactuals": kinds}))
    path.write_text("\n".join(lines))
    return load_task(path)


def test_a_kind_that_one_model_lacks_is_left_out_for_both(models, tmp_path) -> None:
    teacher, student = shared_batches(*models, written(tmp_path, GPT2_ONLY, BERT_ONLY, BOTH), **ASKED)
    for batch in (teacher, student):
        assert tuple(batch.counterfactuals) == ("c",)
        assert len(batch.pairs) == 4
        assert [kind for kind in "abc" if any(f"kind '{kind}' is left out" in n for n in batch.notices)] == ["a", "b"]


def test_no_kind_in_common_is_refused(models, tmp_path) -> None:
    with pytest.raises(TaskError, match="the teacher reads a and the student b; wanted one that both read") as error:
        shared_batches(*models, written(tmp_path, GPT2_ONLY, BERT_ONLY), **ASKED)
    assert "\n" not in str(error.value)
