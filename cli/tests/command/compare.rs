//! `likewise compare`: mistakes of PyTorch models, wrong files, and the commands of
//! docs/debugging.md.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::model;
use serde_json::Value;
use tempfile::TempDir;

/// The repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn mistakes() -> PathBuf {
    repository().join("fixtures/goldens/mistakes")
}

/// The exit code, stdout and stderr of a run.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_likewise")).args(arguments).output().expect("likewise");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("no signal"), text(output.stdout), text(output.stderr))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The cases that fixtures/make_mistakes.py describes.
fn described() -> (Vec<String>, Vec<Value>) {
    let text = std::fs::read_to_string(mistakes().join("mistakes.json")).expect("the list");
    let list: Value = serde_json::from_str(&text).expect("JSON");
    let texts = list["texts"].as_array().expect("texts").iter().map(string);
    (texts.collect(), list["cases"].as_array().expect("cases").clone())
}

fn string(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

/// Traces the texts of the cases with a model, once.
fn trace(folder: &TempDir, name: &str, options: &[&str]) -> PathBuf {
    let file = folder.path().join(format!("{name}{}.safetensors", options.concat()));
    if !file.exists() {
        let (texts, _) = described();
        let model = model(name);
        let mut arguments = vec!["trace", "--model", path(&model), "--output", path(&file)];
        arguments.extend(options);
        arguments.extend(texts.iter().map(String::as_str));
        let (code, _, stderr) = run(&arguments);
        assert_eq!(code, 0, "{name}: {stderr}");
    }
    file
}

#[test]
fn mistakes_of_porters_are_located_and_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, cases) = described();
    assert!(cases.len() > 40, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let (name, site, cause) = (string(&case["name"]), string(&case["site"]), string(&case["cause"]));
        let reference = trace(&folder, &string(&case["model"]), &[]);
        let dump = mistakes().join(format!("{name}.safetensors"));
        let (code, stdout, stderr) = run(&["compare", path(&reference), path(&dump)]);
        let line = |start: &str| stdout.lines().find(|line| line.starts_with(start)).unwrap_or_default();
        let is_right = if site.is_empty() {
            code == 0 && stdout.contains("\nno difference: ")
        } else {
            let first = line("first difference: ");
            code == 1
                && first.starts_with(&format!("first difference: {site}: "))
                && line("likely cause: ").contains(&cause)
        };
        if !is_right {
            wrong.push(format!("{name}: code {code}, expected {site}: {cause}, found {stdout}{stderr}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn traces_in_both_layouts_are_equal() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["tiny-bert", "tiny-electra", "tiny-albert", "tiny-modernbert", "tiny-t5-gated", "tiny-jina-v2"] {
        let (packed, padded) = (trace(&folder, name, &[]), trace(&folder, name, &["--padded"]));
        let (code, stdout, stderr) = run(&["compare", "--bound", "0", path(&packed), path(&padded)]);
        assert_eq!(code, 0, "{name}: {stdout}{stderr}");
        assert!(!stdout.contains("not compared"), "{stdout}");
    }
}

#[test]
fn json_has_the_numbers_of_every_site() {
    let folder = tempfile::tempdir().expect("a folder");
    let reference = trace(&folder, "tiny-bert", &[]);
    let dump = mistakes().join("tanh-gelu.safetensors");
    let (code, stdout, _) = run(&["compare", "--json", path(&reference), path(&dump)]);
    let printed: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((code, &printed["equal"]), (1, &Value::Bool(false)));
    assert_eq!(printed["first_difference"], "layer.0.intermediate");
    assert!(string(&printed["likely_cause"]).contains("tanh-GELU"), "{printed}");
    let sites = printed["sites"].as_array().expect("sites");
    let changed = sites.iter().find(|site| site["site"] == "layer.0.intermediate").expect("the site");
    assert_eq!(changed["status"], "differs");
    assert!(changed["max_abs"].as_f64().is_some_and(|x| x > 1e-4 && x < 1e-2), "{changed}");
    // A larger bound accepts the difference.
    let (code, stdout, _) = run(&["compare", "--bound", "0.01", path(&reference), path(&dump)]);
    assert_eq!(code, 0, "{stdout}");
}

#[test]
fn map_gives_the_sites_of_other_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let reference = trace(&folder, "tiny-bert", &[]);
    let mut file = likewise::TensorFile::new();
    file.add_i64("input_ids", &[1, 1], vec![0]);
    file.add_i64("attention_mask", &[2, 1], vec![1, 1]);
    file.add_f32("my.vectors", &[2, 32], vec![0.5; 64]);
    let (port, map) = (folder.path().join("port.safetensors"), folder.path().join("map.json"));
    let mut bytes = Vec::new();
    file.write(&mut bytes).expect("bytes");
    std::fs::write(&port, bytes).expect("a file");
    let (code, _, stderr) = run(&["compare", path(&reference), path(&port)]);
    let all = ["no common site", "embeddings.sum", "my.vectors", "--map"];
    assert!(code == 2 && all.iter().all(|word| stderr.contains(word)), "{code} {stderr}");

    std::fs::write(&map, r#"{"my.vectors": "vectors"}"#).expect("a file");
    let (code, stdout, _) = run(&["compare", "--map", path(&map), path(&reference), path(&port)]);
    // The texts have other numbers of tokens, so the ids come first.
    assert!(code == 1 && stdout.contains("first difference: ids: ") && stdout.contains("vectors"), "{stdout}");

    std::fs::write(&map, "[]").expect("a file");
    let (code, _, stderr) = run(&["compare", "--map", path(&map), path(&reference), path(&port)]);
    assert!(code == 2 && stderr.contains("map.json") && stderr.contains("JSON object"), "{stderr}");
}

#[test]
fn files_that_cannot_be_compared_are_rejected() {
    let folder = tempfile::tempdir().expect("a folder");
    let reference = trace(&folder, "tiny-bert", &[]);
    let other = folder.path().join("other.safetensors");
    let rejected = |words: &[&str]| {
        let (code, stdout, stderr) = run(&["compare", path(&reference), path(&other)]);
        assert!(code == 2 && stdout.is_empty() && !stderr.contains("panicked"), "{code} {stdout} {stderr}");
        assert!(words.iter().all(|word| stderr.contains(word)), "{stderr}");
    };
    rejected(&["other.safetensors", "cannot read"]);
    std::fs::write(&other, "not safetensors").expect("a file");
    rejected(&["other.safetensors", "expected a safetensors file", "dump_torch.py"]);
    let write = |file: &likewise::TensorFile<'_>| {
        let mut bytes = Vec::new();
        file.write(&mut bytes).expect("bytes");
        std::fs::write(&other, bytes).expect("a file");
    };
    let mut file = likewise::TensorFile::new();
    file.add_i64("attention_mask", &[2, 1, 1], vec![1, 1]);
    write(&file);
    rejected(&["attention_mask", "[texts, tokens]", "[2, 1, 1]"]);
    let mut file = likewise::TensorFile::new();
    file.add_i64("token_counts", &[1], vec![i64::MAX]);
    write(&file);
    rejected(&["token_counts", "more tokens"]);
    let (code, _, stderr) = run(&["compare", path(&reference)]);
    assert!(code == 2 && stderr.contains("<B>"), "{stderr}");
    let (code, _, stderr) = run(&["compare", "--bound=-1", path(&reference), path(&reference)]);
    assert!(code == 2 && stderr.contains("--bound"), "{stderr}");
}

#[test]
fn other_shapes_are_a_difference() {
    let folder = tempfile::tempdir().expect("a folder");
    let [small, large] = ["tiny-bert", "tiny-electra"].map(|name| trace(&folder, name, &["--site", "embeddings*"]));
    let (code, stdout, stderr) = run(&["compare", path(&small), path(&large)]);
    assert!(code == 1 && stdout.contains("other shape"), "{stdout}{stderr}");
}

/// A command of a page, and the lines that it prints according to the page. `…` stands for any
/// lines.
struct Example {
    command: String,
    printed: Vec<String>,
}

/// Returns the commands of a page and what follows them.
fn examples(page: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut block = None;
    for line in page.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            block = if block.is_some() { None } else { Some(kind.to_owned()) };
            continue;
        }
        match block.as_deref() {
            Some("sh") if line.starts_with("likewise ") => {
                found.push(Example { command: line.to_owned(), printed: Vec::new() });
            }
            Some("text") => found.last_mut().expect("a command").printed.push(line.to_owned()),
            _ => {}
        }
    }
    found
}

/// Splits a command line at spaces outside double quotes.
fn words(command: &str) -> Vec<String> {
    let parts = command.split('"').enumerate();
    let split = |(i, part): (usize, &str)| -> Vec<String> {
        if i % 2 == 1 { vec![part.to_owned()] } else { part.split_whitespace().map(str::to_owned).collect() }
    };
    parts.flat_map(split).collect()
}

/// Whether a page describes what a command prints.
fn prints(printed: &str, expected: &[String]) -> bool {
    let mut rest = printed.lines().peekable();
    let mut skips = false;
    for line in expected {
        if line == "…" {
            skips = true;
        } else if skips {
            if !rest.by_ref().any(|found| found.trim_end() == line) {
                return false;
            }
            skips = false;
        } else if rest.next().map(str::trim_end) != Some(line) {
            return false;
        }
    }
    skips || rest.peek().is_none()
}

#[test]
fn commands_of_the_debugging_page_print_what_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = std::fs::read_to_string(repository().join("docs/debugging.md")).expect("the page");
    let examples = examples(&page);
    assert!(examples.len() >= 5, "{}", examples.len());
    for Example { command, printed } in examples {
        let place = |word: String| {
            if word.starts_with("fixtures/") {
                path(&repository().join(word)).to_owned()
            } else if let Some(name) = word.strip_prefix("target/") {
                path(&folder.path().join(name)).to_owned()
            } else {
                word
            }
        };
        let arguments: Vec<String> = words(&command).into_iter().skip(1).map(place).collect();
        let (code, stdout, stderr) = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let differs = printed.iter().any(|line| line.starts_with("likely cause: "));
        assert_eq!(code, i32::from(differs), "{command}: {stderr}");
        if !printed.is_empty() {
            assert!(prints(&stdout, &printed), "{command}: expected\n{}\nfound\n{stdout}", printed.join("\n"));
        }
    }
}
