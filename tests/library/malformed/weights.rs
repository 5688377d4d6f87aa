//! Malformed safetensors files, and tensors that do not fit the model.

use super::*;

#[test]
fn invalid_safetensors_are_rejected() {
    let mut cases = Cases::default();
    let bytes = files("tiny-bert")[WEIGHTS].clone();
    let (header, data) = split(&bytes);
    let norm = "bert.embeddings.LayerNorm.beta";
    let edit = |key: &str, value: Value| with_header(&bytes, |header| header[norm][key] = value);
    let mut not_utf8 = bytes.clone();
    not_utf8[20] = 0xff;
    let length = |n: u64| [&n.to_le_bytes()[..], &bytes[8..]].concat();
    let table = [
        ("7 bytes", bytes[..7].to_vec()),
        ("8 bytes", bytes[..8].to_vec()),
        ("zeros", vec![0; 64]),
        ("a header longer than the file", length(bytes.len() as u64 - 7)),
        ("a header of 2⁶⁴ − 1 bytes", length(u64::MAX)),
        ("a header of 2⁶⁴ − 8 bytes", length(u64::MAX - 7)),
        ("a header of 2⁶³ bytes", length(1 << 63)),
        ("a header that is too short", length(header.len() as u64 - 1)),
        ("a header that is too long", length(header.len() as u64 + 1)),
        ("a header that is not JSON", join(b"not json", data)),
        ("a header that is an array", join(b"[]", data)),
        ("a header that is a number", join(b"1", data)),
        ("an empty header", join(b"", data)),
        ("a header without tensors", join(b"{}", data)),
        ("a header that is not UTF-8", not_utf8),
        ("bytes after the end", [&bytes[..], &[0]].concat()),
        ("overlapping tensors", edit("data_offsets", json!([448, 640]))),
        ("a hole", with_header(&bytes, |header| drop(header.as_object_mut().expect("tensors").remove(norm)))),
        ("an end before the beginning", edit("data_offsets", json!([640, 512]))),
        ("offsets beyond the end", edit("data_offsets", json!([u64::MAX - 127, u64::MAX]))),
        ("negative offsets", edit("data_offsets", json!([-128, 0]))),
        ("one offset", edit("data_offsets", json!([512]))),
        ("a shape with fewer elements", edit("shape", json!([31]))),
        ("a shape with more elements", edit("shape", json!([32, 2]))),
        ("a shape that overflows", edit("shape", json!([1_u64 << 32, 1_u64 << 32, 1_u64 << 32]))),
        ("a shape that overflows to its size", edit("shape", json!([1_u64 << 62, 4, 32]))),
        ("a huge shape", edit("shape", json!([u64::MAX]))),
        ("a negative shape", edit("shape", json!([-32]))),
        ("a shape that is a number", edit("shape", json!(32))),
        ("an unknown dtype", edit("dtype", json!("F31"))),
        ("no dtype", edit("dtype", json!(null))),
    ];
    for (what, bytes) in table {
        let size = format!("({} bytes", bytes.len());
        let parts = [WEIGHTS, "not a valid safetensors file", size.as_str(), "): "];
        cases.rejects_model(what, &with("tiny-bert", WEIGHTS, bytes), "Safetensors", &parts);
    }
    cases.finish();
}

#[test]
fn truncated_safetensors_are_rejected() {
    let mut cases = Cases::default();
    let bytes = files("tiny-bert")[WEIGHTS].clone();
    let data = 8 + split(&bytes).0.len();
    // The first bytes of a file may happen to be text, and an empty file has another error.
    let lengths = (8..data + 2).chain((data..bytes.len()).step_by(4099)).chain([bytes.len() - 1]);
    for length in lengths {
        let run = || Checkpoint::from_bytes(bytes[..length].to_vec());
        let size = format!("({length} bytes");
        let advice = if length > 8 { "truncated, download or copy the file again" } else { "" };
        cases.fails(&format!("{length} bytes"), run, "Safetensors", &[WEIGHTS, &size, advice]);
    }
    for length in 0..8 {
        let run = || Checkpoint::from_bytes(bytes[..length].to_vec());
        cases.fails(&format!("{length} bytes"), run, "Safetensors|Content", &[WEIGHTS]);
    }
    // Mapped files must give the same errors.
    for length in [8, data - 1, data, bytes.len() - 1] {
        let folder = write_folder(&with("tiny-bert", WEIGHTS, &bytes[..length]));
        cases.fails(&format!("{length} bytes, mapped"), || Embedder::open(folder.path()), "Safetensors", &[WEIGHTS]);
    }
    cases.finish();
}

#[test]
fn wrong_tensors_are_rejected_by_name() {
    let mut cases = Cases::default();
    let word_table = "embeddings.word_embeddings.weight";
    for (dtype, size) in [("I64", 8), ("F64", 8), ("U8", 1), ("BOOL", 1), ("I32", 4), ("F8_E4M3", 1)] {
        for name in [word_table, "embeddings.LayerNorm.bias", "encoder.layer.1.output.dense.weight"] {
            let files = with_tensors("tiny-mpnet", |tensors| {
                let tensor = tensors.get_mut(name).expect("a tensor");
                tensor.dtype = dtype.to_owned();
                tensor.data = vec![0; size * tensor.shape.iter().product::<usize>()];
            });
            cases.rejects_model(
                &format!("{name} is {dtype}"),
                &files,
                "TensorDtype",
                &[WEIGHTS, name, "F32, F16 or BF16", dtype],
            );
        }
    }
    for (name, similar) in [
        ("encoder.layer.0.attention.attn.q.weight", "encoder.layer.0.attention.attn.k.weight"),
        ("encoder.layer.1.output.LayerNorm.bias", "encoder.layer.0.output.LayerNorm.bias"),
        ("encoder.relative_attention_bias.weight", "similar names"),
        (word_table, "embeddings.position_embeddings.weight"),
    ] {
        let files = with_tensors("tiny-mpnet", |tensors| drop(tensors.remove(name)));
        cases.rejects_model(&format!("no {name}"), &files, "MissingTensor", &[WEIGHTS, name, similar]);
        let files = with_tensors("tiny-mpnet", |tensors| tensors.get_mut(name).expect("a tensor").shape.reverse());
        let run = || embed(&files, &[TEXT]);
        // Transposing a vector or a square matrix does not change its shape.
        let shape = &tensors(&files[WEIGHTS])[name].shape;
        if shape.len() == 2 && shape[0] != shape[1] {
            cases.fails(&format!("{name} transposed"), run, "TensorShape", &[WEIGHTS, name, "expected", "found ["]);
        }
        let files = with_tensors("tiny-mpnet", |tensors| tensors.get_mut(name).expect("a tensor").shape.push(1));
        cases.rejects_model(&format!("{name} with another axis"), &files, "TensorShape", &[WEIGHTS, name, ", 1]"]);
    }
    for name in [
        "encoder.layer.0.adapter.weight",
        "encoder.layer.2.output.dense.bias",
        "embeddings.token_type_embeddings.weight",
    ] {
        let files = with_tensors("tiny-mpnet", |tensors| {
            let tensor = tensors["embeddings.LayerNorm.bias"].clone();
            tensors.insert(name.to_owned(), tensor);
        });
        cases.rejects_model(&format!("an unknown {name}"), &files, "UnknownTensor", &[WEIGHTS, name, "MPNet"]);
    }
    // The name is valid, but lacks the prefix of the other tensors.
    let unprefixed = "encoder.layer.0.output.dense.bias";
    let files = with_tensors("tiny-bert", |tensors| {
        let tensor = tensors["bert.embeddings.LayerNorm.beta"].clone();
        tensors.insert(unprefixed.to_owned(), tensor);
    });
    cases.rejects_model("a tensor without the prefix", &files, "UnknownTensor", &[WEIGHTS, unprefixed, "BERT"]);
    let empty = with("tiny-mpnet", WEIGHTS, write(&Tensors::new()));
    cases.rejects_model("no tensors at all", &empty, "MissingTensor", &[WEIGHTS, word_table]);
    cases.finish();
}

#[test]
fn unknown_tensors_are_rejected_by_name() {
    let mut cases = Cases::default();
    for model in TINY {
        for other in TINY.into_iter().filter(|other| *other != model) {
            let files = with(model, WEIGHTS, files(other)[WEIGHTS].clone());
            let any = "MissingTensor|TensorShape|UnknownTensor";
            cases.rejects_model(&format!("{model} with the weights of {other}"), &files, any, &[WEIGHTS]);
        }
    }
    // The families have the same sizes, but each has tensors that the other lacks.
    let files = with_json("tiny-mpnet", "config.json", |json| {
        json["model_type"] = json!("bert");
        json["relative_attention_num_buckets"] = Value::Null;
    });
    cases.rejects_model("MPNet as BERT", &files, "MissingTensor", &[WEIGHTS, "token_type_embeddings"]);
    let files = with_json("tiny-xlm-roberta", "config.json", |json| json["model_type"] = json!("mpnet"));
    cases.rejects_model("XLM-RoBERTa as MPNet", &files, "MissingTensor", &[WEIGHTS, "relative_attention_bias"]);
    cases.finish();
}

#[test]
fn non_finite_weights_are_rejected_by_name() {
    let mut cases = Cases::default();
    // The tensor, the index of the element, and the row that the message must name.
    let at_load = [
        ("encoder.layer.1.intermediate.dense.weight", 5 * 48 + 7, 5),
        ("encoder.layer.0.attention.attn.k.weight", 47 * 48 + 47, 47),
        ("encoder.layer.0.attention.attn.v.bias", 11, 11),
        ("encoder.layer.0.output.LayerNorm.weight", 0, 0),
        ("embeddings.LayerNorm.bias", 47, 47),
        ("encoder.relative_attention_bias.weight", 31 * 3 + 2, 31),
    ];
    for (value, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        for (tensor, index, row) in at_load {
            let mut files = files("tiny-mpnet");
            edit_tensor(&mut files, tensor, |elements| elements[index] = value);
            let row = format!("row {row} ");
            cases.fails(
                &format!("{tensor} {value}"),
                || open(&files),
                "TensorNotFinite",
                &[WEIGHTS, tensor, &row, shown],
            );
        }
        // Rows of embedding tables are checked when a text uses them.
        let happy = open(&files("tiny-mpnet")).expect("a model").tokenize("happy").expect("tokens").ids[1] as usize;
        for (tensor, row, affected, unaffected) in [
            ("embeddings.word_embeddings.weight", happy, "a happy person", "a dog"),
            ("embeddings.position_embeddings.weight", 2 + 5, "a a a a a a a", "a a"),
        ] {
            let mut files = files("tiny-mpnet");
            edit_tensor(&mut files, tensor, |elements| elements[row * 48 + 3] = value);
            let row = format!("row {row} ");
            let parts = [WEIGHTS, tensor, row.as_str(), shown];
            cases.fails(&format!("{tensor} {value}"), || embed(&files, &[affected]), "TensorNotFinite", &parts);
            let texts: Vec<&str> = (0..600).map(|i| if i == 333 { affected } else { unaffected }).collect();
            for threads in [1, 2] {
                let run = || Embedder::builder().threads(threads).open_files(&in_memory(&files))?.embed(&texts);
                cases.fails(&format!("{tensor}, 600 texts, {threads} threads"), run, "TensorNotFinite", &parts);
            }
            let expected = embed(&crate::common::files("tiny-mpnet"), &[unaffected]).expect("a vector");
            let found = embed(&files, &[unaffected]).expect("a vector");
            assert!(same_bits(expected.as_slice(), found.as_slice()), "{tensor}");
        }
    }
    // Large finite weights make the activations overflow.
    let mut files = files("tiny-bert");
    edit_tensor(&mut files, "bert.encoder.layer.1.output.LayerNorm.gamma", |elements| elements.fill(3e38));
    cases.rejects_model("an overflow", &files, "NotFinite", &["text 0", "not finite"]);
    cases.finish();
}
