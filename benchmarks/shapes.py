"""Models to time: the embedded ones by name, directories, and well-known shapes with random weights."""

from collections.abc import Callable
from dataclasses import replace

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.loading import load_model
from circuitkit.models.supported import FAMILIES
from circuitkit.tasks.batch import PromptBatch, TaskInfo, build_batch
from circuitkit.tasks.loading import load_task
from circuitkit.tasks.prompt import PromptPair
from circuitkit.tasks.token_block import TokenBlock


def _llama(n_layers: int) -> Callable[[], PreTrainedModel]:
    return lambda: LlamaForCausalLM(
        LlamaConfig(
            vocab_size=128256,
            hidden_size=4096,
            intermediate_size=14336,
            num_hidden_layers=n_layers,
            num_attention_heads=32,
            num_key_value_heads=8,
            max_position_embeddings=8192,
        )
    )


SHAPES: dict[str, Callable[[], PreTrainedModel]] = {
    "gpt2-shape": lambda: GPT2LMHeadModel(GPT2Config()),
    "distilbert-shape": lambda: DistilBertForMaskedLM(DistilBertConfig()),
    "bert-shape": lambda: BertForMaskedLM(BertConfig()),
    "llama-8b-shape": _llama(32),
    "minitron-4b-shape": _llama(16),
}
"""GPT-2 small, DistilBERT, BERT base, Llama-3.1-8B and Llama-3.1-Minitron-4B-Depth."""
TOKENIZERS = {"gpt2": "toy-gpt2", "bert": "toy-bert", "distilbert": "toy-bert", "llama": "toy-llama"}


def model_and_prompts(name: str, *, n_prompts: int, length: int, task: str) -> tuple[HookedModel, PromptBatch]:
    """The task's prompts; shapes get random weights (bfloat16 on CUDA) and the tokenizer of an embedded model.

    With `random` for a task they are of random tokens, `length` of them.
    """
    if name not in SHAPES:
        model = load_model(name)
        return model, build_batch(load_task(task), model, n_prompts=n_prompts)
    torch.manual_seed(0)
    if torch.cuda.is_available():
        with torch.device("cuda"):
            torch.set_default_dtype(torch.bfloat16)
            raw = SHAPES[name]()
            torch.set_default_dtype(torch.float32)
    else:
        raw = SHAPES[name]()
    family = FAMILIES[type(raw).__name__]
    words = load_model(TOKENIZERS[family.name], device="cpu").tokenizer
    model = HookedModel(raw=raw.eval(), tokenizer=words, family=family, name=name)
    if task != "random":
        return model, build_batch(load_task(task), model, n_prompts=n_prompts)
    return model, random_prompts(model.info.vocab_size, n_prompts=n_prompts, length=length, inside=not family.is_causal)


def random_prompts(vocab_size: int, *, n_prompts: int, length: int, inside: bool) -> PromptBatch:
    """Prompts of one length and template made of random tokens; `inside` puts the answer in the middle."""
    generator = torch.Generator().manual_seed(0)

    def block() -> TokenBlock:
        ids = torch.randint(3, vocab_size, (n_prompts, length), generator=generator)
        return TokenBlock(
            ids=ids,
            mask=torch.ones_like(ids, dtype=torch.bool),
            answer_pos=torch.full((n_prompts,), length // 2 if inside else length - 1),
            words=torch.arange(length).expand(n_prompts, -1),
        )

    pair = PromptPair(
        clean="a", corrupted="b", correct=" x", incorrect=" y", template="t", labels={}, corrupted_labels={}
    )
    answers = torch.stack([torch.randperm(vocab_size, generator=generator)[:2] for _ in range(n_prompts)])
    return PromptBatch(
        task=TaskInfo(name="random tokens", sha256="0" * 64),
        pairs=(pair,) * n_prompts,
        prompt_index=tuple(range(n_prompts)),
        clean=block(),
        corrupted=block(),
        correct_ids=answers[:, 0],
        incorrect_ids=answers[:, 1],
        group=torch.zeros(n_prompts, dtype=torch.long),
        positional=True,
        label_positions={},
        dropped=(),
        notices=(),
    )


def alike_prompts(batch: PromptBatch, n: int) -> PromptBatch:
    """The first prompts of the most frequent length, so that none is padded."""
    lengths = batch.clean.mask.sum(1)
    rows = (lengths == lengths.mode().values).nonzero()[:n, 0]

    def cut(block: TokenBlock) -> TokenBlock:
        return TokenBlock(
            ids=block.ids[rows], mask=block.mask[rows], answer_pos=block.answer_pos[rows], words=block.words[rows]
        )

    return replace(
        batch,
        pairs=tuple(batch.pairs[i] for i in rows),
        prompt_index=tuple(batch.prompt_index[i] for i in rows),
        clean=cut(batch.clean),
        corrupted=None if batch.corrupted is None else cut(batch.corrupted),
        correct_ids=batch.correct_ids[rows],
        incorrect_ids=batch.incorrect_ids[rows],
        group=batch.group[rows],
        label_positions={},
    )
