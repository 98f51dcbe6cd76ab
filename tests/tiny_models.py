"""Tiny random models of the four families, with real tokenizers trained on a few sentences."""

import itertools
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
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
    PreTrainedTokenizerFast,
)

FAMILIES = ("gpt2", "bert", "distilbert", "llama")
N_LAYERS = {"gpt2": 3, "bert": 3, "distilbert": 2, "llama": 3}
N_HEADS = 4
D_MODEL = 32
MAX_LENGTH = 64

_NAMES = "Mary John Tom James Dan Sid Martin Amy Anna Paul Kate Mark Sarah Luke Emma Jack Alice Bob".split()
_PLACES = "store garden restaurant school hospital office house station".split()
_OBJECTS = "ring kiss bone basketball computer necklace drink snack".split()
_MONTHS = "January February March April May June July August September October November December".split()
_NUMBERS = "one two three four five six seven eight nine ten eleven twelve".split()


def corpus() -> list[str]:
    """Sentences of the shapes that tasks use, so that their words become single tokens."""
    lines = [
        f"When {a} and {b} went to the {place}, {a} gave a {thing} to {b}. Then, {b} gave the {thing} to {a}"
        for (a, b), place, thing in zip(
            itertools.permutations(_NAMES, 2),
            itertools.cycle(_PLACES),
            itertools.cycle(_OBJECTS),
            strict=False,
        )
    ]
    for words in (_MONTHS, _NUMBERS, [str(i) for i in range(1, 30)]):
        for name, start in itertools.product(_NAMES, range(len(words) - 4)):
            verb = ("done", "lost", "names")[start % 3]
            lines.append(" ".join(f"{name} {verb} in {word}." for word in words[start : start + 5]))
    return lines


def build_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """GPT-2: byte-level BPE, nothing added. Llama: the same with single digits and a BOS. BERT: WordPiece."""
    if family in ("bert", "distilbert"):
        return _wordpiece()
    specials = ["<|endoftext|>"] if family == "gpt2" else ["<unk>", "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = (
        byte_level
        if family == "gpt2"
        else pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    if family == "gpt2":
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token=specials[0], eos_token=specials[0], unk_token=specials[0]
        )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def _wordpiece() -> PreTrainedTokenizerFast:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(
        corpus(), trainers.WordPieceTrainer(vocab_size=400, special_tokens=specials, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def build_raw(
    family: str, *, vocab_size: int, n_layers: int | None = None, d_model: int = D_MODEL, seed: int = 0
) -> PreTrainedModel:
    """A random model with 4 heads (2 key-value heads in Llama) and width 32 if not given.

    Every parameter is moved away from its initial value: with zero biases and unit norms, mistakes that drop
    or misplace them would not show.
    """
    n_layers = N_LAYERS[family] if n_layers is None else n_layers
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        match family:
            case "gpt2":
                raw = GPT2LMHeadModel(
                    GPT2Config(
                        vocab_size=vocab_size,
                        n_positions=MAX_LENGTH,
                        n_embd=d_model,
                        n_layer=n_layers,
                        n_head=N_HEADS,
                        initializer_range=0.15,
                        **ends,
                    )
                )
            case "bert":
                raw = BertForMaskedLM(
                    BertConfig(
                        vocab_size=vocab_size,
                        hidden_size=d_model,
                        num_hidden_layers=n_layers,
                        num_attention_heads=N_HEADS,
                        intermediate_size=4 * d_model,
                        max_position_embeddings=MAX_LENGTH,
                        initializer_range=0.15,
                    )
                )
            case "distilbert":
                raw = DistilBertForMaskedLM(
                    DistilBertConfig(
                        vocab_size=vocab_size,
                        dim=d_model,
                        n_layers=n_layers,
                        n_heads=N_HEADS,
                        hidden_dim=4 * d_model,
                        max_position_embeddings=MAX_LENGTH,
                        initializer_range=0.15,
                    )
                )
            case _:
                raw = LlamaForCausalLM(
                    LlamaConfig(
                        vocab_size=vocab_size,
                        hidden_size=d_model,
                        intermediate_size=3 * d_model,
                        num_hidden_layers=n_layers,
                        num_attention_heads=N_HEADS,
                        num_key_value_heads=2,
                        max_position_embeddings=MAX_LENGTH,
                        initializer_range=0.15,
                        **ends,
                    )
                )
        with torch.no_grad():
            for parameter in raw.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return raw.eval()


def save(raw: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Path:
    """A Hugging Face directory."""
    raw.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
