//! Converted models: they give the same bits as the original models, are used in place from any
//! address, and are rejected if they do not match the level, the precision or the format.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::common::{committed, files, in_memory, model, same_bits};
use likewise::{Builder, Embedder, Error, Level, ModelFiles, Precision, error_chain};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

const FILE: &str = "likewise.safetensors";

const TEXTS: [&str; 5] =
    ["That is a happy person", "", "Today is a sunny day", "a", "Ein Satz mit Umlauten: äöü, und noch mehr"];

fn builder(level: Level, precision: Precision) -> Builder {
    Embedder::builder().level(level).precision(precision).threads(1)
}

/// Converts a model into a new temporary folder.
fn convert(source: &ModelFiles, level: Level, precision: Precision) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    builder(level, precision).convert(source, folder.path()).unwrap_or_else(|e| panic!("{}", error_chain(&e)));
    folder
}

/// Reads the files of a folder.
fn read_files(folder: &Path) -> HashMap<String, Vec<u8>> {
    let mut found = HashMap::new();
    let modules = ["modules.json", "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"];
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", FILE].into_iter().chain(modules) {
        found.extend(fs::read(folder.join(name)).ok().map(|bytes| (name.to_owned(), bytes)));
    }
    found
}

/// Opens a model and embeds the texts.
fn vectors(builder: Builder, files: &ModelFiles) -> Vec<f32> {
    let model = builder.open_files(files).unwrap_or_else(|e| panic!("{}", error_chain(&e)));
    model.embed(&TEXTS).expect("vectors").as_slice().to_vec()
}

/// Returns the header of a safetensors file and the offset of the tensor data.
fn header(bytes: &[u8]) -> (Value, usize) {
    let length = u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize;
    (serde_json::from_slice(&bytes[8..8 + length]).expect("JSON"), 8 + length)
}

/// Returns a safetensors file after an edit of its header.
fn with_header(bytes: &[u8], edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let (mut header, start) = header(bytes);
    edit(&mut header);
    let mut header = header.to_string();
    header.push_str(&" ".repeat((8 + header.len()).next_multiple_of(64) - 8 - header.len()));
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[start..]].concat()
}

#[test]
fn converted_model_opened_has_original_bits() {
    for name in committed() {
        let source = ModelFiles::folder(model(name));
        for level in Level::available() {
            for precision in Precision::ALL {
                let what = format!("{name} {level} {}", precision.name());
                let expected = vectors(builder(level, precision), &source);
                let folder = convert(&source, level, precision);
                let mapped = ModelFiles::folder(folder.path());
                assert!(same_bits(&vectors(builder(level, precision), &mapped), &expected), "{what}");
                // Without a level and precision in the builder, those of the file apply.
                let model = Embedder::builder().open_files(&mapped).expect("a model");
                assert_eq!((model.level().name(), model.precision()), (level.name(), precision), "{what}");
                assert!(model.info().converted && model.info().memory_by_precision.len() == 1, "{what}");
                assert!(same_bits(model.embed(&TEXTS).expect("vectors").as_slice(), &expected), "{what}");
                // In memory, the file may start at any alignment.
                let bytes = fs::read(folder.path().join(FILE)).expect("a file");
                for shift in [0, 1, 4, 63] {
                    let buffer: &'static mut [u8] = vec![0; bytes.len() + 128].leak();
                    let start = buffer.as_ptr().align_offset(64) + shift;
                    buffer[start..][..bytes.len()].copy_from_slice(&bytes);
                    let memory = in_memory(&read_files(folder.path())).with(FILE, &buffer[start..][..bytes.len()]);
                    assert!(
                        same_bits(&vectors(builder(level, precision), &memory), &expected),
                        "{what} at offset {shift}"
                    );
                }
            }
        }
    }
}

/// Conversion removes prefixes, old names and shards. It keeps the licence and the README.
#[test]
fn sharded_prefixed_or_old_checkpoint_converted_has_original_bits() {
    let original = files("tiny-bert");
    let expected = vectors(builder(Level::PORTABLE, Precision::Int8), &in_memory(&original));
    let tensors = SafeTensors::deserialize(&original["model.safetensors"]).expect("safetensors");
    let old = |name: &str| {
        let name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        format!("bert.{}", name.trim_start_matches("bert."))
    };
    let all: Vec<_> = tensors.iter().map(|(name, view)| (old(name), view)).collect();
    let (first, second) = all.split_at(all.len() / 2);
    let source = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = source.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    };
    let mut map = serde_json::Map::new();
    for (shard, part) in [("model-1.safetensors", first), ("model-2.safetensors", second)] {
        map.extend(part.iter().map(|(name, _)| (name.clone(), json!(shard))));
        write(shard, &safetensors::serialize(part.iter().map(|(n, v)| (n, v)), None).expect("a shard"));
    }
    write("model.safetensors.index.json", json!({ "weight_map": map }).to_string().as_bytes());
    for (name, bytes) in original.iter().filter(|(name, _)| *name != "model.safetensors") {
        write(name, bytes);
    }
    write("LICENSE.txt", b"do as you like");
    write("README.md", b"# a model");
    write("notes.bin", b"not part of the model");

    let folder = convert(&ModelFiles::folder(source.path()), Level::PORTABLE, Precision::Int8);
    let found = vectors(Embedder::builder(), &ModelFiles::folder(folder.path()));
    assert!(same_bits(&found, &expected));
    let mut names: Vec<String> = fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    let mut expected: Vec<&str> = vec![FILE, "LICENSE.txt", "README.md"];
    expected.extend(original.keys().filter(|name| *name != "model.safetensors").map(
        |name| match name.split_once('/') {
            Some((folder, _)) => folder,
            None => name,
        },
    ));
    expected.sort_unstable();
    assert_eq!(names, expected);
}

/// A first call may read weight files that a second call with the same files does not use.
/// Conversion must not copy them.
#[test]
fn weight_files_of_earlier_opening_are_not_copied() {
    let tiny = files("tiny-bert");
    let before = in_memory(&tiny);
    drop(Embedder::builder().open_files(&before).expect("a model"));
    let index = json!({ "weight_map": SafeTensors::deserialize(&tiny["model.safetensors"])
        .expect("safetensors").names().into_iter().map(|name| (name.to_owned(), json!("shard.safetensors")))
        .collect::<serde_json::Map<_, _>>() });
    let mut sharded = tiny.clone();
    let weights = sharded.remove("model.safetensors").expect("weights");
    sharded.insert("shard.safetensors".to_owned(), weights.clone());
    sharded.insert("model.safetensors.index.json".to_owned(), index.to_string().into_bytes());
    let sharded = in_memory(&sharded);
    drop(Embedder::builder().open_files(&sharded).expect("a model"));
    let folder = convert(&sharded.with("model.safetensors", weights), Level::PORTABLE, Precision::Bf16);
    for name in ["shard.safetensors", "model.safetensors.index.json", "model.safetensors"] {
        assert!(!folder.path().join(name).exists(), "{name}");
    }
    assert!(folder.path().join(FILE).exists());
}

/// Other programs can read the file, and conversion is deterministic.
#[test]
fn converted_file_is_valid_safetensors() {
    let source = ModelFiles::folder(model("tiny-mpnet"));
    for precision in Precision::ALL {
        let [first, second] = [0, 1].map(|_| convert(&source, Level::PORTABLE, precision));
        let bytes = fs::read(first.path().join(FILE)).expect("a file");
        assert_eq!(bytes, fs::read(second.path().join(FILE)).expect("a file"));
        let (_, start) = header(&bytes);
        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("safetensors");
        let about = metadata.metadata().clone().expect("metadata");
        assert_eq!(about["format"], "likewise");
        assert_eq!((about["level"].as_str(), about["precision"].as_str()), ("portable", precision.name()));
        let name = "encoder.layer.0.attention.attn.q+encoder.layer.0.attention.attn.k+encoder.layer.0.attention.attn.v";
        let matrix = metadata.info(&format!("{name}.words")).expect("a matrix");
        assert_eq!(matrix.dtype, Dtype::U32);
        assert_eq!(matrix.shape[1..], [precision.packed_len(48), Level::PORTABLE.panel_width()]);
        for (name, info) in metadata.tensors() {
            if name.ends_with(".words") {
                assert!((start + info.data_offsets.0).is_multiple_of(64), "{name}");
            }
            assert!(!name.ends_with("attn.q.weight"), "{name} is also stored unpacked");
        }
        assert_eq!(metadata.info(&format!("{name}.scales")).is_some(), precision == Precision::Int8);
    }
}

/// Tensors that are not packed keep their data type and bytes, also in F16.
#[test]
fn embedding_tables_converted_keep_their_bytes() {
    for (name, dtype) in [("tiny-mpnet", Dtype::F32), ("quickstart", Dtype::F16)] {
        let folder = convert(&ModelFiles::folder(model(name)), Level::PORTABLE, Precision::Bf16);
        let source = files(name);
        let target = fs::read(folder.path().join(FILE)).expect("a file");
        let before = SafeTensors::deserialize(&source["model.safetensors"]).expect("safetensors");
        let after = SafeTensors::deserialize(&target).expect("safetensors");
        let mut kept = 0;
        for (tensor, view) in after.iter().filter(|(tensor, _)| !tensor.ends_with(".words")) {
            let original = before.tensor(tensor).expect("a tensor");
            assert_eq!(
                (view.dtype(), view.shape(), view.data()),
                (original.dtype(), original.shape(), original.data())
            );
            kept += usize::from(view.dtype() == dtype && tensor.ends_with("word_embeddings.weight"));
        }
        assert_eq!(kept, 1, "{name}: word embedding tables");
    }
}

/// If this test fails, the packed layout has changed, and existing files would be misread. Increase
/// `VERSION` in src/checkpoint/converted.rs and replace these hashes. The layout depends on the
/// panel width and the precision, but not on other properties of the level.
#[test]
fn packed_layout_changed_requires_new_version() {
    let fnv = |bytes: &[u8]| {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
    };
    let hashes = [
        (16, "f32", 0x2af0_24d1_670e_5497_u64),
        (16, "bf16", 0x5136_eb66_eed9_7714),
        (16, "int8", 0x1339_dd7a_12b6_0851),
        (32, "f32", 0x4888_a0b3_3986_bd37),
        (32, "bf16", 0x8433_a169_bc8b_9704),
        (32, "int8", 0x8d16_944e_8566_e1a5),
    ];
    let source = ModelFiles::folder(model("tiny-xlm-roberta"));
    let mut failures = Vec::new();
    for level in Level::available() {
        for precision in Precision::ALL {
            let width = level.panel_width();
            let name = precision.name();
            let expected = hashes.iter().find(|(w, p, _)| (*w, *p) == (width, name)).map(|entry| entry.2);
            let folder = convert(&source, level, precision);
            let bytes = fs::read(folder.path().join(FILE)).expect("a file");
            let found = fnv(&bytes[header(&bytes).1..]);
            if Some(found) != expected {
                failures.push(format!("{level}: ({width}, {name:?}, {found:#x}),"));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// Requires an error whose message contains all parts.
fn assert_rejected<T>(what: &str, outcome: Result<T, Error>, parts: &[&str]) {
    let Err(error) = outcome else { panic!("{what}: accepted") };
    let message = error_chain(&error);
    println!("{what}: {message}");
    for part in parts {
        assert!(message.contains(part), "{what}: `{part}` is not in: {message}");
    }
}

#[test]
fn mismatched_converted_file_is_rejected_by_name() {
    let source = ModelFiles::folder(model("tiny-bert"));
    let folder = convert(&source, Level::PORTABLE, Precision::Int8);
    let good = read_files(folder.path());
    let open = |files: &HashMap<String, Vec<u8>>| Embedder::builder().open_files(&in_memory(files));
    let open_edited = |edit: &dyn Fn(&mut Value)| {
        let mut files = good.clone();
        files.insert(FILE.to_owned(), with_header(&good[FILE], |header| edit(header)));
        open(&files)
    };
    assert!(open(&good).is_ok() && open_edited(&|_| ()).is_ok());

    let level = builder(Level::REFERENCE, Precision::Int8).open_files(&in_memory(&good));
    assert_rejected("another level", level, &[FILE, "`level`", "expected reference", "found portable"]);
    let precision = Embedder::builder().precision(Precision::F32).open_files(&in_memory(&good));
    assert_rejected("another precision", precision, &[FILE, "`precision`", "expected f32", "found int8"]);
    let with_metadata =
        |key: &'static str, value: Value| open_edited(&move |header| header["__metadata__"][key] = value.clone());
    assert_rejected(
        "another version",
        with_metadata("version", json!("0")),
        &[FILE, "`version`", "expected 1", "found 0"],
    );
    assert_rejected(
        "an unknown level",
        with_metadata("level", json!("avx1024")),
        &["`level`", "portable", "found avx1024"],
    );
    assert_rejected(
        "an unknown precision",
        with_metadata("precision", json!("int4")),
        &["`precision`", "f32, bf16 or int8", "found int4"],
    );
    assert_rejected(
        "no metadata",
        open_edited(&|header| drop(header["__metadata__"].take())),
        &["`version`", "found nothing"],
    );

    let name = "encoder.layer.0.output.dense";
    let matrix = format!("{name}.words");
    let dtype = open_edited(&|header| header[&matrix]["dtype"] = json!("I32"));
    assert_rejected("another type", dtype, &[&matrix, "expected dtype U32", "found I32"]);
    let shape = open_edited(&|header| {
        let shape = header[&matrix]["shape"].as_array_mut().expect("a shape");
        shape.swap(0, 1);
    });
    assert_rejected("another shape", shape, &[&matrix, "expected shape", "found ["]);
    let missing = open_edited(&|header| {
        let info = header.as_object_mut().expect("an object").remove(&matrix).expect("a matrix");
        header["other"] = info;
    });
    assert_rejected("a matrix is missing", missing, &[&matrix, "not found", "similar names"]);
}

#[test]
fn damaged_converted_file_is_rejected_by_name() {
    let source = ModelFiles::folder(model("tiny-bert"));
    let folder = convert(&source, Level::PORTABLE, Precision::Int8);
    let good = read_files(folder.path());
    let open = |files: &HashMap<String, Vec<u8>>| Embedder::builder().open_files(&in_memory(files));
    let name = "encoder.layer.0.output.dense";

    // Move the tensor data by four bytes.
    let mut moved = good[FILE].clone();
    let length = u64::from_le_bytes(*moved.first_chunk().expect("a length")) + 4;
    moved.splice(..8, length.to_le_bytes());
    moved.splice(length as usize + 4..length as usize + 4, *b"    ");
    let mut files = good.clone();
    files.insert(FILE.to_owned(), moved);
    assert_rejected("matrices that are not aligned", open(&files), &["a multiple of 64 bytes", "at byte"]);

    let (header, start) = header(&good[FILE]);
    let offset =
        |leaf: &str| start + header[format!("{name}.{leaf}")]["data_offsets"][0].as_u64().expect("an offset") as usize;
    let mut files = good.clone();
    files.get_mut(FILE).expect("a file")[offset("sums")..][..4].copy_from_slice(&i32::MIN.to_le_bytes());
    assert_rejected("an impossible sum", open(&files), &[&format!("{name}.sums"), "-2147483648"]);
    let mut files = good.clone();
    files.get_mut(FILE).expect("a file")[offset("scales")..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_rejected("a scale that is not finite", open(&files), &[&format!("{name}.scales"), "not finite"]);
    let mut files = good.clone();
    files.get_mut(FILE).expect("a file").pop();
    assert_rejected("a truncated file", open(&files), &[FILE, "not a valid safetensors file"]);
}

#[test]
fn unconvertible_model_leaves_no_folder() {
    let source = ModelFiles::folder(model("tiny-bert"));
    let folder = convert(&source, Level::PORTABLE, Precision::Bf16);
    let again = Embedder::builder().convert(&source, folder.path());
    assert_rejected("a folder that is not empty", again, &[&folder.path().display().to_string(), "not empty"]);
    let new = tempfile::tempdir().expect("a folder");
    let existing = tempfile::tempdir().expect("a folder");
    let outside = in_memory(&files("tiny-bert")).with("README/../../outside", &b"x"[..]);
    let outside = Embedder::builder().convert(&outside, existing.path());
    assert_rejected("a file outside of an existing folder", outside, &["leaves it"]);
    assert_eq!(fs::read_dir(existing.path()).expect("the folder still exists").count(), 0);
    let twice = Embedder::builder().convert(&ModelFiles::folder(folder.path()), new.path());
    assert_rejected("a converted model", twice, &[FILE, "converted before", "original model"]);
    assert_eq!(fs::read_dir(new.path()).expect("a folder").count(), 0, "a file was written");
    let outside = in_memory(&files("tiny-bert")).with("README/../../outside", &b"x"[..]);
    let outside = Embedder::builder().convert(&outside, new.path().join("inside"));
    assert_rejected("a file outside of the folder", outside, &["README/../../outside", "leaves it"]);
    assert!(!new.path().join("outside").exists());
    assert!(!new.path().join("inside").exists(), "the folder and the files written before the error still exist");
    let file = new.path().join("file");
    fs::write(&file, b"").expect("a file");
    let below = Embedder::builder().convert(&source, file.join("folder"));
    assert_rejected("a folder below a file", below, &["file/folder", "cannot list"]);
}

/// With any packed bytes, the model opens, and returns finite vectors or an error.
#[test]
fn damaged_packed_weights_never_panic() {
    let source = ModelFiles::folder(model("tiny-mpnet"));
    for level in Level::available() {
        for precision in Precision::ALL {
            let folder = convert(&source, level, precision);
            let mut files = read_files(folder.path());
            let (header, start) = header(&files[FILE]);
            let ends = header.as_object().expect("an object").iter().filter(|(name, _)| name.ends_with(".words"));
            let end = ends.map(|(_, info)| info["data_offsets"][1].as_u64().expect("an offset") as usize).max();
            for byte in [0xff, 0x80, 0x7f] {
                files.get_mut(FILE).expect("a file")[start..start + end.expect("matrices")].fill(byte);
                let model = builder(level, precision).open_files(&in_memory(&files)).expect("a model");
                match model.embed(&TEXTS) {
                    Ok(vectors) => assert!(vectors.as_slice().iter().all(|x| x.is_finite())),
                    Err(error) => assert!(matches!(error, Error::NotFinite { .. }), "{error}"),
                }
            }
        }
    }
}
