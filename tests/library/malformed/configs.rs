//! Malformed or contradictory config.json.

use super::*;

#[test]
fn config_sizes_out_of_range_are_rejected() {
    let mut cases = Cases::default();
    let invalid =
        [json!(-1), json!(0), json!(16_777_217), json!(u64::MAX), json!(1e30), json!(1.5), json!("12"), json!(true)];
    let values = invalid.into_iter().chain([json!([]), json!({})]);
    let keys = [
        "hidden_size",
        "num_attention_heads",
        "num_hidden_layers",
        "intermediate_size",
        "vocab_size",
        "max_position_embeddings",
        "type_vocab_size",
    ];
    for value in values {
        for key in keys {
            cases.rejects_value("tiny-bert", "config.json", key, &value);
        }
        cases.rejects_value("tiny-mpnet", "config.json", "relative_attention_num_buckets", &value);
        cases.rejects_value("tiny-mpnet", "sentence_bert_config.json", "max_seq_length", &value);
    }
    cases.finish();
}

#[test]
fn unsupported_config_values_are_rejected_by_name() {
    let mut cases = Cases::default();
    let table = [
        (
            "layer_norm_eps",
            vec![json!(0), json!(0.0), json!(-1e-5), json!("1e-5"), json!(true), json!(1e-60), json!(1e300)],
        ),
        ("hidden_act", vec![json!("gelu_10"), json!(""), json!(3), json!(["gelu"])]),
        ("position_embedding_type", vec![json!("rotary"), json!(""), json!(1)]),
        ("model_type", vec![json!("qwen3"), json!("BERT"), json!(""), json!(7), json!(null), json!(["bert"])]),
        ("is_decoder", vec![json!(true), json!("yes"), json!(1)]),
        ("add_cross_attention", vec![json!(true), json!(0)]),
        ("embedding_size", vec![json!(16), json!("32")]),
        ("num_attention_heads", vec![json!(5), json!(64), json!(16_777_216)]),
    ];
    for (key, values) in table {
        for value in values {
            cases.rejects_value("tiny-bert", "config.json", key, &value);
        }
    }
    cases.rejects_value("tiny-mpnet", "config.json", "relative_attention_num_buckets", &json!(31));
    for value in [json!(-1), json!(1_u64 << 40), json!("1"), json!(1.5)] {
        cases.rejects_value("tiny-xlm-roberta", "config.json", "pad_token_id", &value);
    }
    // The sinusoidal position table is computed, so the size of a file does not limit it.
    let files = with_json("tiny-bert", "config.json", |json| {
        json["model_type"] = json!("distilbert");
        json["dim"] = json!(32);
        json["n_heads"] = json!(4);
        json["sinusoidal_pos_embds"] = json!(true);
        json["max_position_embeddings"] = json!(1 << 24);
    });
    let parts = ["config.json", "max_position_embeddings", "at most 2097152 with sines", "16777216"];
    cases.rejects_model("a huge sinusoidal table", &files, "Config", &parts);
    let files = with_json("tiny-bert", "config.json", |json| {
        json.as_object_mut().expect("an object").remove("model_type");
    });
    cases.rejects_model("no model_type", &files, "Config", &["config.json", "model_type", "mpnet", "found nothing"]);
    cases.finish();
}

#[test]
fn config_contradicting_weights_is_rejected() {
    let mut cases = Cases::default();
    let word_table = "bert.embeddings.word_embeddings.weight";
    let table: [(&str, Value, &str, &[&str]); 15] = [
        ("hidden_size", json!(64), "Config", &[POOLING, "word_embedding_dimension", "64", "32"]),
        ("num_hidden_layers", json!(1), "UnknownTensor", &[WEIGHTS, "BERT", "encoder.layer.1."]),
        ("num_hidden_layers", json!(3), "MissingTensor", &[WEIGHTS, "encoder.layer.2.", "encoder.layer.1."]),
        ("num_hidden_layers", json!(16_777_216), "Config", &["num_hidden_layers", "at most 1024", "16777216"]),
        ("intermediate_size", json!(73), "TensorShape", &[WEIGHTS, "intermediate.dense", "73", "72"]),
        ("vocab_size", json!(361), "TensorShape", &[WEIGHTS, word_table, "[361, 32]", "[360, 32]", "config.json"]),
        ("vocab_size", json!(359), "TensorShape", &[WEIGHTS, word_table, "[359, 32]", "[360, 32]"]),
        ("max_position_embeddings", json!(65), "TensorShape", &["position_embeddings", "[65, 32]", "[64, 32]"]),
        ("type_vocab_size", json!(1), "TensorShape", &["token_type_embeddings", "[1, 32]", "[2, 32]"]),
        // null means the default of the architecture, like a missing key.
        ("hidden_size", json!(null), "Config", &["768", "32"]),
        ("num_attention_heads", json!(null), "Config", &["num_attention_heads", "divisor", "32"]),
        ("num_hidden_layers", json!(null), "MissingTensor", &["encoder.layer.2."]),
        ("intermediate_size", json!(null), "TensorShape", &["3072"]),
        ("vocab_size", json!(null), "TensorShape", &["30522"]),
        ("max_position_embeddings", json!(null), "TensorShape", &["512"]),
    ];
    for (key, value, variant, parts) in table {
        let files = with_json("tiny-bert", "config.json", |json| json[key] = value.clone());
        cases.rejects_model(&format!("{key} = {value}"), &files, variant, parts);
    }
    let mut files = with_json("tiny-bert", "config.json", |json| json["hidden_size"] = json!(64));
    files.remove("modules.json");
    cases.rejects_model(
        "another hidden size than the weights",
        &files,
        "TensorShape",
        &[WEIGHTS, word_table, "[360, 64]", "[360, 32]"],
    );
    let files = with_json("tiny-mpnet", "config.json", |json| json["relative_attention_num_buckets"] = json!(33));
    cases.rejects_model(
        "33 buckets",
        &files,
        "TensorShape",
        &["encoder.relative_attention_bias.weight", "[33, 3]", "[32, 3]"],
    );
    cases.finish();

    for key in ["type_vocab_size", "layer_norm_eps", "hidden_act", "pad_token_id", "is_decoder"] {
        let files = with_json("tiny-bert", "config.json", |json| json[key] = Value::Null);
        embed(&files, &[TEXT]).unwrap_or_else(|e| panic!("{key} = null: {e}"));
    }
}

/// Position ids start after the padding token's id, so a large id leaves few position ids or none.
#[test]
fn padding_id_at_last_position_is_rejected() {
    let mut cases = Cases::default();
    let padded = |id: u32| with_json("tiny-xlm-roberta", "config.json", |json| json["pad_token_id"] = json!(id));
    for id in [63, 64, 65, 66, u32::MAX] {
        let parts = ["config.json", "max_position_embeddings"];
        cases.rejects_model(&format!("pad_token_id {id}"), &padded(id), "Config", &parts);
    }
    for rows in [1_usize, 2] {
        let mut files = with_tensors("tiny-bert", |tensors| {
            let table = tensors.get_mut("bert.embeddings.position_embeddings.weight").expect("a table");
            table.shape[0] = rows;
            table.data.truncate(rows * 32 * 4);
        });
        edit_json(&mut files, "config.json", |json| json["max_position_embeddings"] = json!(rows));
        let parts = ["config.json", "max_position_embeddings", "3 tokens"];
        cases.rejects_model(&format!("{rows} positions"), &files, "Config", &parts);
    }
    cases.finish();

    let model = open(&padded(62)).expect("a model for one token of text");
    let usage = model.embed(&[TEXT]).expect("a vector").usage()[0];
    assert_eq!((usage.used, model.info().max_length), (3, 3));
}

/// Python writes NaN and Infinity, which JSON does not have.
#[test]
fn python_floats_in_unread_keys_change_nothing() {
    let original = files("tiny-bert");
    let expected = embed(&original, &TEXTS).expect("vectors");
    let same = |files: &Files, what: &str| {
        let vectors = embed(files, &TEXTS).unwrap_or_else(|e| panic!("{what}: {}", message(&e)));
        assert!(same_bits(vectors.as_slice(), expected.as_slice()), "{what}");
    };
    let config = String::from_utf8(original["config.json"].clone()).expect("UTF-8");
    for floats in
        [r#""temperature": [0.0, Infinity]"#, r#""task_specific_params": {"b": NaN, "c": [-Infinity, "NaN"]}"#]
    {
        let config = config.replacen('{', &format!("{{{floats},"), 1);
        same(&with("tiny-bert", "config.json", config), floats);
    }
    let mut cases = Cases::default();
    for float in ["NaN", "Infinity", "-Infinity"] {
        for key in ["hidden_size", "layer_norm_eps", "hidden_act", "is_decoder", "model_type"] {
            // The last of two equal keys counts.
            let end = config.rfind('}').expect("an object");
            let config = format!("{}, \"{key}\": {float}}}", &config[..end]);
            let files = with("tiny-bert", "config.json", config);
            let found = format!("found {float}");
            cases.rejects_model(&format!("{key} = {float}"), &files, "Config", &["config.json", key, &found]);
        }
    }
    cases.finish();
}

/// Tools leave settings in a folder that belong to their last use of the model.
#[test]
fn settings_of_an_earlier_use_change_nothing() {
    let expected = embed(&files("tiny-bert"), &TEXTS).expect("vectors");
    let padding = json!({
        "strategy": {"Fixed": 40}, "direction": "Left", "pad_to_multiple_of": 8, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "[PAD]",
    });
    let truncation = json!({"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 100});
    for (file, key, value) in [
        ("tokenizer.json", "padding", padding),
        ("tokenizer.json", "truncation", truncation),
        ("tokenizer_config.json", "max_length", json!(4)),
        ("tokenizer_config.json", "pad_to_multiple_of", json!(8)),
        ("tokenizer_config.json", "padding", json!("max_length")),
        ("tokenizer_config.json", "truncation_strategy", json!("longest_first")),
        ("tokenizer_config.json", "model_max_length", json!(1e30)),
        ("config.json", "torch_dtype", json!("float16")),
        ("config.json", "_name_or_path", json!("/home/someone/model")),
    ] {
        let files = with_json("tiny-bert", file, |json| json[key] = value.clone());
        let vectors = embed(&files, &TEXTS).unwrap_or_else(|e| panic!("{file} {key}: {}", message(&e)));
        assert!(same_bits(vectors.as_slice(), expected.as_slice()), "{file} {key}");
    }
    // "No maximum" is written as the integer 10³⁰, which no integer type of 64 bits can hold.
    for unlimited in ["1e30", "1000000000000000019884624838656"] {
        let config = format!(r#"{{"tokenizer_class": "BertTokenizer", "model_max_length": {unlimited}}}"#);
        let mut files = with("tiny-bert", "tokenizer_config.json", config);
        files.remove(INPUTS);
        assert_eq!(open(&files).expect("a model").info().max_length, 64, "{unlimited}");
    }
}
