"""Which Hugging Face classes are understood, and as what."""

from circuitkit.models.families.bert import BertFamily
from circuitkit.models.families.distilbert import DistilBertFamily
from circuitkit.models.families.gpt2 import GPT2Family
from circuitkit.models.families.llama import LlamaFamily
from circuitkit.models.family import Family

FAMILIES: dict[str, Family] = {
    "GPT2LMHeadModel": GPT2Family(),
    "BertForMaskedLM": BertFamily(),
    "DistilBertForMaskedLM": DistilBertFamily(),
    "LlamaForCausalLM": LlamaFamily(),
}


def describe_supported() -> str:
    """One line for people: what else than the embedded models can be loaded."""
    return (
        f"Also: a hub id, a directory or a .gguf file of {', '.join(FAMILIES)} (Minitron and SmolLM2 are Llama-type)."
    )
