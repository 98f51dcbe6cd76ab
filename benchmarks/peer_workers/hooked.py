"""The model as a HookedTransformer of transformer-lens before 4.0, which the peers need; nothing is fetched."""

from setting import Setting
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
from transformers import AutoTokenizer, GPT2LMHeadModel


def hooked_transformer(setting: Setting, *, words: bool = False, **options: bool) -> HookedTransformer:
    """The setting's weights, unprocessed; with its tokenizer if `words`."""
    raw = GPT2LMHeadModel.from_pretrained(setting.folder)
    hf = raw.config
    config = HookedTransformerConfig(
        n_layers=hf.n_layer,
        n_heads=hf.n_head,
        d_model=hf.n_embd,
        d_head=hf.n_embd // hf.n_head,
        d_mlp=4 * hf.n_embd,
        d_vocab=hf.vocab_size,
        n_ctx=hf.n_positions,
        act_fn="gelu_new",
        normalization_type="LN",
        eps=hf.layer_norm_epsilon,
        device="cpu",
        **options,
    )
    model = HookedTransformer(config, tokenizer=AutoTokenizer.from_pretrained(setting.folder) if words else None)
    model.load_and_process_state_dict(
        convert_gpt2_weights(raw, config),
        fold_ln=False,
        center_writing_weights=False,
        center_unembed=False,
        fold_value_biases=False,
    )
    return model.eval()
