//! The memory that `likewise info` predicts, against the memory that the operating system counts.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// Entries of the vocabulary.
const WORDS: usize = 6_000;

/// Writes an MPNet model of a third of the depth, with a generated vocabulary.
fn write_model(folder: &Path) {
    let mut files = crate::common::synthetic_weights::edited("full-mpnet", "tiny-mpnet", |config| {
        config["num_hidden_layers"] = json!(4);
        config["vocab_size"] = json!(WORDS);
    });
    crate::common::edit_json(&mut files, "tokenizer.json", |tokenizer| {
        let vocabulary = tokenizer["model"]["vocab"].as_object_mut().expect("a vocabulary");
        let known = vocabulary.len();
        vocabulary.extend((known..WORDS).map(|id| (word(id), json!(id))));
    });
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }
}

fn word(id: usize) -> String {
    format!("word{id}")
}

fn run(arguments: &[&str], model: &str) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
    let output = command.args(arguments).arg("--json").arg("--model").arg(model).output().expect("likewise");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Compares the predictions with the memory of a run over these texts, with one and two threads.
/// `options` are further arguments.
fn check(model: &str, options: &[&str], texts: &[String]) {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("texts.txt");
    std::fs::write(&input, texts.join("\n")).expect("a file");
    let mut failures = Vec::new();
    for threads in ["1", "2"] {
        let info = run(&[&["info", "--threads", threads], options].concat(), model);
        let input = input.to_str().expect("a path");
        let measured =
            run(&[&["bench", "--threads", threads, "--repeat", "1", "--input", input], options].concat(), model);
        for (predicted, found) in [("resident_bytes", "resident_mib"), ("peak_bytes", "peak_rss_mib")] {
            let predicted = info[predicted].as_f64().expect("bytes") / f64::from(1 << 20);
            let found = measured[found].as_f64().expect("MiB");
            let line = format!("{options:?} {threads} threads: predicted {predicted:.1} MiB, found {found:.1} MiB");
            println!("{line}");
            // The share of the program is rounded, hence the absolute tolerance.
            if (predicted - found).abs() > (0.05 * found).max(1.0) {
                failures.push(line);
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn memory_estimate_of_model_folder_is_within_five_percent() {
    let folder = tempfile::tempdir().expect("a folder");
    write_model(folder.path());
    // Texts of the maximum length that together contain every word.
    let words: Vec<String> = (0..WORDS).map(word).collect();
    let texts: Vec<String> = words.chunks(380).map(|words| words.join(" ")).collect();
    let model = folder.path().to_str().expect("UTF-8");
    for precision in ["f32", "bf16", "int8"] {
        check(model, &["--precision", precision], &texts);
    }
    // The weights of a converted model are mapped, and become resident when they are used.
    let converted = tempfile::tempdir().expect("a folder");
    let output = converted.path().to_str().expect("UTF-8");
    let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
    let status = command.args(["convert", "--model", model, "--precision", "int8", "--output", output]).status();
    assert!(status.expect("likewise").success());
    let info = run(&["info"], output);
    let (resident, packed) = (info["resident_bytes"].as_u64(), info["packed_bytes"].as_u64());
    assert!(resident.is_some() && resident < packed, "{info}");
    check(output, &[], &texts);
}

/// The files of the built-in model are neither mapped nor copied.
#[cfg(feature = "quickstart")]
#[test]
fn memory_estimate_of_built_in_model_is_within_five_percent() {
    let tokenizer = &crate::common::files("quickstart")["tokenizer.json"];
    let tokenizer: Value = serde_json::from_slice(tokenizer).expect("JSON");
    let words = tokenizer["model"]["vocab"].as_object().expect("a vocabulary").keys();
    let words: Vec<&str> = words.map(|word| word.trim_start_matches("##")).collect();
    let texts: Vec<String> = words.chunks(100).map(|words| words.join(" ")).collect();
    check("quickstart", &[], &texts);
}
