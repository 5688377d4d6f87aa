//! Unsupported pooling, prompts, and settings of sentence-transformers and of the tokenizer.

use super::*;

#[test]
fn unsupported_pooling_is_rejected_by_name() {
    let mut cases = Cases::default();
    cases.rejects_value("tiny-mpnet", POOLING, "pooling_mode_attention", &json!(true));
    for mode in ["cls_token", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"] {
        for value in [json!("true"), json!(1)] {
            cases.rejects_value("tiny-mpnet", POOLING, &format!("pooling_mode_{mode}"), &value);
        }
    }
    cases.rejects_value("tiny-mpnet", POOLING, "pooling_mode_mean_tokens", &json!("yes"));
    let seven_modes = json!(["cls", "cls", "cls", "cls", "cls", "cls", "cls"]);
    for mode in [json!("attention"), json!(["mean", "Max"]), json!([]), json!([3]), json!(3), json!(""), seven_modes] {
        cases.rejects_value("tiny-xlm-roberta", POOLING, "pooling_mode", &mode);
    }
    for (model, key) in [("tiny-mpnet", "word_embedding_dimension"), ("tiny-xlm-roberta", "embedding_dimension")] {
        for value in [json!(47), json!(0), json!("48")] {
            cases.rejects_value(model, POOLING, key, &value);
        }
        cases.rejects_value(model, POOLING, "include_prompt", &json!("no"));
    }
    cases.finish();
}

#[test]
fn unsupported_sentence_configuration_is_rejected_by_name() {
    let mut cases = Cases::default();
    for (key, values) in [
        ("similarity_fn_name", vec![json!("chebyshev"), json!("Cosine"), json!(3)]),
        ("model_type", vec![json!("CrossEncoder"), json!("SparseEncoder"), json!(1), json!(null)]),
        ("truncate_dim", vec![json!("16"), json!(0), json!(-1)]),
        ("prompts", vec![json!(["a"]), json!({"query": 1}), json!("query: ")]),
        ("default_prompt_name", vec![json!(3), json!(["query"])]),
    ] {
        for value in values {
            cases.rejects_value("tiny-xlm-roberta", SENTENCE, key, &value);
        }
    }
    let files = with_json("tiny-xlm-roberta", SENTENCE, |json| json["default_prompt_name"] = json!("passage"));
    cases.rejects_model("default prompt", &files, "Prompt", &["passage", SENTENCE, "document, query"]);
    cases.finish();
}

#[test]
fn unsupported_transformer_settings_are_rejected_by_name() {
    let mut cases = Cases::default();
    for (key, values) in [
        ("transformer_task", vec![json!("fill-mask"), json!("text-generation"), json!(1)]),
        ("module_output_name", vec![json!("sentence_embedding"), json!(2)]),
        ("query_length", vec![json!(32), json!("32")]),
        ("document_length", vec![json!(180)]),
        ("query_expansion", vec![json!({"length": 32})]),
        ("processing_kwargs", vec![json!({"text": {"padding": "max_length"}}), json!(3)]),
        ("tokenizer_args", vec![json!({"add_special_tokens": false})]),
        ("processor_kwargs", vec![json!({"do_lower_case": false}), json!(["padding"])]),
        ("model_args", vec![json!({"output_hidden_states": true}), json!(3)]),
        ("model_kwargs", vec![json!({"attn_implementation": "eager", "subfolder": "onnx"})]),
        ("config_args", vec![json!({"hidden_act": "relu"})]),
        ("config_kwargs", vec![json!({"num_hidden_layers": 1})]),
        ("tokenizer_name_or_path", vec![json!("bert-base-uncased")]),
        ("max_seq_length", vec![json!(1), json!(2)]),
        (
            "modality_config",
            vec![
                json!({}),
                json!({"image": {"method": "forward", "method_output_name": "last_hidden_state"}}),
                json!({"text": {"method": "forward", "method_output_name": "pooler_output"}}),
                json!({"text": {"method": "get_input_embeddings", "method_output_name": null}}),
            ],
        ),
    ] {
        for value in values {
            cases.rejects_value("tiny-xlm-roberta", INPUTS, key, &value);
        }
    }
    let files = with_json("tiny-xlm-roberta", INPUTS, |json| {
        let method = json!({"method": "forward", "method_output_name": "last_hidden_state"});
        json["modality_config"] = json!({"text": method, "message": method});
    });
    cases.rejects_model(
        "texts as messages",
        &files,
        "Config",
        &[INPUTS, "modality_config", "no messages", "found an object"],
    );
    cases.rejects_value("tiny-bert", "sentence_bert_config.json", "do_lower_case", &json!("yes"));
    cases.finish();
}

#[test]
fn unsupported_tokenizer_settings_are_rejected_by_name() {
    let mut cases = Cases::default();
    for (key, values) in [
        ("truncation_side", vec![json!("middle"), json!(1)]),
        ("tokenizer_class", vec![json!("GPT2Tokenizer"), json!("xlm-roberta"), json!(1)]),
        ("additional_special_tokens", vec![json!("a"), json!([1])]),
        ("added_tokens_decoder", vec![json!([]), json!({"x": {"content": "a"}})]),
        ("cls_token", vec![json!(0), json!({"lstrip": true})]),
    ] {
        for value in values {
            cases.rejects_value("tiny-xlm-roberta", "tokenizer_config.json", key, &value);
        }
    }
    // The encoder uses token type 0 for every token. A class that does not return token types
    // ignores the value.
    let mut files = with_json("tiny-bert", "tokenizer.json", |json| {
        json["post_processor"]["single"][1]["Sequence"]["type_id"] = json!(1)
    });
    use_generic_class(&mut files);
    embed(&files, &[TEXT]).expect("a class without token types");
    edit_json(&mut files, "tokenizer_config.json", |json| {
        json["model_input_names"] = json!(["input_ids", "token_type_ids", "attention_mask"]);
    });
    cases.rejects_model("token type 1", &files, "Config", &["tokenizer.json", "post_processor", "type 0", "found 1"]);
    // The maximum length of the tokenizer applies if sentence_bert_config.json contains none.
    for value in [json!(0), json!(-5), json!("64"), json!(2)] {
        let mut files =
            with_json("tiny-xlm-roberta", "tokenizer_config.json", |json| json["model_max_length"] = value.clone());
        edit_json(&mut files, INPUTS, |json| json["max_seq_length"] = json!(null));
        let parts = ["tokenizer_config.json", "model_max_length", "expected", &value.to_string()];
        cases.rejects_model(&format!("model_max_length {value}"), &files, "Config", &parts);
    }
    cases.finish();
}

#[test]
fn unmerged_adapter_is_rejected_by_name() {
    let mut cases = Cases::default();
    let adapter = with("tiny-bert", "adapter_config.json", "{\"peft_type\": \"LORA\"}");
    cases.rejects_model(
        "an adapter",
        &adapter,
        "Config",
        &["adapter_config.json", "merge the adapter into", "found an adapter"],
    );
    cases.finish();
}

/// Without modules.json, sentence-transformers would format each text as a chat message.
#[test]
fn chat_template_without_modules_is_rejected_by_name() {
    let mut cases = Cases::default();
    for (file, bytes, found) in [
        ("tokenizer_config.json", r#"{"chat_template": "{{ messages }}"}"#, "messages }}"),
        (
            "tokenizer_config.json",
            r#"{"chat_template": [{"name": "default", "template": "{{ messages }}"}]}"#,
            "messages }}",
        ),
        ("chat_template.jinja", "{{ messages }}", "a template"),
    ] {
        let mut files = with("tiny-bert", file, bytes);
        embed(&files, &[TEXT]).expect("a model whose modules.json makes the template unused");
        files.remove("modules.json");
        cases.rejects_model(bytes, &files, "Config", &[file, "message of a chat", found]);
    }
    cases.finish();
}
