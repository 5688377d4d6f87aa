//! Converted models: the same bits as the originals, used as they lie, and refused where they do
//! not fit.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::common::{COMMITTED, files, in_memory, model, same_bits};
use likewise::{Builder, Embedder, Error, Level, ModelFiles, Precision, error_chain};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

const FILE: &str = "likewise.safetensors";

const TEXTS: [&str; 5] =
    ["That is a happy person", "", "Today is a sunny day", "a", "Ein Satz mit Umlauten: äöü, und noch mehr"];

fn builder(level: Level, precision: Precision) -> Builder {
    Embedder::builder().level(level).precision(precision).threads(1)
}

/// A folder for the converted model, and what holds it.
fn converted(source: &ModelFiles, level: Level, precision: Precision) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    builder(level, precision).convert(source, folder.path()).unwrap_or_else(|e| panic!("{}", error_chain(&e)));
    folder
}

/// The files of a folder.
fn read(folder: &Path) -> HashMap<String, Vec<u8>> {
    let mut found = HashMap::new();
    for name in
        ["config.json", "tokenizer.json", "tokenizer_config.json", "modules.json", "1_Pooling/config.json", FILE]
    {
        found.extend(fs::read(folder.join(name)).ok().map(|bytes| (name.to_owned(), bytes)));
    }
    found
}

fn vectors(builder: Builder, files: &ModelFiles) -> Vec<f32> {
    let model = builder.open_files(files).unwrap_or_else(|e| panic!("{}", error_chain(&e)));
    model.embed(&TEXTS).expect("vectors").as_slice().to_vec()
}

/// Header and first byte of the tensors.
fn header(bytes: &[u8]) -> (Value, usize) {
    let length = u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize;
    (serde_json::from_slice(&bytes[8..8 + length]).expect("JSON"), 8 + length)
}

/// A file with another header.
fn with_header(bytes: &[u8], edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let (mut header, start) = header(bytes);
    edit(&mut header);
    let mut header = header.to_string();
    header.push_str(&" ".repeat((8 + header.len()).next_multiple_of(64) - 8 - header.len()));
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[start..]].concat()
}

#[test]
fn converted_model_opened_has_original_bits() {
    for name in COMMITTED {
        let source = ModelFiles::folder(model(name));
        for level in Level::available() {
            for precision in Precision::ALL {
                let what = format!("{name} {level} {}", precision.name());
                let expected = vectors(builder(level, precision), &source);
                let folder = converted(&source, level, precision);
                let mapped = ModelFiles::folder(folder.path());
                assert!(same_bits(&vectors(builder(level, precision), &mapped), &expected), "{what}");
                // Level and precision are those of the file if none are asked for.
                let model = Embedder::builder().open_files(&mapped).expect("a model");
                assert_eq!((model.level().name(), model.precision()), (level.name(), precision), "{what}");
                assert!(model.info().converted && model.info().memory_by_precision.len() == 1, "{what}");
                assert!(same_bits(model.embed(&TEXTS).expect("vectors").as_slice(), &expected), "{what}");
                // From memory, wherever in it the bytes begin.
                let bytes = fs::read(folder.path().join(FILE)).expect("a file");
                for shift in [0, 1, 4, 63] {
                    let room: &'static mut [u8] = vec![0; bytes.len() + 128].leak();
                    let start = room.as_ptr().align_offset(64) + shift;
                    room[start..][..bytes.len()].copy_from_slice(&bytes);
                    let memory = in_memory(&read(folder.path())).with(FILE, &room[start..][..bytes.len()]);
                    assert!(same_bits(&vectors(builder(level, precision), &memory), &expected), "{what} at {shift}");
                }
            }
        }
    }
}

/// Prefixes and shards are gone once a model is converted; what it says of its licence is not.
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

    let folder = converted(&ModelFiles::folder(source.path()), Level::PORTABLE, Precision::Int8);
    let got = vectors(Embedder::builder(), &ModelFiles::folder(folder.path()));
    assert!(same_bits(&got, &expected));
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

/// Weights that an earlier opening of the same files has read, and this one does not, stay where
/// they are.
#[test]
fn files_opened_before_convert_completely() {
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
    let folder = converted(&sharded.with("model.safetensors", weights), Level::PORTABLE, Precision::Bf16);
    for name in ["shard.safetensors", "model.safetensors.index.json", "model.safetensors"] {
        assert!(!folder.path().join(name).exists(), "{name}");
    }
    assert!(folder.path().join(FILE).exists());
}

/// Other programs can read the file too, and what is written does not depend on chance.
#[test]
fn converted_file_is_valid_safetensors() {
    let source = ModelFiles::folder(model("tiny-mpnet"));
    for precision in Precision::ALL {
        let [one, two] = [0, 1].map(|_| converted(&source, Level::PORTABLE, precision));
        let bytes = fs::read(one.path().join(FILE)).expect("a file");
        assert_eq!(bytes, fs::read(two.path().join(FILE)).expect("a file"));
        let (_, start) = header(&bytes);
        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("safetensors");
        let about = metadata.metadata().clone().expect("metadata");
        assert_eq!(about["format"], "likewise");
        assert_eq!((about["level"].as_str(), about["precision"].as_str()), ("portable", precision.name()));
        let name = "encoder.layer.0.attention.attn.q+encoder.layer.0.attention.attn.k+encoder.layer.0.attention.attn.v";
        let words = metadata.info(&format!("{name}.words")).expect("a matrix");
        assert_eq!(words.dtype, Dtype::U32);
        assert_eq!(words.shape[1..], [precision.packed_len(48), Level::PORTABLE.panel_width()]);
        for (name, info) in metadata.tensors() {
            if name.ends_with(".words") {
                assert!((start + info.data_offsets.0).is_multiple_of(64), "{name}");
            }
            assert!(!name.ends_with("attn.q.weight"), "{name} is there twice");
        }
        assert_eq!(metadata.info(&format!("{name}.scales")).is_some(), precision == Precision::Int8);
    }
}

/// What is not packed stays as it was, F16 too.
#[test]
fn embedding_tables_converted_keep_their_bytes() {
    for (name, dtype) in [("tiny-mpnet", Dtype::F32), ("quickstart", Dtype::F16)] {
        let folder = converted(&ModelFiles::folder(model(name)), Level::PORTABLE, Precision::Bf16);
        let (before, after) = (files(name), fs::read(folder.path().join(FILE)).expect("a file"));
        let before = SafeTensors::deserialize(&before["model.safetensors"]).expect("safetensors");
        let after = SafeTensors::deserialize(&after).expect("safetensors");
        let mut kept = 0;
        for (tensor, view) in after.iter().filter(|(tensor, _)| !tensor.ends_with(".words")) {
            let original = before.tensor(tensor).expect("a tensor");
            assert_eq!(
                (view.dtype(), view.shape(), view.data()),
                (original.dtype(), original.shape(), original.data())
            );
            kept += usize::from(view.dtype() == dtype && tensor.ends_with("word_embeddings.weight"));
        }
        assert_eq!(kept, 1, "{name}: the table of words");
    }
}

/// If this fails, files of earlier versions would be misread: `VERSION` in
/// src/checkpoint/packing.rs has to be raised, and these numbers replaced. By the width of a
/// level's panels, because nothing else of the level shows in its words.
#[test]
fn packed_layout_changed_requires_new_version() {
    let fnv = |bytes: &[u8]| {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
    };
    let known = [
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
            let (width, name) = (level.panel_width(), precision.name());
            let known = known.iter().find(|(w, p, _)| (*w, *p) == (width, name)).map(|known| known.2);
            let folder = converted(&source, level, precision);
            let bytes = fs::read(folder.path().join(FILE)).expect("a file");
            let found = fnv(&bytes[header(&bytes).1..]);
            if Some(found) != known {
                failures.push(format!("{level}: ({width}, {name:?}, {found:#x}),"));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// Runs `open`, which must fail with words in its message.
fn refused<T>(what: &str, outcome: Result<T, Error>, words: &[&str]) {
    let Err(error) = outcome else { panic!("{what}: accepted") };
    let message = error_chain(&error);
    println!("{what}: {message}");
    for word in words {
        assert!(message.contains(word), "{what}: no `{word}` in: {message}");
    }
}

#[test]
fn other_level_or_precision_is_rejected_by_name() {
    let source = ModelFiles::folder(model("tiny-bert"));
    let folder = converted(&source, Level::PORTABLE, Precision::Int8);
    let good = read(folder.path());
    let open = |files: &HashMap<String, Vec<u8>>| Embedder::builder().open_files(&in_memory(files));
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut files = good.clone();
        files.insert(FILE.to_owned(), with_header(&good[FILE], |header| edit(header)));
        open(&files)
    };
    assert!(open(&good).is_ok() && edited(&|_| ()).is_ok());

    let level = builder(Level::REFERENCE, Precision::Int8).open_files(&in_memory(&good));
    refused("another level", level, &[FILE, "`level`", "expected reference", "found portable"]);
    let precision = Embedder::builder().precision(Precision::F32).open_files(&in_memory(&good));
    refused("another precision", precision, &[FILE, "`precision`", "expected f32", "found int8"]);
    let about = |key: &'static str, value: Value| edited(&move |header| header["__metadata__"][key] = value.clone());
    refused("another version", about("version", json!("0")), &[FILE, "`version`", "expected 1", "found 0"]);
    refused("a level of no CPU", about("level", json!("avx1024")), &["`level`", "portable", "found avx1024"]);
    refused("no precision", about("precision", json!("int4")), &["`precision`", "f32, bf16 or int8", "found int4"]);
    refused("no metadata", edited(&|header| drop(header["__metadata__"].take())), &["`version`", "found nothing"]);

    let name = "encoder.layer.0.output.dense";
    let words = format!("{name}.words");
    let dtype = edited(&|header| header[&words]["dtype"] = json!("I32"));
    refused("another type", dtype, &[&words, "expected dtype U32", "found I32"]);
    let shape = edited(&|header| {
        let shape = header[&words]["shape"].as_array_mut().expect("a shape");
        shape.swap(0, 1);
    });
    refused("another shape", shape, &[&words, "expected shape", "found ["]);
    let missing = edited(&|header| {
        let matrix = header.as_object_mut().expect("an object").remove(&words).expect("a matrix");
        header["other"] = matrix;
    });
    refused("a matrix is missing", missing, &[&words, "not found", "similar names"]);

    // The tensors moved by four bytes.
    let mut moved = good[FILE].clone();
    let length = u64::from_le_bytes(*moved.first_chunk().expect("a length")) + 4;
    moved.splice(..8, length.to_le_bytes());
    moved.splice(length as usize + 4..length as usize + 4, *b"    ");
    let mut files = good.clone();
    files.insert(FILE.to_owned(), moved);
    refused("matrices between cache lines", open(&files), &["a multiple of 64 bytes", "at byte"]);

    let (header, start) = header(&good[FILE]);
    let at =
        |leaf: &str| start + header[format!("{name}.{leaf}")]["data_offsets"][0].as_u64().expect("an offset") as usize;
    let mut files = good.clone();
    files.get_mut(FILE).expect("a file")[at("sums")..][..4].copy_from_slice(&i32::MIN.to_le_bytes());
    refused("an impossible sum", open(&files), &[&format!("{name}.sums"), "-2147483648"]);
    let mut files = good.clone();
    files.get_mut(FILE).expect("a file")[at("scales")..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    refused("a scale that is none", open(&files), &[&format!("{name}.scales"), "not finite"]);
    let mut files = good.clone();
    files.get_mut(FILE).expect("a file").pop();
    refused("a file that was cut short", open(&files), &[FILE, "not a valid safetensors file"]);
}

#[test]
fn unconvertible_model_leaves_no_folder() {
    let source = ModelFiles::folder(model("tiny-bert"));
    let folder = converted(&source, Level::PORTABLE, Precision::Bf16);
    let again = Embedder::builder().convert(&source, folder.path());
    refused("a folder with files in it", again, &[&folder.path().display().to_string(), "not empty"]);
    let new = tempfile::tempdir().expect("a folder");
    let there = tempfile::tempdir().expect("a folder");
    let halfway = in_memory(&files("tiny-bert")).with("README/../../outside", &b"x"[..]);
    let halfway = Embedder::builder().convert(&halfway, there.path());
    refused("the same to a folder that is there", halfway, &["leaves it"]);
    assert_eq!(fs::read_dir(there.path()).expect("a folder that stays").count(), 0);
    let twice = Embedder::builder().convert(&ModelFiles::folder(folder.path()), new.path());
    refused("a converted model", twice, &[FILE, "converted before", "original model"]);
    assert_eq!(fs::read_dir(new.path()).expect("a folder").count(), 0, "nothing is written");
    let outside = in_memory(&files("tiny-bert")).with("README/../../outside", &b"x"[..]);
    let outside = Embedder::builder().convert(&outside, new.path().join("inside"));
    refused("a file that would be written elsewhere", outside, &["README/../../outside", "leaves it"]);
    assert!(!new.path().join("outside").exists());
    assert!(!new.path().join("inside").exists(), "what was written before that is gone, and its folder");
    let file = new.path().join("file");
    fs::write(&file, b"").expect("a file");
    let below = Embedder::builder().convert(&source, file.join("folder"));
    refused("a folder below a file", below, &["file/folder", "cannot list"]);
}

/// Whatever the file holds, the model opens and computes, or says why not.
#[test]
fn damaged_packed_weights_never_panic() {
    let source = ModelFiles::folder(model("tiny-mpnet"));
    for level in Level::available() {
        for precision in Precision::ALL {
            let folder = converted(&source, level, precision);
            let mut files = read(folder.path());
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
