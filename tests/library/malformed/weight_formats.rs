//! Valid weights in other forms: shards, links, 16-bit data types and prefixed names.

#[cfg(unix)]
use std::os::unix::fs::symlink;
#[cfg(unix)]
use std::path::Path;

use super::*;

fn assert_same(files: &Files, expected: &Files, what: &str) {
    let vectors = |files: &Files| embed(files, &TEXTS).unwrap_or_else(|e| panic!("{what}: {}", message(&e)));
    assert!(same_bits(vectors(files).as_slice(), vectors(expected).as_slice()), "{what}");
}

/// Returns tiny-mpnet with its tensors distributed over three shards in turn.
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

/// Moves a file or folder to `target` and replaces it by a link.
#[cfg(unix)]
fn replace_by_link(path: &Path, target: &Path) {
    std::fs::rename(path, target).expect("a moved file");
    symlink(target, path).expect("a link");
}

/// A shard or a module outside of the model's folder is rejected.
#[cfg(unix)]
#[test]
fn links_leaving_the_folder_are_rejected() {
    let mut cases = Cases::default();
    let outside = tempfile::tempdir().expect("a folder");
    for name in ["model-00001-of-00003.safetensors", "1_Pooling"] {
        let folder = write_folder(&sharded());
        replace_by_link(&folder.path().join(name), &outside.path().join(name));
        let parts = ["inside the model's folder", "a link to", name];
        cases.fails(name, || Embedder::open(folder.path()), "Config", &parts);
    }
    // This applies to every file in the folder of the encoder.
    for name in ["config.json", "tokenizer.json", WEIGHTS] {
        let mut files = files("tiny-bert");
        edit_json(&mut files, "modules.json", |modules| modules[0]["path"] = json!("0_Transformer"));
        for moved in ["config.json", "tokenizer.json", "tokenizer_config.json", INPUTS, WEIGHTS] {
            let bytes = files.remove(moved).expect("a file");
            files.insert(format!("0_Transformer/{moved}"), bytes);
        }
        let folder = write_folder(&files);
        Embedder::open(folder.path()).expect("a model");
        let file = folder.path().join("0_Transformer").join(name);
        replace_by_link(&file, &outside.path().join(format!("0-{name}")));
        let parts = ["inside the model's folder", "a link to", name];
        cases.fails(name, || Embedder::open(folder.path()), "Config", &parts);
    }
    cases.finish();
}

/// The files in the root of the folder may be links to any path, because no file of the model
/// specifies that path.
#[cfg(unix)]
#[test]
fn linked_root_file_is_accepted() {
    let outside = tempfile::tempdir().expect("a folder");
    let folder = write_folder(&files("tiny-bert"));
    replace_by_link(&folder.path().join(WEIGHTS), &outside.path().join(WEIGHTS));
    Embedder::open(folder.path()).expect("a model");
}

/// In a cache of huggingface_hub, the files of a snapshot are links to blobs. In the second version
/// of its layout, the blobs may also be links.
#[cfg(unix)]
#[test]
fn links_within_a_hub_cache_are_accepted() {
    let hub = tempfile::tempdir().expect("a folder");
    let repository = hub.path().join("models--a--b");
    let snapshot = repository.join("snapshots/0123");
    for (number, (name, bytes)) in sharded().into_iter().enumerate() {
        let blob = repository.join(format!("blobs/{number}"));
        let shared = hub.path().join(format!("blobs/ab/{number}"));
        let file = snapshot.join(name);
        for path in [&blob, &shared, &file] {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        }
        if number % 2 == 0 {
            std::fs::write(&shared, bytes).expect("a blob");
            symlink(&shared, &blob).expect("a link");
        } else {
            std::fs::write(&blob, bytes).expect("a blob");
        }
        symlink(&blob, &file).expect("a link");
    }
    Embedder::open(&snapshot).expect("a model of the cache");
}

/// Without mmap, the vectors are the same even after the files are truncated.
#[test]
fn weights_read_without_mmap_give_same_vectors() {
    for files in [files("tiny-bert"), sharded()] {
        let folder = write_folder(&files);
        let model = Embedder::builder().open_files(&likewise::ModelFiles::folder(folder.path()).without_mmap());
        let model = model.expect("a model");
        for name in files.keys().filter(|name| name.ends_with(".safetensors")) {
            std::fs::write(folder.path().join(name), b"").expect("a truncated file");
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
    cases.rejects_model("a shard is missing", &files, "MissingFile", &[second, INDEX]);
    cases.rejects_model(
        "a tensor that no shard contains",
        &map("extra", json!(first)),
        "Shard",
        &[INDEX, "extra", first, "no such tensor"],
    );
    cases.rejects_model("another shard", &map(norm, json!(second)), "Shard", &[INDEX, norm, second, "another shard"]);
    let mut files = sharded();
    let mut part = tensors(&files[second]);
    part.insert(norm.to_owned(), tensors(&files[first])[norm].clone());
    files.insert(second.to_owned(), write(&part));
    cases.rejects_model("a tensor in two shards", &files, "Shard", &[INDEX, norm, "another shard has it too"]);
    let mut files = sharded();
    let mut part = tensors(&files[first]);
    part.remove(norm);
    files.insert(first.to_owned(), write(&part));
    cases.rejects_model("a tensor missing in its shard", &files, "Shard", &[INDEX, norm, first, "no such tensor"]);
    let mut files = sharded();
    files.get_mut(second).expect("a shard").pop();
    cases.rejects_model("a truncated shard", &files, "Safetensors", &[second]);

    for value in [json!(null), json!({}), json!([]), json!("x"), json!(3)] {
        let files = index(&|json: &mut Value| json["weight_map"] = value.clone());
        cases.rejects_model(
            &format!("weight_map = {value}"),
            &files,
            "Config",
            &[INDEX, "weight_map", "expected", "object"],
        );
    }
    cases.rejects_model("a shard that is a number", &map(norm, json!(3)), "Config", &[INDEX, "weight_map", "strings"]);
    for shard in ["../model.safetensors", "/dev/zero", "a/../../b"] {
        let files = map(norm, json!(shard));
        cases.rejects_model(&format!("{shard} in memory"), &files, "MissingFile", &[shard, INDEX]);
        let folder = write_folder(&files);
        let parts = [shard, "inside the model's folder", "leaves"];
        cases.fails(shard, || Embedder::open(folder.path()), "Config", &parts);
    }
    let folder = write_folder(&map(norm, json!("")));
    cases.fails("a shard without a name", || Embedder::open(folder.path()), "Io|Config|MissingFile", &[]);
    cases.finish();
}

/// Decodes an f16 according to IEEE 754. An f64 can represent every f16.
fn f16_value(bits: u16) -> f64 {
    let exponent = i32::from(bits >> 10 & 31);
    let fraction = f64::from(bits & 1023);
    assert!(exponent < 31, "an infinity or NaN");
    let magnitude =
        if exponent == 0 { fraction * 2_f64.powi(-24) } else { (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15) };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// 16-bit weights give the same vectors as 32-bit weights with the same values.
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
            let half = with_tensors(model, |tensors| {
                for tensor in tensors.values_mut().filter(|tensor| tensor.dtype == "F32") {
                    tensor.dtype = dtype.to_owned();
                    tensor.data =
                        f32_elements(&tensor.data).into_iter().flat_map(|x| round(x).0.to_le_bytes()).collect();
                }
            });
            let rounded = with_tensors(model, |tensors| {
                for tensor in tensors.values_mut().filter(|tensor| tensor.dtype == "F32") {
                    tensor.data =
                        f32_elements(&tensor.data).into_iter().flat_map(|x| round(x).1.to_le_bytes()).collect();
                }
            });
            assert_same(&half, &rounded, &format!("{model} as {dtype}"));
            assert_eq!(open(&half).expect("a model").info().dtype, dtype);
            let exact = embed(&files(model), &TEXTS).expect("vectors");
            let near = embed(&half, &TEXTS).expect("vectors");
            assert!(!same_bits(exact.as_slice(), near.as_slice()), "{model}: rounding to {dtype} changes no bit");
        }
    }
}

/// Compares all finite 16-bit values that the library reads with their definition.
#[test]
fn every_half_precision_value_is_widened_exactly() {
    let finite: Vec<u16> = (0..=u16::MAX).filter(|bits| bits >> 10 & 31 != 31).collect();
    let file = |dtype: &str, bits: &[u16]| {
        let data = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        let tensor = UncheckedTensor { dtype: dtype.to_owned(), shape: vec![bits.len()], data };
        write(&BTreeMap::from([("x".to_owned(), tensor)]))
    };
    let read = |bytes: Vec<u8>, n: usize| {
        Checkpoint::from_bytes(bytes).and_then(|file| file.tensor("x", &[n])?.to_f32_vec()).expect("elements")
    };
    let expected: Vec<f32> = finite.iter().map(|&bits| f16_value(bits) as f32).collect();
    assert!(same_bits(&read(file("F16", &finite), finite.len()), &expected));
    let finite: Vec<u16> = (0..=u16::MAX).filter(|bits| bits >> 7 & 255 != 255).collect();
    let expected: Vec<f32> = finite.iter().map(|&bits| f32::from_bits(u32::from(bits) << 16)).collect();
    assert!(same_bits(&read(file("BF16", &finite), finite.len()), &expected));
    for (dtype, bits, shown) in [("F16", 0x7c00, "inf"), ("F16", 0x7e00, "NaN"), ("BF16", 0xff80, "-inf")] {
        let error =
            Checkpoint::from_bytes(file(dtype, &[0, bits])).and_then(|file| file.tensor("x", &[2])?.to_f32_vec());
        let error = message(&error.expect_err("not finite"));
        assert!(error.contains("`x`") && error.contains("row 1 ") && error.contains(shown), "{error}");
    }
}

/// Returns the files of a model after renaming its tensors.
fn renamed(model: &str, rename: &dyn Fn(&str) -> String) -> Files {
    with_tensors(model, |tensors| {
        *tensors = std::mem::take(tensors).into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect();
    })
}

/// `DataParallel` and `torch.compile` of PyTorch wrap modules, at any depth.
#[test]
fn tensor_names_of_wrapped_modules_are_found() {
    let original = files("tiny-bert");
    for prefix in
        ["module.", "_orig_mod.", "module.bert.", "_orig_mod.module.bert.", "0._orig_mod.auto_model.module.bert."]
    {
        let mut files = renamed("tiny-bert", &|name| format!("{prefix}{}", name.trim_start_matches("bert.")));
        assert_same(&files, &original, &format!("wrapped as {prefix:?}"));
        // A head is beside the encoder.
        let mut all = tensors(&files[WEIGHTS]);
        let head = UncheckedTensor { dtype: "F32".to_owned(), shape: vec![1], data: vec![0; 4] };
        all.insert(format!("{}cls.bias", prefix.trim_end_matches("bert.")), head);
        files.insert(WEIGHTS.to_owned(), write(&all));
        assert_same(&files, &original, &format!("a head beside {prefix:?}"));
    }
    let mut cases = Cases::default();
    let two = with_tensors("tiny-bert", |tensors| {
        let copy = |wrapper: &str| {
            let tensors = tensors.clone().into_iter();
            tensors.map(|(name, tensor)| (format!("{wrapper}{name}"), tensor)).collect::<Tensors>()
        };
        *tensors = copy("module.").into_iter().chain(copy("_orig_mod.")).collect();
    });
    cases.rejects_model("two encoders", &two, "UnknownTensor", &[WEIGHTS, "BERT", "module."]);
    cases.finish();
}

#[test]
fn prefixed_tensor_names_are_found() {
    for (model, original, prefixes) in [
        ("tiny-mpnet", "", &["", "mpnet.", "0.auto_model.", "0.auto_model.mpnet.", "model.mpnet."][..]),
        ("tiny-bert", "bert.", &["", "bert.", "0.auto_model.bert."]),
        ("tiny-xlm-roberta", "", &["roberta.", "xlm_roberta.", "0.model."]),
    ] {
        for prefix in prefixes {
            let rename = |name: &str| match name.strip_prefix(original) {
                Some(rest) => format!("{prefix}{rest}"),
                None => name.to_owned(),
            };
            assert_same(&renamed(model, &rename), &files(model), &format!("{model} with {prefix:?}"));
        }
    }
    let mut cases = Cases::default();
    let parts = [WEIGHTS, "embeddings.word_embeddings.weight", "strange.embeddings.word_embeddings.weight"];
    let files = renamed("tiny-mpnet", &|name: &str| format!("strange.{name}"));
    cases.rejects_model("an unknown prefix", &files, "MissingTensor", &parts);
    // Half of the names have the prefix.
    let files = renamed("tiny-mpnet", &|name: &str| {
        if name.starts_with("embeddings") { format!("mpnet.{name}") } else { name.to_owned() }
    });
    cases.rejects_model("two prefixes", &files, "MissingTensor", &[WEIGHTS, "encoder."]);
    cases.finish();
}
