//! Keys of the JSON files: read, inert, or rejected.

use super::*;
use crate::common::Golden;

/// Returns the files of one complete model for each family.
fn models() -> Vec<(&'static str, Files)> {
    const FAMILIES: [&str; 6] = ["bert", "distilbert", "roberta", "camembert", "xlm-roberta", "mpnet"];
    let golden = Golden::load("matrix");
    let cases = golden.json["cases"].as_array().expect("cases");
    let model = |family| {
        let is_of_family =
            |case: &&Value| case["name"].as_str().is_some_and(|name| name.split('/').next() == Some(family));
        (family, crate::common::matrix::files(&golden, cases.iter().find(is_of_family).expect("a model")))
    };
    FAMILIES.map(model).into()
}

/// The keys that published folders have and no encoder reads, with values that would matter if one
/// did.
fn inert_keys() -> Value {
    // Too long for the macro `json!`.
    let keys = r#"{
        "_name_or_path": "BAAI/bge-m3", "_commit_hash": "0", "transformers_version": "4.8.2", "_num_labels": 5,
        "auto_map": {"AutoModel": "modeling.Model"}, "architectures": ["BertForSequenceClassification"],
        "tokenizer_class": null, "language": "english", "name": "Bert", "sentence_transformers": {"version": "5.0.0"},
        "attention_probs_dropout_prob": 0.9, "hidden_dropout_prob": 0.9, "attention_dropout": 0.9, "dropout": 0.9,
        "initializer_range": 2, "gradient_checkpointing": true, "layerdrop": 0.5, "output_past": true,
        "tie_weights_": true, "tie_word_embeddings": false, "directionality": "bidi", "emb_size": 1, "xla_device": true,
        "classifier_dropout": 0.5, "id2label": {"0": "A"}, "label2id": {"A": 0}, "num_labels": 1,
        "finetuning_task": "sst-2", "problem_type": "regression", "pooler_fc_size": 768, "pooler_num_fc_layers": 3,
        "pooler_num_attention_heads": 12, "pooler_size_per_head": 128, "pooler_type": "first_token_transform",
        "qa_dropout": 0.1, "seq_classif_dropout": 0.2, "summary_type": "first", "task_specific_params": {"a": {"b": 1}},
        "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity",
        "bos_token_id": 7, "eos_token_id": [7, 8], "sep_token_id": 7, "decoder_start_token_id": 7,
        "max_length": 4, "min_length": 2, "num_beams": 4, "top_k": 5, "temperature": 0.1, "bad_words_ids": [[1]],
        "do_sample": true, "use_cache": false, "remove_invalid_values": true, "output_attentions": true,
        "output_hidden_states": true, "return_dict": false, "torchscript": true, "torch_dtype": "float16",
        "dtype": "bfloat16", "use_bfloat16": true, "chunk_size_feed_forward": 4, "_attn_implementation": "eager",
        "_attn_implementation_autoset": true, "attn_implementation": "flash_attention_2", "unpad_inputs": true,
        "use_memory_efficient_attention": true, "transformers.js_config": {"dtype": "q8"}
    }"#;
    serde_json::from_str(keys).expect("JSON")
}

/// Keys that are inert with one value, and a value with which they are rejected.
fn neutral_keys() -> [(&'static str, Value, Value); 9] {
    [
        ("is_encoder_decoder", json!(false), json!(true)),
        ("layer_norm_type", json!("layer_norm"), json!("rms_norm")),
        ("logn_attention_scale", json!(false), json!(true)),
        ("logn_attention_clip1", json!(false), json!(true)),
        ("position_biased_input", json!(true), json!(false)),
        ("prefix", json!(""), json!("query: ")),
        ("pruned_heads", json!({}), json!({"0": [1]})),
        ("relative_attention", json!(false), json!(true)),
        ("is_decoder", json!(false), json!(true)),
    ]
}

/// Keys that change the computation, or whose effect is unknown.
fn unknown_keys() -> [(&'static str, Value); 16] {
    [
        ("rope_scaling", json!({"type": "linear", "factor": 2.0})),
        ("rope_parameters", json!({"rope_type": "default", "rope_theta": 10000.0})),
        ("rope_theta", json!(10000)),
        ("attn_logit_softcapping", json!(50.0)),
        ("final_logit_softcapping", json!(30.0)),
        ("sliding_window", json!(512)),
        ("layer_types", json!(["full_attention"])),
        ("per_layer_config", json!({"1": {"intermediate_size": 4}})),
        ("quantization_config", json!({"quant_method": "bitsandbytes", "load_in_8bit": true})),
        ("feed_forward_type", json!("geglu")),
        ("num_key_value_heads", json!(2)),
        ("head_dim", json!(16)),
        ("glyph_embedding_dim", json!(1728)),
        ("lora_adaptations", json!(["retrieval.query"])),
        ("num_experts", json!(8)),
        ("a_key_of_later_versions", json!(0)),
    ]
}

#[test]
fn inert_keys_of_config_json_change_nothing() {
    for (family, mut files) in models() {
        let expected = embed(&files, &TEXTS).expect("vectors");
        edit_json(&mut files, "config.json", |json| {
            let object = json.as_object_mut().expect("an object");
            object.extend(inert_keys().as_object().expect("an object").clone());
            object.extend(neutral_keys().map(|(key, neutral, _)| (key.to_owned(), neutral)));
            object.extend(unknown_keys().map(|(key, _)| (key.to_owned(), Value::Null)));
        });
        let vectors = embed(&files, &TEXTS).unwrap_or_else(|error| panic!("{family}: {}", message(&error)));
        assert!(same_bits(vectors.as_slice(), expected.as_slice()), "{family}");
    }
}

#[test]
fn keys_of_config_json_that_may_change_vectors_are_rejected() {
    let mut cases = Cases::default();
    for (family, files) in models() {
        let other_values = neutral_keys().map(|(key, _, other)| (key, other));
        for (key, value) in other_values.into_iter().chain(unknown_keys()) {
            let mut files = files.clone();
            edit_json(&mut files, "config.json", |json| json[key] = value.clone());
            let found = value.to_string();
            let parts = ["config.json", key, "expected", &found];
            cases.rejects_model(&format!("{family} {key} = {found}"), &files, "Config", &parts);
        }
    }
    let files = with_json("tiny-bert", "config.json", |json| {
        json["quantization_config"] = json!({"bits": 4});
        json["rope_scaling"] = json!({"factor": 2.0});
    });
    let parts = ["`quantization_config`", "remove the key if it changes no vector", "rope_scaling", r#"{"bits":4}"#];
    cases.rejects_model("two unknown keys", &files, "Config", &parts);
    cases.finish();
}

#[test]
fn keys_of_bert_are_inert_in_families_that_do_not_read_them() {
    let mut cases = Cases::default();
    for (family, files) in models() {
        let with = |key: &str, value: Value| {
            let mut files = files.clone();
            edit_json(&mut files, "config.json", |json| json[key] = value);
            files
        };
        let expected = embed(&files, &[TEXT]).expect("a vector");
        let inert = match family {
            "distilbert" => {
                cases.rejects_model(family, &with("hidden_act", json!("relu")), "Config", &["hidden_act", "\"gelu\""]);
                cases.rejects_model(
                    family,
                    &with("layer_norm_eps", json!(1e-5)),
                    "Config",
                    &["layer_norm_eps", "1e-12"],
                );
                vec![("type_vocab_size", json!(2)), ("hidden_act", json!("gelu")), ("layer_norm_eps", json!(1e-12))]
            }
            "mpnet" => vec![("type_vocab_size", json!(2))],
            _ => continue,
        };
        for (key, value) in inert {
            let vector =
                embed(&with(key, value), &[TEXT]).unwrap_or_else(|e| panic!("{family} {key}: {}", message(&e)));
            assert!(same_bits(vector.as_slice(), expected.as_slice()), "{family} {key}");
        }
    }
    cases.finish();
}

#[test]
fn unknown_keys_of_modules_are_rejected() {
    let mut cases = Cases::default();
    for (model, file) in
        [("tiny-bert", POOLING), ("tiny-bert", INPUTS), ("tiny-xlm-roberta", "2_Normalize/config.json")]
    {
        let mut with_files = files(model);
        let bytes = with_files.entry(file.to_owned()).or_insert_with(|| b"{}".to_vec()).clone();
        embed(&with_files, &[TEXT]).unwrap_or_else(|error| panic!("{file}: {}", message(&error)));
        for (key, value) in [("a_key_of_later_versions", json!(1)), ("scale", json!([0.5]))] {
            with_files.insert(file.to_owned(), bytes.clone());
            edit_json(&mut with_files, file, |json| json[key] = value.clone());
            let parts = [file, key, "no such key", "remove the key", &value.to_string()];
            cases.rejects_model(&format!("{file} {key}"), &with_files, "Config", &parts);
        }
        with_files.insert(file.to_owned(), bytes.clone());
        edit_json(&mut with_files, file, |json| json["a_key_of_later_versions"] = Value::Null);
        embed(&with_files, &[TEXT]).unwrap_or_else(|error| panic!("{file}: {}", message(&error)));
    }
    cases.finish();
}

/// sentence-transformers ignores the boolean keys beside `pooling_mode`.
#[test]
fn boolean_keys_beside_pooling_mode_change_nothing() {
    let with = |other: &Value| {
        with_json("tiny-bert", POOLING, |json| {
            *json = json!({"embedding_dimension": 32, "pooling_mode": "cls"});
            json.as_object_mut().expect("keys").extend(other.as_object().expect("keys").clone());
        })
    };
    let expected = embed(&with(&json!({})), &TEXTS).expect("vectors");
    let vectors = embed(&with(&json!({"pooling_mode_mean_tokens": true})), &TEXTS).expect("vectors");
    assert!(same_bits(vectors.as_slice(), expected.as_slice()));
}
