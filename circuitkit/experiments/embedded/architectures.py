"""The six models' configurations."""

from dataclasses import dataclass

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

from circuitkit.core.errors import ModelError
from circuitkit.experiments.embedded.tokenizers import TokenizerKind
from circuitkit.models.embedded import EMBEDDED
from circuitkit.tasks.encoding import pad_id

WIDTH = 96
HEADS = 4
TEACHER_LAYERS = 4
MAX_LENGTH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A teacher and the student made from some of its layers.

    Attributes:
        kind: Which tokenizer and which family.
        teacher: Name of the teacher.
        student: Name of the student.
        layers: The teacher's layer that each layer of the student starts from. Of the six choices, one that is
            clearly worse than the teacher before distillation and learns ioi within a hundred steps.
    """

    kind: TokenizerKind
    teacher: str
    student: str
    layers: tuple[int, ...]


# The one that takes longest comes first.
PAIRS = (
    Pair(kind="bert", teacher="toy-bert", student="toy-distilbert", layers=(0, 3)),
    Pair(kind="llama", teacher="toy-llama", student="toy-minitron", layers=(0, 2)),
    Pair(kind="gpt2", teacher="toy-gpt2", student="toy-distilgpt2", layers=(0, 2)),
)


def new_model(name: str, tokenizer: PreTrainedTokenizerFast, *, n_layers: int) -> PreTrainedModel:
    """A freshly initialised model of the class of `name`, without dropout; weights come from torch's generator."""
    match name:
        case "toy-gpt2" | "toy-distilgpt2":
            return GPT2LMHeadModel(_gpt2(tokenizer, n_layers))
        case "toy-llama" | "toy-minitron":
            return LlamaForCausalLM(_llama(tokenizer, n_layers))
        case "toy-bert":
            return BertForMaskedLM(_bert(tokenizer, n_layers))
        case "toy-distilbert":
            return DistilBertForMaskedLM(_distilbert(tokenizer, n_layers))
        case _:
            raise ModelError(f"No embedded model is called {name!r}; wanted one of {', '.join(EMBEDDED)}.")


def _gpt2(tokenizer: PreTrainedTokenizerFast, n_layers: int) -> GPT2Config:
    return GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=MAX_LENGTH,
        n_embd=WIDTH,
        n_layer=n_layers,
        n_head=HEADS,
        n_inner=2 * WIDTH,  # with GPT-2's four times, one head and the MLP above it do all of ioi in the first layer
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        activation_function="gelu_pytorch_tanh",  # GPT-2's function in torch's fast form
        use_cache=False,
        bos_token_id=_special(tokenizer.bos_token_id),
        eos_token_id=_special(tokenizer.eos_token_id),
        pad_token_id=pad_id(tokenizer),
    )


def _llama(tokenizer: PreTrainedTokenizerFast, n_layers: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=MAX_LENGTH,
        hidden_size=WIDTH,
        intermediate_size=8 * WIDTH // 3,
        num_hidden_layers=n_layers,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS // 2,
        tie_word_embeddings=False,
        use_cache=False,
        bos_token_id=_special(tokenizer.bos_token_id),
        eos_token_id=_special(tokenizer.eos_token_id),
        pad_token_id=pad_id(tokenizer),
    )


def _bert(tokenizer: PreTrainedTokenizerFast, n_layers: int) -> BertConfig:
    return BertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=MAX_LENGTH,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=n_layers,
        num_attention_heads=HEADS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=pad_id(tokenizer),
    )


def _distilbert(tokenizer: PreTrainedTokenizerFast, n_layers: int) -> DistilBertConfig:
    return DistilBertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=MAX_LENGTH,
        dim=WIDTH,
        hidden_dim=4 * WIDTH,
        n_layers=n_layers,
        n_heads=HEADS,
        dropout=0.0,
        attention_dropout=0.0,
        pad_token_id=pad_id(tokenizer),
    )


def _special(found: object) -> int:
    assert isinstance(found, int), "the tokenizers of tokenizers.py have it"
    return found
