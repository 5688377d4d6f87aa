//! NomicBERT (Nussbaum et al. 2024, <https://arxiv.org/abs/2402.01613>): nomic-embed-text.
//!
//! BERT's network with rotary positions instead of a position table, a gated feed-forward network,
//! and no biases except those of the norms:
//!
//! ```text
//! a = LayerNorm(x + Attention(x))
//! x = LayerNorm(a + fc2 (silu(fc12 a) · fc11 a))
//! ```
//!
//! There are two dialects of config.json: that of GPT-2 (`n_embd`, `n_head`, …), which the
//! published models have, and that of BERT, which transformers writes. Follows transformers 5.23.0,
//! `models/nomic_bert/modeling_nomic_bert.py`, with the names of `conversion_mapping.py`.

use likewise_kernels::math::Activation;

use super::bert::embeddings_without_positions;
use super::rotary::{from_parameters, rotary};
use super::sizes::{Sizes, activation};
use crate::config::InertValue::{Bool, Number};
use crate::config::{InertKeys, JsonObject};
use crate::encoder::spec::{EncoderSpec, Family, LayerSpec, LinearSpec, RotarySpec, SublayerSpec};
use crate::error::Result;

/// Options of the code that published models bring with them. With other values it computes
/// something else: scaled or partial rotations, a mixture of experts, pre-norm, biases.
/// `max_trained_positions` matters to scaled rotations only.
pub(super) const INERT_KEYS: InertKeys = InertKeys {
    any_value: &[
        "attn_pdrop",
        "dense_seq_output",
        "embd_pdrop",
        "expert_choice_router",
        "ffn_div",
        "fused_bias_fc",
        "fused_dropout_add_ln",
        "max_trained_positions",
        "moe_impl",
        "moe_normalize_expert_weights",
        "moe_resid_pdrop",
        "moe_top_k",
        "pad_vocab_size_multiple",
        "reorder_and_upcast_attn",
        "resid_pdrop",
        "router_aux_loss_coef",
        "use_xentropy",
    ],
    one_value: &[
        ("add_moe_layer", Bool(false)),
        ("causal", Bool(false)),
        ("mlp_fc1_bias", Bool(false)),
        ("mlp_fc2_bias", Bool(false)),
        ("num_experts", Number(0.0)),
        ("num_experts", Number(1.0)),
        ("parallel_block", Bool(false)),
        ("parallel_block_tied_norm", Bool(false)),
        ("prenorm", Bool(false)),
        ("qkv_proj_bias", Bool(false)),
        ("rotary_emb_fraction", Number(1.0)),
        ("rotary_emb_interleaved", Bool(false)),
        ("scale_attn_by_inverse_layer_idx", Bool(false)),
        ("scale_attn_weights", Bool(true)),
        ("use_rms_norm", Bool(false)),
    ],
};

const DEFAULT_BASE: f32 = 1000.0;

pub(super) fn spec(config: &JsonObject) -> Result<EncoderSpec> {
    let (sizes, rotary) = if config.get("n_embd").is_some() { gpt2_dialect(config)? } else { bert_dialect(config)? };
    let layer = |i: usize| {
        let at = |module: &str| format!("encoder.layers.{i}.{module}");
        let mut attention = sizes.attention(Default::default(), &at("attn.out_proj"));
        let rows = 3 * sizes.hidden;
        attention.qkv = LinearSpec::module(&at("attn.Wqkv"), rows, sizes.hidden).without_bias();
        attention.output = attention.output.without_bias();
        attention.rotary = Some(rotary.clone());
        let mut feed_forward = sizes.feed_forward("", &at("mlp.fc2"));
        let gates_and_values = [&*at("mlp.fc12"), &*at("mlp.fc11")];
        feed_forward.up = LinearSpec::joined(&gates_and_values, sizes.intermediate, sizes.hidden).without_bias();
        feed_forward.down = feed_forward.down.without_bias();
        feed_forward.is_gated = true;
        LayerSpec {
            attention: SublayerSpec::post_norm(attention, sizes.norm(&at("norm1"))),
            feed_forward: SublayerSpec::post_norm(feed_forward, sizes.norm(&at("norm2"))),
        }
    };
    let token_types = config.integer("type_vocab_size")?.unwrap_or(2);
    Ok(EncoderSpec {
        family: Family::NomicBert,
        hidden_size: sizes.hidden,
        max_tokens: sizes.position_rows,
        embeddings: embeddings_without_positions(&sizes, token_types, sizes.norm("emb_ln")),
        relative_bias: None,
        layers: (0..sizes.layers).map(layer).collect(),
        layer_order: (0..sizes.layers).collect(),
        final_norm: None,
        prefixes: &["nomic_bert.", "bert."],
    })
}

/// Reads the keys that transformers writes.
fn bert_dialect(config: &JsonObject) -> Result<(Sizes, RotarySpec)> {
    let mut sizes = Sizes::read(config, &Sizes { vocabulary: 30528, position_rows: 2048, ..Sizes::BERT })?;
    sizes.activation = activation(config, "hidden_act", "silu")?;
    sizes.require_head_size(config, "head_dim")?;
    let rotary = rotary(config, DEFAULT_BASE, sizes.head_size())?;
    Ok((sizes, rotary))
}

/// Reads the keys of published models. Defaults are those of their code.
fn gpt2_dialect(config: &JsonObject) -> Result<(Sizes, RotarySpec)> {
    let size = |key, default| -> Result<usize> { Ok(config.positive_integer(key)?.unwrap_or(default)) };
    let hidden = size("n_embd", 768)?;
    const ACTIVATION: &str = "activation_function";
    let activation = match config.string(ACTIVATION)? {
        Some("swiglu") => Activation::Silu,
        Some("geglu") => Activation::Gelu,
        _ => return Err(config.invalid_value(ACTIVATION, "swiglu or geglu, because others have no gate")),
    };
    let sizes = Sizes {
        hidden,
        heads: size("n_head", 12)?,
        intermediate: size("n_inner", 4 * hidden)?,
        layers: size("n_layer", 12)?,
        vocabulary: size("vocab_size", 30528)?,
        position_rows: size("n_positions", 2048)?,
        epsilon: config.positive_number("layer_norm_epsilon")?.unwrap_or(1e-12),
        activation,
    }
    .validated(config, "n_head", "n_layer")?;
    let base = config.positive_number("rotary_emb_base")?.unwrap_or(DEFAULT_BASE);
    let rotary = from_parameters(config, None, base, sizes.head_size())?;
    Ok((sizes, rotary))
}
