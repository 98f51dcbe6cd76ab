"""SmolLM2's own tokenizer: spaces are split from digits and numbers into digits."""

from pathlib import Path

import pytest
from task_tokenizers import Info, Reads
from transformers import AutoTokenizer

from circuitkit.tasks.batch import build_batch
from circuitkit.tasks.loading import available_tasks, load_task
from circuitkit.tasks.reading import PromptReader, Reading

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def model(real_model_dir: Path) -> Reads:
    return Reads(AutoTokenizer.from_pretrained(real_model_dir), info=Info(512))


def test_numerals_worked_out_by_hand(model: Reads) -> None:
    prompt = "Van done in 9. Hat done in 10. Sun done in"
    labels = {"n1": (12, 13), "n2": (27, 29), "END": (39, 41)}
    reader = PromptReader(tokenizer=model.tokenizer, is_causal=True, max_length=512, vocab_size=49152)
    found = reader.read(prompt, correct=" 11", incorrect=" 10", labels=labels)
    assert isinstance(found, Reading)
    pieces = [model.tokenizer.decode([token]) for token in found.ids]
    assert pieces == [
        *["Van", " done", " in", " ", "9", ".", " Hat", " done", " in", " ", "1", "0", ".", " Sun", " done", " in"],
        *[" ", "1"],
    ]
    assert found.labels == {"n1": 4, "n2": 11, "END": 17}
    assert [model.tokenizer.decode([token]) for token in (found.correct_id, found.incorrect_id)] == ["1", "0"]
    assert found.words == (0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 7, 7, 7, 8, 9, 10, 10, 10)


@pytest.mark.parametrize("name", available_tasks())
def test_nearly_all_prompts_of_every_task_can_be_used(model: Reads, name: str) -> None:
    batch = build_batch(load_task(name), model, n_prompts=96)
    assert len(batch.pairs) >= 90
    assert batch.positional == (name != "simpleqa")
