//! The sentence head, its prompts and its tokenizer.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::*;

#[test]
fn unsupported_modules_are_rejected_by_name() {
    let mut cases = Cases::default();
    let class = |name: &str| format!("sentence_transformers.models.{name}");
    let module = |name: &str, path: &str| json!({"idx": 0, "name": path, "path": path, "type": class(name)});
    let (transformer, pooling) = (module("Transformer", ""), module("Pooling", "1_Pooling"));
    let normalize = module("Normalize", "2_Normalize");
    let foreign = json!({"path": "", "type": "os.system"});
    let lookalike = json!({"path": "", "type": "sentence_transformers_extra.models.Normalize"});
    let table = [
        ("empty", json!([]), vec!["Transformer", "fewer"]),
        ("elements", json!([1, "x", null]), vec!["an object", "a number"]),
        ("null element", json!([null]), vec!["an object", "null"]),
        ("no type", json!([{"path": ""}]), vec!["type", "sentence_transformers", "nothing"]),
        ("type is a number", json!([{"path": "", "type": 3}]), vec!["type", "a string", "3"]),
        ("path is a number", json!([{"path": 3, "type": class("Transformer")}]), vec!["path", "a string", "3"]),
        ("only a transformer", json!([transformer]), vec!["Pooling", "fewer"]),
        ("foreign class", json!([transformer, pooling, foreign]), vec!["type", "sentence_transformers", "os.system"]),
        ("lookalike", json!([transformer, pooling, lookalike]), vec!["type", "sentence_transformers_extra"]),
        ("class without a package", json!([{"path": "", "type": "Transformer"}]), vec!["type", "\"Transformer\""]),
        (
            "dense without a folder",
            json!([transformer, pooling, {"path": "", "type": class("Dense")}]),
            vec!["path", "folder", "Dense"],
        ),
        (
            "norm without a folder",
            json!([transformer, pooling, {"path": "", "type": class("LayerNorm")}]),
            vec!["path", "LayerNorm"],
        ),
        (
            "layers",
            json!([transformer, module("WeightedLayerPooling", "1_W"), pooling]),
            vec!["type", "second module", "WeightedLayerPooling"],
        ),
        ("convolutions", json!([transformer, pooling, module("CNN", "2_CNN")]), vec!["type", "CNN"]),
        ("two towers", json!([module("Asym", ""), pooling]), vec!["type", "first module", "Asym"]),
        ("static", json!([module("StaticEmbedding", "0_S"), pooling]), vec!["type", "first module", "StaticEmbedding"]),
        ("router", json!([module("Router", ""), pooling]), vec!["type", "first module", "Router"]),
        (
            "recurrent",
            json!([transformer, pooling, module("LSTM", "2_LSTM")]),
            vec!["type", "Dense, LayerNorm", "LSTM"],
        ),
        ("unknown", json!([transformer, pooling, module("Zoom", "2_Zoom")]), vec!["type", "Zoom"]),
        ("wrong order", json!([pooling, transformer]), vec!["type", "first module", "Pooling"]),
        ("normalize first", json!([transformer, normalize, pooling]), vec!["type", "second module", "Normalize"]),
        (
            "pooling without a folder",
            json!([transformer, {"path": "", "type": class("Pooling")}]),
            vec!["path", "folder", "\"\""],
        ),
        ("pooling without a path", json!([transformer, {"type": class("Pooling")}]), vec!["path", "folder", "nothing"]),
        ("two poolings", json!([transformer, pooling, module("Pooling", "2_Pooling")]), vec!["type", "Pooling"]),
        ("a hundred and one", Value::Array(vec![normalize.clone(); 101]), vec!["at most 100 modules", "101"]),
        ("the same name", json!([transformer, pooling, pooling]), vec!["name", "earlier", "1_Pooling"]),
        ("word embeddings", json!([module("WordEmbeddings", ""), pooling]), vec!["type", "WordEmbeddings"]),
    ];
    for (what, modules, mut words) in table {
        words.push("modules.json");
        cases.model(what, &with("tiny-mpnet", "modules.json", modules.to_string()), "Config", &words);
    }
    for (what, modules, file) in [
        (
            "transformer elsewhere",
            json!([module("Transformer", "0_Transformer"), pooling]),
            "0_Transformer/config.json",
        ),
        ("dense", json!([transformer, pooling, module("Dense", "2_Dense")]), "2_Dense/config.json"),
        ("norm", json!([transformer, pooling, module("LayerNorm", "2_Norm")]), "2_Norm/config.json"),
    ] {
        cases.model(what, &with("tiny-mpnet", "modules.json", modules.to_string()), "MissingFile", &[file]);
    }
    for path in ["../elsewhere", "/etc", "1_Pooling/../../elsewhere", ".."] {
        let files = with("tiny-mpnet", "modules.json", json!([transformer, module("Pooling", path)]).to_string());
        cases.model(&format!("path {path} in memory"), &files, "MissingFile", &[path, "Pooling"]);
        let folder = write_folder(&files);
        let words = ["inside the model's folder", path, "leaves"];
        cases.fails(&format!("path {path}"), || Embedder::open(folder.path()), "Config", &words);
    }
    cases.finish();
}

#[test]
fn unsupported_pooling_is_rejected_by_name() {
    let mut cases = Cases::default();
    cases.key("tiny-mpnet", POOLING, "pooling_mode_attention", &json!(true));
    for mode in ["cls_token", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"] {
        for value in [json!("true"), json!(1)] {
            cases.key("tiny-mpnet", POOLING, &format!("pooling_mode_{mode}"), &value);
        }
    }
    cases.key("tiny-mpnet", POOLING, "pooling_mode_mean_tokens", &json!("yes"));
    let many = json!(["cls", "cls", "cls", "cls", "cls", "cls", "cls"]);
    for mode in [json!("attention"), json!(["mean", "Max"]), json!([]), json!([3]), json!(3), json!(""), many] {
        cases.key("tiny-xlm-roberta", POOLING, "pooling_mode", &mode);
    }
    for (model, key) in [("tiny-mpnet", "word_embedding_dimension"), ("tiny-xlm-roberta", "embedding_dimension")] {
        for value in [json!(47), json!(0), json!("48")] {
            cases.key(model, POOLING, key, &value);
        }
        cases.key(model, POOLING, "include_prompt", &json!("no"));
    }
    cases.finish();
}

#[test]
fn unsupported_sentence_configuration_is_rejected_by_name() {
    let mut cases = Cases::default();
    let table = [
        (SENTENCE, "similarity_fn_name", vec![json!("chebyshev"), json!("Cosine"), json!(3)]),
        (SENTENCE, "model_type", vec![json!("CrossEncoder"), json!("SparseEncoder"), json!(1), json!(null)]),
        (SENTENCE, "truncate_dim", vec![json!("16"), json!(0), json!(-1)]),
        (SENTENCE, "prompts", vec![json!(["a"]), json!({"query": 1}), json!("query: ")]),
        (SENTENCE, "default_prompt_name", vec![json!(3), json!(["query"])]),
        (INPUTS, "transformer_task", vec![json!("fill-mask"), json!("text-generation"), json!(1)]),
        (INPUTS, "module_output_name", vec![json!("sentence_embedding"), json!(2)]),
        (INPUTS, "query_length", vec![json!(32), json!("32")]),
        (INPUTS, "document_length", vec![json!(180)]),
        (INPUTS, "query_expansion", vec![json!({"length": 32})]),
        (INPUTS, "processing_kwargs", vec![json!({"text": {"padding": "max_length"}}), json!(3)]),
        (INPUTS, "tokenizer_args", vec![json!({"add_special_tokens": false})]),
        (INPUTS, "processor_kwargs", vec![json!({"do_lower_case": false}), json!(["padding"])]),
        (INPUTS, "model_args", vec![json!({"output_hidden_states": true}), json!(3)]),
        (INPUTS, "model_kwargs", vec![json!({"attn_implementation": "eager", "subfolder": "onnx"})]),
        (INPUTS, "config_args", vec![json!({"hidden_act": "relu"})]),
        (INPUTS, "config_kwargs", vec![json!({"num_hidden_layers": 1})]),
        (INPUTS, "tokenizer_name_or_path", vec![json!("bert-base-uncased")]),
        (INPUTS, "max_seq_length", vec![json!(1), json!(2)]),
        (
            INPUTS,
            "modality_config",
            vec![
                json!({}),
                json!({"image": {"method": "forward", "method_output_name": "last_hidden_state"}}),
                json!({"text": {"method": "forward", "method_output_name": "pooler_output"}}),
                json!({"text": {"method": "get_input_embeddings", "method_output_name": null}}),
            ],
        ),
        ("tokenizer_config.json", "truncation_side", vec![json!("middle"), json!(1)]),
        ("tokenizer_config.json", "tokenizer_class", vec![json!("GPT2Tokenizer"), json!("xlm-roberta"), json!(1)]),
        ("tokenizer_config.json", "additional_special_tokens", vec![json!("a"), json!([1])]),
        ("tokenizer_config.json", "added_tokens_decoder", vec![json!([]), json!({"x": {"content": "a"}})]),
        ("tokenizer_config.json", "cls_token", vec![json!(0), json!({"lstrip": true})]),
    ];
    for (file, key, values) in table {
        for value in values {
            cases.key("tiny-xlm-roberta", file, key, &value);
        }
    }
    let files = edited("tiny-xlm-roberta", INPUTS, |json| {
        let method = json!({"method": "forward", "method_output_name": "last_hidden_state"});
        json["modality_config"] = json!({"text": method, "message": method});
    });
    cases.model("texts as messages", &files, "Config", &[INPUTS, "modality_config", "no messages", "found an object"]);
    // Without modules.json the reference would make each text a message.
    for (file, bytes) in [
        ("tokenizer_config.json", r#"{"chat_template": "{{ messages }}"}"#),
        ("tokenizer_config.json", r#"{"chat_template": [{"name": "default", "template": "{{ messages }}"}]}"#),
        ("chat_template.jinja", "{{ messages }}"),
    ] {
        let mut files = with("tiny-bert", file, bytes);
        embed(&files, &[TEXT]).expect("with modules.json it is not used");
        files.remove("modules.json");
        cases.model(
            bytes,
            &files,
            "Config",
            &[file, "message of a chat", "messages }}"]
                .map(|word| if file.ends_with("jinja") && word.contains('}') { "a template" } else { word }),
        );
    }
    // Types of tokens are not built.
    let mut files = edited("tiny-bert", "tokenizer.json", |json| {
        json["post_processor"]["single"][1]["Sequence"]["type_id"] = json!(1)
    });
    as_written(&mut files);
    embed(&files, &[TEXT]).expect("a class that does not give them");
    edit_json(&mut files, "tokenizer_config.json", |json| {
        json["model_input_names"] = json!(["input_ids", "token_type_ids", "attention_mask"]);
    });
    cases.model("types of tokens", &files, "Config", &["tokenizer.json", "post_processor", "type 0", "found 1"]);
    // A maximum of the tokenizer's counts where the model has none of its own.
    for value in [json!(0), json!(-5), json!("64"), json!(2)] {
        let mut files =
            edited("tiny-xlm-roberta", "tokenizer_config.json", |json| json["model_max_length"] = value.clone());
        edit_json(&mut files, INPUTS, |json| json["max_seq_length"] = json!(null));
        let words = ["tokenizer_config.json", "model_max_length", "expected", &value.to_string()];
        cases.model(&format!("model_max_length {value}"), &files, "Config", &words);
    }
    cases.key("tiny-bert", "sentence_bert_config.json", "do_lower_case", &json!("yes"));
    let adapter = with("tiny-bert", "adapter_config.json", "{\"peft_type\": \"LORA\"}");
    cases.model(
        "an adapter",
        &adapter,
        "Config",
        &["adapter_config.json", "merge the adapter into", "found an adapter"],
    );
    let files = edited("tiny-xlm-roberta", SENTENCE, |json| json["default_prompt_name"] = json!("passage"));
    cases.model("default prompt", &files, "Prompt", &["passage", SENTENCE, "document, query"]);
    cases.finish();
}

/// A model with a Dense module behind pooling, from 48 numbers to 8.
fn with_dense(config: &Value, weights: &Tensors) -> Files {
    let mut files = files("tiny-mpnet");
    edit_json(&mut files, "modules.json", |modules| {
        let modules = modules.as_array_mut().expect("an array");
        modules.push(json!({"path": "2_Dense", "type": "sentence_transformers.models.Dense"}));
    });
    files.insert("2_Dense/config.json".to_owned(), config.to_string().into_bytes());
    files.insert("2_Dense/model.safetensors".to_owned(), write(weights));
    files
}

#[test]
fn dense_module_with_wrong_shape_is_rejected() {
    let mut cases = Cases::default();
    let f32s = |shape: &[usize], x: f32| Raw {
        dtype: "F32".to_owned(),
        shape: shape.to_vec(),
        data: x.to_le_bytes().repeat(shape.iter().product()),
    };
    let weights = || -> Tensors {
        [("linear.weight", f32s(&[8, 48], 0.1)), ("linear.bias", f32s(&[8], 0.5))]
            .into_iter()
            .map(|(name, raw)| (name.to_owned(), raw))
            .collect()
    };
    let config = |key: &str, value: Value| {
        let mut config = json!({"in_features": 48, "out_features": 8, "bias": true,
            "activation_function": "torch.nn.modules.linear.Identity"});
        config[key] = value;
        config
    };
    let good = open(&with_dense(&config("a_key_of_later_versions", json!(1)), &weights())).expect("a model");
    assert_eq!(good.embed(&[TEXT]).expect("a vector").width(), 8);
    for (key, value) in [
        ("in_features", json!(47)),
        ("in_features", json!(null)),
        ("out_features", json!(0)),
        ("out_features", json!(null)),
        ("bias", json!("yes")),
        ("use_residual", json!(1)),
        ("activation_function", json!(null)),
        ("activation_function", json!(3)),
        ("activation_function", json!("Tanh")),
        ("activation_function", json!("my.package.Tanh")),
        ("activation_function", json!("torchvision.ops.Tanh")),
        ("activation_function", json!("torch.nn.modules.activation.Hardtanh")),
        ("module_input_name", json!("token_embeddings")),
        ("module_output_name", json!("other")),
    ] {
        let files = with_dense(&config(key, value.clone()), &weights());
        let words = ["2_Dense/config.json", key, "expected", &value.to_string().replace("null", "")];
        cases.model(&format!("{key} = {value}"), &files, "Config", &words);
    }
    let edited = |edit: &dyn Fn(&mut Tensors)| {
        let mut weights = weights();
        edit(&mut weights);
        with_dense(&config("bias", json!(true)), &weights)
    };
    let file = "2_Dense/model.safetensors";
    let transposed = edited(&|w| drop(w.insert("linear.weight".to_owned(), f32s(&[48, 8], 0.1))));
    cases.model("transposed", &transposed, "TensorShape", &[file, "linear.weight", "[8, 48]", "[48, 8]"]);
    let without = edited(&|w| drop(w.remove("linear.bias")));
    cases.model("no bias", &without, "MissingTensor", &[file, "linear.bias"]);
    let more = edited(&|w| drop(w.insert("gate.weight".to_owned(), f32s(&[8, 48], 0.1))));
    cases.model("one more", &more, "UnknownTensor", &[file, "gate.weight", "Dense"]);
    let nan = edited(&|w| drop(w.insert("linear.weight".to_owned(), f32s(&[8, 48], f32::NAN))));
    cases.model("not finite", &nan, "TensorNotFinite", &[file, "linear.weight", "NaN"]);
    let residual = with_dense(&config("use_residual", json!(true)), &weights());
    cases.model("no residual", &residual, "MissingTensor", &[file, "residual.weight"]);
    let mut pickled = with_dense(&config("bias", json!(true)), &weights());
    let bytes = pickled.remove(file).expect("weights");
    pickled.insert("2_Dense/pytorch_model.bin".to_owned(), bytes);
    cases.model("pickled", &pickled, "MissingFile", &[file, "pytorch_model.bin"]);
    cases.finish();
}

#[test]
fn invalid_tokenizers_are_rejected_by_name() {
    let mut cases = Cases::default();
    for bytes in ["", "not json", "{\"decoder\": {\"a\": }", "{\"decoder\": \"\0\"}"] {
        let files = with("tiny-bert", "tokenizer.json", bytes);
        let words = ["tokenizer.json", "not valid JSON", "line"];
        cases.model(&format!("tokenizer.json = {bytes}"), &files, "Json", &words);
    }
    for bytes in ["{}", "[]", "null", r#"{"version": "1.0"}"#, r#"{"model": {"type": "WordPiece"}}"#] {
        let files = with("tiny-bert", "tokenizer.json", bytes);
        cases.model(
            &format!("tokenizer.json = {bytes}"),
            &files,
            "Tokenizer",
            &["tokenizer.json", "valid tokenizer: "],
        );
    }
    for (key, value) in [
        ("model", json!({"type": "Telepathy", "vocab": {}})),
        ("normalizer", json!({"type": "Telepathy"})),
        ("pre_tokenizer", json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Removed", "invert": false})),
        ("post_processor", json!([])),
        // The library that reads these panics.
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": ""})),
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "=A"})),
        // And for this one it would allocate eight gigabytes.
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="})),
        (
            "normalizer",
            json!({"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": "/////w"}]}),
        ),
        ("added_tokens", json!([{"id": -1, "content": "x"}])),
    ] {
        let mut files = edited("tiny-bert", "tokenizer.json", |json| json[key] = value.clone());
        as_written(&mut files);
        cases.model(&format!("{key} = {value}"), &files, "Tokenizer", &["tokenizer.json"]);
    }
    // A text of a megabyte would fill the memory.
    let longer = |pattern: Value, by: usize| json!({"type": "Replace", "pattern": pattern, "content": "a".repeat(by)});
    // A trie of nothing, and a replacement of a thousand letters.
    let table = [&4_u32.to_le_bytes()[..], &[0; 4], "a".repeat(1000).as_bytes(), &[0]].concat();
    let table = json!({"type": "Precompiled", "precompiled_charsmap": BASE64_STANDARD.encode(table)});
    for steps in [
        vec![table],
        vec![longer(json!({"String": "a"}), 10); 12],
        vec![longer(json!({"String": ""}), 300)],
        vec![longer(json!({"Regex": "a?"}), 20); 2],
        vec![
            json!({"type": "NFKC"}),
            json!({"type": "Sequence", "normalizers": vec![longer(json!({"String": "ab"}), 40); 2]}),
        ],
    ] {
        let mut files = edited("tiny-bert", "tokenizer.json", |json| {
            json["normalizer"] = json!({"type": "Sequence", "normalizers": steps});
        });
        as_written(&mut files);
        cases.model(
            &format!("{} steps", steps.len()),
            &files,
            "Config",
            &["tokenizer.json", "normalizer", "times as long"],
        );
    }
    // The library reads this and panics when it meets a text.
    let mut files = edited("tiny-bert", "tokenizer.json", |json| {
        json["post_processor"]["single"][0]["SpecialToken"]["id"] = json!("[NONE]");
    });
    as_written(&mut files);
    cases.model("a template without its token", &files, "Tokenizer", &["tokenizer.json"]);
    // No word for what is not in the vocabulary.
    let mut files = edited("tiny-bert", "tokenizer.json", |json| {
        json["model"]["vocab"].as_object_mut().expect("words").remove("[UNK]");
        json["added_tokens"].as_array_mut().expect("tokens").retain(|token| token["content"] != "[UNK]");
    });
    as_written(&mut files);
    let run = || embed(&files, &["ⵣ"]);
    cases.fails("no unknown token", run, "Tokenizer", &["tokenizer.json", "cannot tokenize a text", "[UNK]"]);
    cases.finish();
}

#[test]
fn token_ids_beyond_vocabulary_are_rejected() {
    let mut cases = Cases::default();
    let files = edited("tiny-bert", "tokenizer.json", |json| json["model"]["vocab"]["happy"] = json!(5000));
    cases.model("an id that is too large", &files, "TokenId", &["tokenizer.json", "5000", "360"]);
    assert!(embed(&files, &["a dog"]).is_ok(), "other texts are as they were");

    let mut files = reweighted("tiny-bert", |tensors| {
        let table = tensors.get_mut("bert.embeddings.word_embeddings.weight").expect("a table");
        table.shape[0] = 4;
        table.data.truncate(4 * 32 * 4);
    });
    edit_json(&mut files, "config.json", |json| json["vocab_size"] = json!(4));
    cases.model("a table that is too small", &files, "TokenId", &["tokenizer.json", "less than 4"]);
    assert!(embed(&files, &[""]).is_ok(), "the special tokens are in the table");
    cases.finish();
}
