//! Weights that are right in another form.

use super::*;

fn assert_same(files: &Files, expected: &Files, what: &str) {
    let vectors = |files: &Files| embed(files, &TEXTS).unwrap_or_else(|e| panic!("{what}: {}", message(&e)));
    assert!(same_bits(vectors(files).as_slice(), vectors(expected).as_slice()), "{what}");
}

/// tiny-mpnet in three shards, tensors dealt out in turn.
fn sharded() -> Files {
    let mut files = files("tiny-mpnet");
    let all = tensors(&files.remove(WEIGHTS).expect("weights"));
    let shard = |i: usize| format!("model-{:05}-of-00003.safetensors", i % 3 + 1);
    for i in 0..3 {
        let part = all.iter().skip(i).step_by(3).map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
        files.insert(shard(i), write(&part));
    }
    let map: BTreeMap<_, _> = all.keys().enumerate().map(|(i, name)| (name, shard(i))).collect();
    files.insert(INDEX.to_owned(), json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string().into_bytes());
    files
}

#[test]
fn sharded_weights_give_same_vectors() {
    let expected = files("tiny-mpnet");
    let files = sharded();
    assert_same(&files, &expected, "in memory");
    let folder = write_folder(&files);
    let mapped = Embedder::open(folder.path()).and_then(|model| model.embed(&TEXTS)).expect("vectors");
    assert!(same_bits(mapped.as_slice(), embed(&expected, &TEXTS).expect("vectors").as_slice()), "mapped");
}

/// Links in a folder: a shard or a module elsewhere is refused, where a hub's cache keeps its blobs
/// is not elsewhere.
#[cfg(unix)]
#[test]
fn links_leaving_the_folder_are_rejected() {
    use std::os::unix::fs::symlink;
    let mut cases = Cases::default();
    let elsewhere = tempfile::tempdir().expect("a folder");
    for name in ["model-00001-of-00003.safetensors", "1_Pooling"] {
        let folder = write_folder(&sharded());
        let (there, here) = (elsewhere.path().join(name), folder.path().join(name));
        std::fs::rename(&here, &there).expect("moved");
        symlink(&there, &here).expect("a link");
        let words = ["inside the model's folder", "a link to", name];
        cases.fails(name, || Embedder::open(folder.path()), "Config", &words);
    }
    // Of the encoder's own folder, every file.
    for name in ["config.json", "tokenizer.json", WEIGHTS] {
        let mut files = files("tiny-bert");
        edit_json(&mut files, "modules.json", |modules| modules[0]["path"] = json!("0_Transformer"));
        for own in ["config.json", "tokenizer.json", "tokenizer_config.json", INPUTS, WEIGHTS] {
            let bytes = files.remove(own).expect("a file");
            files.insert(format!("0_Transformer/{own}"), bytes);
        }
        let folder = write_folder(&files);
        Embedder::open(folder.path()).expect("a model");
        let (there, here) =
            (elsewhere.path().join(format!("0-{name}")), folder.path().join("0_Transformer").join(name));
        std::fs::rename(&here, &there).expect("moved");
        symlink(&there, &here).expect("a link");
        let words = ["inside the model's folder", "a link to", name];
        cases.fails(name, || Embedder::open(folder.path()), "Config", &words);
    }
    cases.finish();
    // A file that every model has may be anywhere: whoever made the link chose it.
    let folder = write_folder(&files("tiny-bert"));
    let (there, here) = (elsewhere.path().join(WEIGHTS), folder.path().join(WEIGHTS));
    std::fs::rename(&here, &there).expect("moved");
    symlink(&there, &here).expect("a link");
    Embedder::open(folder.path()).expect("a model");
    // The layout of huggingface_hub: links to blobs, which in its second version may be links
    // themselves.
    let hub = tempfile::tempdir().expect("a folder");
    let repository = hub.path().join("models--a--b");
    let snapshot = repository.join("snapshots/0123");
    for (number, (name, bytes)) in sharded().into_iter().enumerate() {
        let (blob, shared) =
            (repository.join(format!("blobs/{number}")), hub.path().join(format!("blobs/ab/{number}")));
        let place = snapshot.join(name);
        for path in [&blob, &shared, &place] {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        }
        if number % 2 == 0 {
            std::fs::write(&shared, bytes).expect("a blob");
            symlink(&shared, &blob).expect("a link");
        } else {
            std::fs::write(&blob, bytes).expect("a blob");
        }
        symlink(&blob, &place).expect("a link");
    }
    Embedder::open(&snapshot).expect("a model of the cache");
}

/// Read and not mapped: the same vectors, whatever then becomes of the file.
#[test]
fn weights_read_without_mmap_give_same_vectors() {
    for files in [files("tiny-bert"), sharded()] {
        let folder = write_folder(&files);
        let model = Embedder::builder().open_files(&likewise::ModelFiles::folder(folder.path()).without_mmap());
        let model = model.expect("a model");
        for name in files.keys().filter(|name| name.ends_with(".safetensors")) {
            std::fs::write(folder.path().join(name), b"").expect("cut short");
        }
        let expected = embed(&files, &TEXTS).expect("vectors");
        assert!(same_bits(model.embed(&TEXTS).expect("vectors").as_slice(), expected.as_slice()));
    }
}

#[test]
fn inconsistent_shards_are_rejected() {
    let mut cases = Cases::default();
    let first = "model-00001-of-00003.safetensors";
    let second = "model-00002-of-00003.safetensors";
    let norm = "embeddings.LayerNorm.bias";
    let index = |edit: &dyn Fn(&mut Value)| {
        let mut files = sharded();
        edit_json(&mut files, INDEX, edit);
        files
    };
    let map = |tensor: &str, shard: Value| index(&|json: &mut Value| json["weight_map"][tensor] = shard.clone());

    let mut files = sharded();
    files.remove(second);
    cases.model("a shard is missing", &files, "MissingFile", &[second, INDEX]);
    cases.model(
        "a tensor of no shard",
        &map("extra", json!(first)),
        "Shard",
        &[INDEX, "extra", first, "no such tensor"],
    );
    cases.model("another shard", &map(norm, json!(second)), "Shard", &[INDEX, norm, second, "another shard"]);
    let mut files = sharded();
    let mut part = tensors(&files[second]);
    part.insert(norm.to_owned(), tensors(&files[first])[norm].clone());
    files.insert(second.to_owned(), write(&part));
    cases.model("in two shards", &files, "Shard", &[INDEX, norm, "another shard has it too"]);
    let mut files = sharded();
    let mut part = tensors(&files[first]);
    part.remove(norm);
    files.insert(first.to_owned(), write(&part));
    cases.model("gone from its shard", &files, "Shard", &[INDEX, norm, first, "no such tensor"]);
    let mut files = sharded();
    files.get_mut(second).expect("a shard").pop();
    cases.model("a shard cut short", &files, "Safetensors", &[second]);

    for value in [json!(null), json!({}), json!([]), json!("x"), json!(3)] {
        let files = index(&|json: &mut Value| json["weight_map"] = value.clone());
        cases.model(&format!("weight_map = {value}"), &files, "Config", &[INDEX, "weight_map", "expected", "object"]);
    }
    cases.model("a shard that is a number", &map(norm, json!(3)), "Config", &[INDEX, "weight_map", "strings"]);
    for shard in ["../model.safetensors", "/dev/zero", "a/../../b"] {
        let files = map(norm, json!(shard));
        cases.model(&format!("{shard} in memory"), &files, "MissingFile", &[shard, INDEX]);
        let folder = write_folder(&files);
        let words = [shard, "inside the model's folder", "leaves"];
        cases.fails(shard, || Embedder::open(folder.path()), "Config", &words);
    }
    let folder = write_folder(&map(norm, json!("")));
    cases.fails("a shard without a name", || Embedder::open(folder.path()), "Io|Config|MissingFile", &[]);
    cases.finish();
}

/// An f16 by its definition (IEEE 754), in f64, which holds all of them.
fn f16_value(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    assert!(exponent < 31, "an infinity or NaN");
    let size =
        if exponent == 0 { fraction * 2_f64.powi(-24) } else { (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15) };
    if bits >> 15 == 1 { -size } else { size }
}

/// Weights of 16 bits are those of 32 with the same values.
#[test]
fn half_precision_weights_are_widened_exactly() {
    type Round = fn(f32) -> (u16, f32);
    let f16: Round = |x| {
        let bits = half::f16::from_f32(x).to_bits();
        (bits, f16_value(bits) as f32)
    };
    let bf16: Round = |x| ((x.to_bits() >> 16) as u16, f32::from_bits(x.to_bits() & 0xffff_0000));
    for model in TINY {
        for (dtype, round) in [("F16", f16), ("BF16", bf16)] {
            let half = reweighted(model, |tensors| {
                for tensor in tensors.values_mut().filter(|tensor| tensor.dtype == "F32") {
                    tensor.dtype = dtype.to_owned();
                    tensor.data = numbers(&tensor.data).into_iter().flat_map(|x| round(x).0.to_le_bytes()).collect();
                }
            });
            let rounded = reweighted(model, |tensors| {
                for tensor in tensors.values_mut().filter(|tensor| tensor.dtype == "F32") {
                    tensor.data = numbers(&tensor.data).into_iter().flat_map(|x| round(x).1.to_le_bytes()).collect();
                }
            });
            assert_same(&half, &rounded, &format!("{model} as {dtype}"));
            assert_eq!(open(&half).expect("a model").info().dtype, dtype);
            let exact = embed(&files(model), &TEXTS).expect("vectors");
            let near = embed(&half, &TEXTS).expect("vectors");
            assert!(!same_bits(exact.as_slice(), near.as_slice()), "{model}: rounding to {dtype} changes something");
        }
    }
}

/// All values of an f16 that a weight can have, through the library and by definition.
#[test]
fn every_half_precision_value_is_widened_exactly() {
    let finite: Vec<u16> = (0..=u16::MAX).filter(|bits| bits >> 10 & 31 != 31).collect();
    let file = |dtype: &str, bits: &[u16]| {
        let data = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        let tensor = Raw { dtype: dtype.to_owned(), shape: vec![bits.len()], data };
        write(&BTreeMap::from([("x".to_owned(), tensor)]))
    };
    let read = |bytes: Vec<u8>, n: usize| {
        Checkpoint::from_bytes(bytes).and_then(|file| file.tensor("x", &[n])?.to_vec()).expect("numbers")
    };
    let expected: Vec<f32> = finite.iter().map(|&bits| f16_value(bits) as f32).collect();
    assert!(same_bits(&read(file("F16", &finite), finite.len()), &expected));
    let finite: Vec<u16> = (0..=u16::MAX).filter(|bits| bits >> 7 & 255 != 255).collect();
    let expected: Vec<f32> = finite.iter().map(|&bits| f32::from_bits(u32::from(bits) << 16)).collect();
    assert!(same_bits(&read(file("BF16", &finite), finite.len()), &expected));
    for (dtype, bits, shown) in [("F16", 0x7c00, "inf"), ("F16", 0x7e00, "NaN"), ("BF16", 0xff80, "-inf")] {
        let error = Checkpoint::from_bytes(file(dtype, &[0, bits])).and_then(|file| file.tensor("x", &[2])?.to_vec());
        let error = message(&error.expect_err("not finite"));
        assert!(error.contains("`x`") && error.contains("row 1 ") && error.contains(shown), "{error}");
    }
}

#[test]
fn prefixed_tensor_names_are_found() {
    let renamed = |model: &str, rename: &dyn Fn(&str) -> String| {
        reweighted(model, |tensors| {
            *tensors = std::mem::take(tensors).into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect();
        })
    };
    for (model, own, prefixes) in [
        ("tiny-mpnet", "", &["", "mpnet.", "0.auto_model.", "0.auto_model.mpnet.", "model.mpnet."][..]),
        ("tiny-bert", "bert.", &["", "bert.", "0.auto_model.bert."]),
        ("tiny-xlm-roberta", "", &["roberta.", "xlm_roberta.", "0.model."]),
    ] {
        for prefix in prefixes {
            let rename = |name: &str| match name.strip_prefix(own) {
                Some(rest) => format!("{prefix}{rest}"),
                None => name.to_owned(),
            };
            assert_same(&renamed(model, &rename), &files(model), &format!("{model} with {prefix:?}"));
        }
    }
    let mut cases = Cases::default();
    let words = [WEIGHTS, "embeddings.word_embeddings.weight", "strange.embeddings.word_embeddings.weight"];
    let files = renamed("tiny-mpnet", &|name: &str| format!("strange.{name}"));
    cases.model("an unknown prefix", &files, "MissingTensor", &words);
    // Half of the names have the prefix.
    let files = renamed("tiny-mpnet", &|name: &str| {
        if name.starts_with("embeddings") { format!("mpnet.{name}") } else { name.to_owned() }
    });
    cases.model("two prefixes", &files, "MissingTensor", &[WEIGHTS, "encoder."]);
    cases.finish();
}
