//! The keys of config.json that do not change a token vector, in any family.
//!
//! A key of config.json is read, or is listed here or beside its family, or is an error. To be
//! listed, a key must have no effect on the encoder's output in evaluation mode, in any model class
//! of transformers 5.23.0 that a family here follows. The names come from `PreTrainedConfig` of
//! transformers 2 to 5, from the configurations of these classes, and from published folders.

use super::{albert, distilbert, electra, gte, jina_bert_v2, jina_v3, modernbert, mpnet, nomic_bert, t5};
use crate::config::InertKeys;
use crate::config::InertValue::{Bool, Empty, Text};
use crate::encoder::spec::Family;

/// Keys without an effect in every family.
pub(super) const COMMON: [InertKeys; 8] =
    [NAMES, TRAINING, HEADS, TOKEN_IDS, GENERATION, OUTPUTS, IMPLEMENTATION, OPTIONS_THAT_ARE_OFF];

/// Keys without an effect in one family.
pub(super) fn of_family(family: Family) -> InertKeys {
    match family {
        Family::DistilBert => distilbert::INERT_KEYS,
        Family::MpNet => mpnet::INERT_KEYS,
        Family::NomicBert => nomic_bert::INERT_KEYS,
        Family::Gte => gte::INERT_KEYS,
        Family::JinaV3 => jina_v3::INERT_KEYS,
        Family::ModernBert => modernbert::INERT_KEYS,
        Family::JinaBertV2 => jina_bert_v2::INERT_KEYS,
        Family::T5 => t5::INERT_KEYS,
        Family::Albert => albert::INERT_KEYS,
        Family::Electra => electra::INERT_KEYS,
        Family::Bert | Family::Roberta | Family::Camembert | Family::XlmRoberta => InertKeys::NONE,
    }
}

const fn any_value(keys: &'static [&'static str]) -> InertKeys {
    InertKeys { any_value: keys, one_value: &[] }
}

/// Where the model comes from, and what programs other than the encoder do with it. Transformers
/// has its own class for each family, so it never runs the code that `auto_map` names.
/// `tokenizer_class` is read with the tokenizer, and `architectures` in a folder without
/// modules.json.
const NAMES: InertKeys = any_value(&[
    "_commit_hash",
    "_name_or_path",
    "architectures",
    "auto_map",
    "base_model_prefix",
    "custom_pipelines",
    "language",
    "matryoshka_dimensions",
    "max_seq_length",
    "model_max_length",
    "model_name",
    "name",
    "name_or_path",
    "sentence_transformers",
    "tokenizer_class",
    "transformers.js_config",
    "transformers_js_config",
    "transformers_version",
]);

/// Initial values, dropout and other settings of training. `directionality` and `emb_size` are
/// notes of training programs that no model class reads.
const TRAINING: InertKeys = any_value(&[
    "attention_dropout",
    "attention_probs_dropout_prob",
    "directionality",
    "dropout",
    "dropout_rate",
    "emb_size",
    "embedding_dropout",
    "embedding_dropout_prob",
    "gradient_checkpointing",
    "hidden_dropout",
    "hidden_dropout_prob",
    "initializer_factor",
    "initializer_range",
    "label_smoothing",
    "layerdrop",
    "loss_type",
    "output_past",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_weights_",
    "tie_word_embeddings",
    "xla_device",
]);

/// Heads for other tasks, and BERT's pooler, whose output sentence encoders do not use. The sizes
/// of the pooler are notes of Google's first checkpoints.
const HEADS: InertKeys = any_value(&[
    "_num_labels",
    "add_pooling_layer",
    "classifier_activation",
    "classifier_bias",
    "classifier_dropout",
    "classifier_dropout_prob",
    "classifier_pooling",
    "cls_dropout",
    "finetuning_task",
    "id2label",
    "label2id",
    "num_labels",
    "pooler_dropout",
    "pooler_fc_size",
    "pooler_hidden_act",
    "pooler_hidden_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "problem_type",
    "qa_dropout",
    "sbert_ce_default_activation_fn",
    "sbert_ce_default_activation_function",
    "seq_classif_dropout",
    "summary_activation",
    "summary_first_dropout",
    "summary_hidden_size",
    "summary_last_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "task_specific_params",
]);

/// Ids of special tokens: the tokenizer has its own. RoBERTa's families read `pad_token_id`.
const TOKEN_IDS: InertKeys = any_value(&[
    "bos_token_id",
    "cls_token_id",
    "decoder_start_token_id",
    "eos_token_id",
    "mask_token_id",
    "pad_token_id",
    "sep_token_id",
    "unk_token_id",
]);

/// Settings of text generation, which transformers 4 wrote into every config.json and version 5
/// drops (`GenerationConfig`).
const GENERATION: InertKeys = any_value(&[
    "assistant_confidence_threshold",
    "assistant_lookbehind",
    "bad_words_ids",
    "begin_suppress_tokens",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "epsilon_cutoff",
    "eta_cutoff",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_scores",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict_in_generate",
    "suppress_tokens",
    "target_lookbehind",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    "use_cache",
]);

/// What a call of the model returns in addition to the token vectors.
const OUTPUTS: InertKeys = any_value(&[
    "keys_to_ignore_at_inference",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "tie_last_hidden_states",
]);

/// How the same numbers are computed, and in which type. All types are widened to f32 here.
const IMPLEMENTATION: InertKeys = any_value(&[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_attn_implementation_internal",
    "_experts_implementation",
    "_experts_implementation_internal",
    "attn_implementation",
    "chunk_size_feed_forward",
    "dtype",
    "experts_implementation",
    "torch_dtype",
    "torchscript",
    "unpad_inputs",
    "use_bfloat16",
    "use_flash_attn",
    "use_memory_efficient_attention",
]);

/// Options of other models and decoders. Only these values leave the computation as it is.
/// `pruned_heads` names heads that transformers 4 removed from each layer.
const OPTIONS_THAT_ARE_OFF: InertKeys = InertKeys {
    any_value: &[],
    one_value: &[
        ("cross_attention_hidden_size", Empty),
        ("is_encoder_decoder", Bool(false)),
        ("layer_norm_type", Text("layer_norm")),
        ("logn_attention_clip1", Bool(false)),
        ("logn_attention_scale", Bool(false)),
        ("position_biased_input", Bool(true)),
        ("prefix", Empty),
        ("pruned_heads", Empty),
        ("relative_attention", Bool(false)),
    ],
};
