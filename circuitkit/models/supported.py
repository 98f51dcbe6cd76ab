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
