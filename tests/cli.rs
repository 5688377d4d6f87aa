//! The command, run as a user runs it: what it prints and where, what it writes, and how it ends.
#![cfg(feature = "cli")]

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{edit_json, model, same_bits};
use likewise::{Embedder, Level};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use tempfile::TempDir;

const SOURCE: &str = "That is a happy person";
const SENTENCES: [&str; 3] = ["That is a happy dog", "That is a very happy person", "Today is a sunny day"];

/// A place to work in, which is also the home of whoever runs the command, and its environment.
struct Desk {
    home: TempDir,
    variables: Vec<(&'static str, PathBuf)>,
}

/// What a run gave.
#[derive(Debug)]
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Desk {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a folder"), variables: Vec::new() }
    }

    /// A desk on which LIKEWISE_MODEL is set.
    fn with_model(name: &str) -> Self {
        Self { variables: vec![("LIKEWISE_MODEL", model(name))], ..Self::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
        command.args(arguments).env_clear().env("HOME", self.home.path()).current_dir(self.home.path());
        // What is not there is not looked for elsewhere; tests/hub does that.
        command.env("HF_HUB_OFFLINE", "1");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.run_with(arguments, b"")
    }

    /// Runs with something on stdin.
    fn run_with(&self, arguments: &[&str], stdin: &[u8]) -> Run {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command");
        // Whoever does not read its stdin closes it.
        drop(child.stdin.take().expect("stdin").write_all(stdin));
        let output = child.wait_with_output().expect("an end");
        Run {
            code: output.status.code().expect("no signal"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Runs what must succeed without a word on stderr, and gives its stdout.
    fn output(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert!(run.code == 0 && run.stderr.is_empty(), "{arguments:?}: {run:?}");
        run.stdout
    }

    fn json(&self, arguments: &[&str]) -> Value {
        json(&self.output(arguments))
    }

    /// Runs what must fail with a code, all words on stderr, and nothing on stdout.
    fn fails(&self, arguments: &[&str], code: i32, words: &[&str]) {
        self.run(arguments).failed(&format!("{arguments:?}"), code, words);
    }
}

impl Run {
    fn failed(&self, what: &str, code: i32, words: &[&str]) {
        assert!(self.code == code && self.stdout.is_empty() && !self.stderr.contains("panicked"), "{what}: {self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{what}: no {word:?} in {}", self.stderr);
        }
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn floats(list: &Value) -> Vec<f32> {
    list.as_array().expect("an array").iter().map(|x| x.as_f64().expect("a number") as f32).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn library(name: &str) -> Embedder {
    Embedder::open(model(name)).expect("a model")
}

/// All pieces of a command line.
fn words<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    parts.concat()
}

// ---------------------------------------------------------------------------------------------------------------------
// similarity

#[test]
fn scores_are_the_librarys() {
    for name in common::TINY {
        let desk = Desk::with_model(name);
        let expected = library(name).similarity(SOURCE, &SENTENCES).expect("scores").values;
        let printed = desk.json(&words(&[&["similarity", "--json", SOURCE], &SENTENCES]));
        assert!(same_bits(&floats(&printed), &expected), "{name}: {printed}");

        let table = desk.output(&words(&[&["similarity", SOURCE], &SENTENCES]));
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), SENTENCES.len(), "{table}");
        for ((line, score), sentence) in lines.iter().zip(&expected).zip(SENTENCES) {
            assert!(line.trim_start().starts_with(&format!("{score:.4} ")), "{line}");
            assert!(line.ends_with(sentence), "{line}");
        }
        // All bars take the same room, and the best is the longest.
        let starts = lines.iter().zip(SENTENCES).map(|(line, s)| line.chars().count() - s.chars().count());
        assert_eq!(starts.collect::<std::collections::BTreeSet<_>>().len(), 1, "{table}");
        let full = |line: &str| line.chars().filter(|c| *c == '█').count();
        let best = (0..3).max_by(|&a, &b| expected[a].total_cmp(&expected[b])).expect("three");
        assert!(lines.iter().all(|line| full(line) <= full(lines[best])) && full(lines[best]) > 0, "{table}");
    }
}

#[test]
fn sentences_come_from_arguments_files_and_stdin() {
    let desk = Desk::with_model("tiny-mpnet");
    let expected = desk.json(&words(&[&["similarity", "--json", SOURCE], &SENTENCES]));
    let file = desk.write("sentences.txt", SENTENCES.join("\n"));
    assert_eq!(desk.json(&["similarity", "--json", SOURCE, "--input", text(&file)]), expected);
    let run = desk.run_with(&["similarity", "--json", SOURCE, "--input", "-"], SENTENCES.join("\r\n").as_bytes());
    assert_eq!(json(&run.stdout), expected);
    // Arguments first, then the file.
    let file = desk.write("last.txt", format!("{}\n", SENTENCES[2]));
    let mixed = ["similarity", "--json", SOURCE, SENTENCES[0], SENTENCES[1], "--input", text(&file)];
    assert_eq!(desk.json(&mixed), expected);
    // A text that looks like an option.
    let scores = desk.json(&["similarity", "--json", "--", "--json", "--json", "-5"]);
    assert!(floats(&scores)[0] > 0.9999 && floats(&scores).len() == 2, "{scores}");
}

#[test]
fn a_terminal_is_not_disturbed() {
    let desk = Desk::with_model("tiny-mpnet");
    let table = desk.output(&["similarity", SOURCE, "red \u{1b}[31m and a\nnew line"]);
    assert!(table.lines().count() == 1 && !table.contains('\u{1b}') && table.contains("\\u{1b}[31m"), "{table:?}");
}

#[test]
fn nothing_to_score() {
    let desk = Desk::with_model("tiny-mpnet");
    desk.fails(&["similarity", SOURCE], 2, &["no sentences", "--input"]);
    desk.fails(&["similarity"], 2, &["SOURCE"]);
    let empty = desk.write("empty.txt", "");
    desk.fails(&["similarity", SOURCE, "--input", text(&empty)], 1, &["no sentences", "empty.txt"]);
    desk.run(&["similarity", SOURCE, "--input", "-"]).failed("stdin", 1, &["no sentences", "stdin"]);
    desk.fails(&["similarity", SOURCE, "--input", "nowhere.txt"], 1, &["nowhere.txt", "cannot read"]);
    desk.fails(&["embed"], 2, &["no texts", "--input"]);
    desk.fails(&["embed", "--input", text(&empty)], 1, &["no texts"]);
}

// ---------------------------------------------------------------------------------------------------------------------
// embed

const TEXTS: [&str; 4] = [SOURCE, "", "\"quoted\" and \\ and ünïcödé 今天", "a dog"];

/// The objects of a JSON-lines output, checked against the library.
fn check_lines(lines: &str, texts: &[&str], model: &Embedder) {
    let vectors = model.embed(texts).expect("vectors");
    assert_eq!(lines.lines().count(), texts.len());
    for (i, line) in lines.lines().enumerate() {
        let line = json(line);
        let keys: Vec<&String> = line.as_object().expect("an object").keys().collect();
        assert_eq!(keys.len(), 5, "{keys:?}");
        assert_eq!(line["text"], texts[i]);
        assert!(same_bits(&floats(&line["embedding"]), vectors.row(i)), "text {i}");
        let usage = vectors.usage()[i];
        assert_eq!(
            (line["tokens"].as_u64(), line["used"].as_u64()),
            (Some(usage.tokens as u64), Some(usage.used as u64))
        );
        assert_eq!(line["truncated"], usage.truncated());
    }
}

#[test]
fn vectors_as_lines() {
    let model = library("tiny-mpnet");
    let desk = Desk::with_model("tiny-mpnet");
    check_lines(&desk.output(&words(&[&["embed"], &TEXTS])), &TEXTS, &model);
    let path = desk.path("vectors.jsonl");
    assert_eq!(desk.output(&words(&[&["embed", "--output", text(&path)], &TEXTS])), "");
    check_lines(&std::fs::read_to_string(path).expect("a file"), &TEXTS, &model);

    // Empty lines are texts, the end of the last line is none; line ends and the mark of the byte order are not text.
    for (bytes, texts) in [
        ("a dog\n\nThat\n", &["a dog", "", "That"][..]),
        ("a dog\n\nThat", &["a dog", "", "That"]),
        ("\u{feff}a dog\r\n\r\nThat\r\n", &["a dog", "", "That"]),
        ("\n", &[""]),
        ("a\tb \n", &["a\tb "]),
    ] {
        let file = desk.write("in.txt", bytes);
        check_lines(&desk.output(&["embed", "--input", text(&file)]), texts, &model);
        check_lines(&desk.run_with(&["embed", "--input", "-"], bytes.as_bytes()).stdout, texts, &model);
    }
    // More texts than are embedded at a time.
    let many: Vec<String> = (0..5000).map(|i| format!("dog {i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let file = desk.write("many.txt", many.join("\n"));
    check_lines(&desk.output(&["embed", "--input", text(&file)]), &many, &model);
}

#[test]
fn vectors_for_numpy() {
    let vectors = library("tiny-bert").embed(&TEXTS).expect("vectors");
    let desk = Desk::with_model("tiny-bert");
    let path = desk.path("vectors.npy");
    desk.output(&words(&[&["embed", "--output", text(&path)], &TEXTS]));
    let bytes = std::fs::read(&path).expect("a file");
    assert_eq!(bytes[..8], *b"\x93NUMPY\x01\x00");
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!((10 + length) % 64, 0, "data is aligned");
    let header = std::str::from_utf8(&bytes[10..10 + length]).expect("ASCII");
    assert!(header.is_ascii() && header.ends_with('\n'), "{header:?}");
    let dict = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", TEXTS.len(), vectors.width());
    assert_eq!(header.trim_end(), dict);
    let data: Vec<f32> = bytes[10 + length..].as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    assert_eq!(bytes.len(), 10 + length + 4 * data.len());
    assert!(same_bits(&data, vectors.as_slice()));
}

#[test]
fn vectors_as_tensors() {
    let vectors = library("tiny-xlm-roberta").embed(&TEXTS).expect("vectors");
    let desk = Desk::with_model("tiny-xlm-roberta");
    let path = desk.path("vectors.safetensors");
    desk.output(&words(&[&["embed", "--output", text(&path)], &TEXTS]));
    let bytes = std::fs::read(&path).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let names: std::collections::BTreeSet<_> = file.names().into_iter().collect();
    assert_eq!(names, ["embeddings", "tokens", "used"].into());
    let tensor = |name: &str| file.tensor(name).expect("a tensor");
    let embeddings = tensor("embeddings");
    assert_eq!((embeddings.dtype(), embeddings.shape()), (Dtype::F32, &[TEXTS.len(), vectors.width()][..]));
    let data: Vec<f32> = embeddings.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    assert!(same_bits(&data, vectors.as_slice()));
    for (name, expected) in [
        ("tokens", vectors.usage().iter().map(|usage| usage.tokens as u32).collect::<Vec<_>>()),
        ("used", vectors.usage().iter().map(|usage| usage.used as u32).collect()),
    ] {
        assert_eq!((tensor(name).dtype(), tensor(name).shape()), (Dtype::U32, &[TEXTS.len()][..]));
        let counts: Vec<u32> = tensor(name).data().as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        assert_eq!(counts, expected, "{name}");
    }
}

#[test]
fn outputs_that_cannot_be_written() {
    let desk = Desk::with_model("tiny-bert");
    for name in ["vectors.csv", "vectors", "vectors.npz", ".npy"] {
        desk.fails(&["embed", "a", "--output", name], 2, &[name, ".npy, .safetensors or .jsonl"]);
    }
    std::fs::create_dir(desk.path("folder.npy")).expect("a folder");
    for name in ["nowhere/vectors.npy", "folder.npy"] {
        desk.fails(&["embed", "a", "--output", name], 1, &[name, "cannot write"]);
    }
    let left: Vec<_> =
        std::fs::read_dir(desk.home.path()).expect("a folder").map(|e| e.expect("a file").file_name()).collect();
    assert_eq!(left, ["folder.npy"], "nothing half-written is left");
    // A run that fails does not touch what is there.
    let path = desk.write("old.npy", "old");
    desk.fails(&["embed", "--input", "nowhere.txt", "--output", text(&path)], 1, &["nowhere.txt"]);
    assert_eq!(std::fs::read(&path).expect("a file"), b"old");
    desk.output(&["embed", "a", "--output", text(&path)]);
    assert_ne!(std::fs::read(&path).expect("a file"), b"old");
}

#[test]
fn text_that_is_not_utf8() {
    let desk = Desk::with_model("tiny-bert");
    let bytes = b"one\ntwo\nthr\xffee\nfour\n";
    let file = desk.write("latin.txt", bytes);
    for command in [&["embed"][..], &["similarity", SOURCE], &["bench"]] {
        let arguments = words(&[command, &["--input", text(&file)]]);
        desk.fails(&arguments, 1, &["latin.txt", "line 3", "UTF-8", "0xff"]);
        let arguments = words(&[command, &["--input", "-"]]);
        desk.run_with(&arguments, bytes).failed("stdin", 1, &["stdin", "line 3", "UTF-8", "0xff"]);
    }
    desk.fails(&["eval", text(&file)], 1, &["latin.txt", "line 3", "UTF-8", "0xff"]);
}

#[test]
fn what_is_cut_off_is_said() {
    let desk = Desk::with_model("tiny-bert");
    let long = "happy ".repeat(60);
    let note = ["note: 1 of 2 text", "48 tokens", "--on-long error"];
    for arguments in [&["embed", &long, "a"][..], &["similarity", "--json", &long, "a"], &["similarity", "a", &long]] {
        let run = desk.run(arguments);
        assert!(run.code == 0 && !run.stdout.contains("note"), "{run:?}");
        assert!(note.iter().all(|part| run.stderr.contains(part)) && run.stderr.lines().count() == 1, "{run:?}");
        let strict = words(&[arguments, &["--on-long", "error"]]);
        desk.fails(&strict, 1, &["the limit is 48"]);
    }
    let line = json(desk.run(&["embed", &long, "--max-length", "5"]).stdout.trim());
    assert_eq!((line["used"].as_u64(), line["truncated"].as_bool()), (Some(5), Some(true)));
}

// ---------------------------------------------------------------------------------------------------------------------
// eval, bench and info

/// Covariance over the product of deviations, from sums of squares of the raw numbers: another way than the library's.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let sum = |f: &dyn Fn(usize) -> f64| (0..a.len()).map(f).sum::<f64>();
    let (x, y) = (sum(&|i| a[i]), sum(&|i| b[i]));
    let (xx, yy, xy) = (sum(&|i| a[i] * a[i]), sum(&|i| b[i] * b[i]), sum(&|i| a[i] * b[i]));
    (n * xy - x * y) / ((n * xx - x * x).sqrt() * (n * yy - y * y).sqrt())
}

/// 1 + the number of smaller ones + half of the other equal ones.
fn ranks(x: &[f64]) -> Vec<f64> {
    let count = |test: &dyn Fn(f64) -> bool| x.iter().filter(|y| test(**y)).count() as f64;
    x.iter().map(|&v| 1.0 + count(&|y| y < v) + (count(&|y| y == v) - 1.0) / 2.0).collect()
}

const PAIRS: [(&str, &str, &str); 6] = [
    ("5", "a happy person", "a very happy person"),
    ("0.5", "a happy person", "today is a sunny day"),
    ("3", "a happy dog", "a happy person"),
    ("3", "the cat", "a dog"),
    ("1e0", "", "the evening"),
    (" 4.5 ", "the cat", "the cat"),
];

#[test]
fn agreement_with_judgements() {
    let model = library("tiny-mpnet");
    let desk = Desk::with_model("tiny-mpnet");
    let lines: Vec<String> = PAIRS.iter().map(|(judgement, a, b)| format!("{judgement}\t{a}\t{b}")).collect();
    let file = desk.write("pairs.tsv", format!("\u{feff}{}\r\n", lines.join("\r\n")));
    let second = desk.write("second.tsv", lines[..3].join("\n"));

    let expected = |pairs: &[(&str, &str, &str)]| {
        let score = |a: &str, b: &str| f64::from(model.similarity(a, &[b]).expect("a score")[0]);
        let scores: Vec<f64> = pairs.iter().map(|(_, a, b)| score(a, b)).collect();
        let judgements: Vec<f64> = pairs.iter().map(|(j, _, _)| j.trim().parse().expect("a number")).collect();
        (100.0 * correlation(&judgements, &scores), 100.0 * correlation(&ranks(&judgements), &ranks(&scores)))
    };
    let list = desk.json(&["eval", "--json", text(&file), text(&second)]);
    assert_eq!(list.as_array().expect("a list").len(), 2);
    for (result, (path, pairs)) in
        list.as_array().expect("a list").iter().zip([(&file, &PAIRS[..]), (&second, &PAIRS[..3])])
    {
        let (pearson, spearman) = expected(pairs);
        assert_eq!((result["file"].as_str(), result["pairs"].as_u64()), (Some(text(path)), Some(pairs.len() as u64)));
        approx::assert_abs_diff_eq!(result["pearson"].as_f64().expect("a number"), pearson, epsilon = 1e-6);
        approx::assert_abs_diff_eq!(result["spearman"].as_f64().expect("a number"), spearman, epsilon = 1e-6);
    }
    let table = desk.output(&["eval", text(&file)]);
    let (pearson, spearman) = expected(&PAIRS);
    let last: Vec<&str> = table.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(last[1..], ["6".to_owned(), format!("{pearson:.2}"), format!("{spearman:.2}")], "{table}");
}

#[test]
fn judgements_that_are_none() {
    let desk = Desk::with_model("tiny-mpnet");
    for (bytes, words) in [
        ("1\ta\tb\n2\ta\n3\ta\tb\n", &["line 2", "three fields"][..]),
        ("1\ta\tb\n\n", &["line 2", "three fields"]),
        ("1\ta\tb\n2\ta\tb\tc\n", &["line 2", "three fields"]),
        ("1\ta\tb\nhigh\ta\tb\n", &["line 2", "a number", "`high`"]),
        ("NaN\ta\tb\n1\ta\tb\n", &["line 1", "a number", "`NaN`"]),
        ("inf\ta\tb\n", &["line 1", "a number"]),
        ("1\ta\tb\n", &["two pairs", "found 1"]),
        ("", &["two pairs", "found 0"]),
    ] {
        let file = desk.write("bad.tsv", bytes);
        desk.fails(&["eval", text(&file)], 1, &[words, &["bad.tsv"]].concat());
    }
    desk.fails(&["eval", "nowhere.tsv"], 1, &["nowhere.tsv", "cannot read"]);
    desk.fails(&["eval"], 2, &["PAIRS.tsv"]);
}

#[test]
fn speed() {
    let desk = Desk::with_model("tiny-bert");
    let file = desk.write("texts.txt", "a dog\na cat\n\nhappy people\n");
    let arguments = ["bench", "--input", text(&file), "--repeat", "2", "--threads", "1"];
    let result = desk.json(&words(&[&arguments, &["--json"]]));
    let keys: Vec<&str> = result.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut expected = [
        "texts",
        "tokens",
        "seconds",
        "texts_per_s",
        "tokens_per_s",
        "load_seconds",
        "peak_rss_mib",
        "resident_mib",
        "level",
        "precision",
        "threads",
        "simd_peak_gflops",
        "fraction_of_peak",
    ];
    expected.sort_unstable();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    let number = |key: &str| result[key].as_f64().unwrap_or_else(|| panic!("{key}: {result}"));
    let tokens: usize = library("tiny-bert")
        .embed(&["a dog", "a cat", "", "happy people"])
        .expect("vectors")
        .usage()
        .iter()
        .map(|usage| usage.used)
        .sum();
    assert_eq!((number("texts"), number("tokens"), number("threads")), (4.0, tokens as f64, 1.0));
    assert_eq!((result["level"].as_str(), result["precision"].as_str()), (Some(Level::best().name()), Some("f32")));
    for key in ["seconds", "load_seconds", "simd_peak_gflops", "fraction_of_peak"] {
        assert!(number(key) > 0.0 && number(key).is_finite(), "{key}: {result}");
    }
    assert!(number("fraction_of_peak") <= 1.0 && number("seconds") < 60.0, "{result}");
    approx::assert_relative_eq!(number("texts_per_s"), 4.0 / number("seconds"), max_relative = 1e-9);
    approx::assert_relative_eq!(number("tokens_per_s"), tokens as f64 / number("seconds"), max_relative = 1e-9);
    if cfg!(target_os = "linux") {
        assert!((1.0..4096.0).contains(&number("peak_rss_mib")), "{result}");
        assert!((1.0..=number("peak_rss_mib")).contains(&number("resident_mib")), "{result}");
    }
    let shown = desk.output(&arguments);
    assert!(["4 texts", "texts/s", "GFLOP/s", "loaded in"].iter().all(|part| shown.contains(part)), "{shown}");
    let empty = desk.write("empty.txt", "");
    desk.fails(&["bench", "--input", text(&empty)], 1, &["empty.txt", "at least one text"]);
    desk.fails(&["bench", "--input", text(&file), "--repeat", "0"], 2, &["--repeat"]);
    desk.fails(&["bench"], 2, &["--input"]);
}

#[test]
fn what_a_model_is() {
    for (name, family, width, heads, max_length, similarity) in [
        ("tiny-mpnet", "MPNet", 48, 3, 128, "cosine"),
        ("tiny-xlm-roberta", "XLM-RoBERTa", 64, 2, 64, "cosine"),
        ("tiny-bert", "BERT", 32, 4, 48, "dot"),
    ] {
        let desk = Desk::with_model(name);
        let info = desk.json(&["info", "--json", "--threads", "2"]);
        for (key, value) in [("model", name), ("architecture", family), ("similarity", similarity), ("dtype", "F32")] {
            assert_eq!(info[key], value, "{info}");
        }
        for (key, value) in [
            ("layers", 2),
            ("width", width),
            ("dimension", width),
            ("heads", heads),
            ("max_length", max_length),
            ("threads", 2),
        ] {
            assert_eq!(info[key], value, "{key}: {info}");
        }
        assert!(info["modules"].as_array().expect("a list").contains(&Value::from("mean pooling")), "{info}");
        let shown = desk.output(&["info"]);
        let parts = [name, family, similarity, "mean pooling", "MiB", Level::best().name()];
        assert!(parts.iter().all(|part| shown.contains(part)), "{shown}");
    }
}

#[test]
fn a_model_that_was_converted() {
    let desk = Desk::with_model("tiny-mpnet");
    let sizes = &desk.json(&["info", "--json"])["precisions"];
    let bytes = |precision: &str| sizes[precision]["packed_bytes"].as_u64().unwrap_or_else(|| panic!("{sizes}"));
    assert!(bytes("f32") > bytes("bf16") && bytes("bf16") > bytes("int8"), "{sizes}");
    let similarity = words(&[&["similarity", "--json", SOURCE], &SENTENCES]);
    // Not called as the precisions, which are looked for in what is printed.
    let folder_of = |precision| match precision {
        "f32" => "whole",
        "bf16" => "half",
        _ => "small",
    };
    for precision in ["f32", "bf16", "int8"] {
        let expected = desk.output(&words(&[&similarity, &["--precision", precision]]));
        let folder = folder_of(precision);
        let said = desk.output(&["convert", "--precision", precision, "--output", folder]);
        assert!([precision, Level::best().name(), "7 other files"].iter().all(|part| said.contains(part)), "{said}");
        let converted = ["--model", folder];
        assert_eq!(desk.output(&words(&[&similarity, &converted])), expected);
        let info = desk.json(&words(&[&["info", "--json"], &converted]));
        assert_eq!((&info["converted"], &info["precision"]), (&Value::from(true), &Value::from(precision)));
        let only: Vec<&String> = info["precisions"].as_object().expect("an object").keys().collect();
        assert_eq!(only, [precision]);
        assert_eq!(info["packed_bytes"], bytes(precision));
    }
    let other = words(&[&similarity, &["--model", "small", "--precision", "bf16"]]);
    desk.fails(&other, 1, &["small/likewise.safetensors", "`precision`", "expected bf16", "found int8"]);
    desk.fails(&["convert", "--output", "new"], 2, &["--precision"]);
    desk.fails(&["convert", "--precision", "int8"], 2, &["--output"]);
    desk.fails(&["convert", "--precision", "int8", "--output", "half"], 1, &["half", "not empty"]);
    let twice = ["convert", "--model", "small", "--output", "new"];
    desk.fails(&words(&[&twice, &["--precision", "int8"]]), 1, &["small/likewise.safetensors", "converted before"]);
    assert!(!desk.path("new").exists(), "nothing is written");
}

/// A process that may use one CPU starts one thread. (.ci/threads does the same with the quota of a control group.)
#[test]
#[cfg(target_os = "linux")]
fn threads_are_those_that_may_be_used() {
    let model = common::model("tiny-bert");
    let arguments = ["info", "--json", "--model", text(&model)];
    let threads = |command: &mut Command| {
        let output = command.output().expect("likewise");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        json(&String::from_utf8_lossy(&output.stdout))["threads"].as_u64().expect("a number")
    };
    let likewise = env!("CARGO_BIN_EXE_likewise");
    let all = std::thread::available_parallelism().expect("a number").get() as u64;
    assert_eq!(threads(Command::new(likewise).args(arguments)), all);
    assert_eq!(threads(Command::new(likewise).args(arguments).args(["--threads", "3"])), 3);
    // The first CPU of our own mask, as the kernel lists it: "0-1", "2,4".
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel's account of us");
    let mask = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a mask").trim();
    let first = mask.split([',', '-']).next().expect("a CPU");
    let confined = Command::new("taskset").args(["-c", first, likewise]).args(arguments).output();
    match confined {
        Ok(_) => assert_eq!(threads(Command::new("taskset").args(["-c", first, likewise]).args(arguments)), 1),
        Err(error) => println!("not tested with a mask: taskset: {error}"),
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Which model, and how it is run

/// Lays a model out as huggingface_hub does: a snapshot of links to blobs, and a branch that names it.
#[cfg(unix)]
fn lay_out(hub: &Path, repository: &str, name: &str) -> PathBuf {
    let folder = hub.join(format!("models--{}", repository.replace('/', "--")));
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let (blobs, snapshot) = (folder.join("blobs"), folder.join("snapshots").join(commit));
    for path in [&blobs, &folder.join("refs"), &snapshot.join("1_Pooling")] {
        std::fs::create_dir_all(path).expect("folders");
    }
    std::fs::write(folder.join("refs/main"), commit).expect("a branch");
    for (i, (file, bytes)) in common::files(name).into_iter().enumerate() {
        std::fs::write(blobs.join(format!("{i:040x}")), bytes).expect("a blob");
        let up = if file.contains('/') { "../../../blobs" } else { "../../blobs" };
        std::os::unix::fs::symlink(format!("{up}/{i:040x}"), snapshot.join(file)).expect("a link");
    }
    folder
}

#[cfg(unix)]
#[test]
fn models_in_the_cache() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = folder.path().join("hub");
    lay_out(&hub, "sentence-transformers/tiny", "tiny-mpnet");
    let tiny = lay_out(&hub, "someone/tiny-bert.v2", "tiny-bert");
    let model = |id: &str, desk: &Desk| desk.json(&["info", "--json", "--model", id])["architecture"].clone();

    for (variable, path) in
        [("HF_HOME", folder.path().to_owned()), ("HF_HUB_CACHE", hub.clone()), ("HUGGINGFACE_HUB_CACHE", hub.clone())]
    {
        let desk = Desk { variables: vec![(variable, path)], ..Desk::new() };
        assert_eq!(model("sentence-transformers/tiny", &desk), "MPNet", "{variable}");
        assert_eq!(model("tiny", &desk), "MPNet", "{variable}");
        assert_eq!(model("someone/tiny-bert.v2", &desk), "BERT", "{variable}");
    }
    let mut desk = Desk { variables: vec![("HF_HOME", folder.path().to_owned())], ..Desk::new() };
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let by_commit = ["info", "--json", "--model", "tiny", "--revision", commit];
    assert_eq!(desk.json(&by_commit)["architecture"], "MPNet");
    let words = ["nobody/nothing", "hub/models--nobody--nothing/refs/main"];
    desk.fails(&["info", "--model", "nobody/nothing"], 1, &words);
    desk.fails(&["info", "--model", "tiny", "--revision", "v9"], 1, &["models--sentence-transformers--tiny/refs/v9"]);
    desk.fails(&["info", "--model", "tiny", "--revision", "../../x"], 1, &["revision"]);
    desk.fails(&["info", "--model", "../tiny"], 1, &["../tiny"]);
    // A blob that was not downloaded.
    std::fs::remove_dir_all(tiny.join("blobs")).expect("gone");
    desk.fails(&["info", "--model", "someone/tiny-bert.v2"], 1, &["no config.json", commit]);
    // In the home folder, where it is without any variable.
    desk.variables.clear();
    lay_out(&desk.path(".cache/huggingface/hub"), "sentence-transformers/tiny", "tiny-bert");
    assert_eq!(model("tiny", &desk), "BERT");
    // LIKEWISE_MODEL may be an id, and --model goes before it.
    desk.variables.push(("LIKEWISE_MODEL", PathBuf::from("tiny")));
    assert_eq!(desk.json(&["info", "--json"])["architecture"], "BERT");
    assert_eq!(model(text(&common::model("tiny-mpnet")), &desk), "MPNet");
}

/// Without a model in the program there must be one outside.
#[cfg(not(feature = "quickstart"))]
#[test]
fn no_model_at_all() {
    let desk = Desk::new();
    for command in [&["info"][..], &["embed", "a"], &["similarity", "a", "b"]] {
        desk.fails(command, 2, &["no model", "--model", "LIKEWISE_MODEL"]);
        desk.fails(&words(&[command, &["--model", ""]]), 2, &["no model", "--model"]);
        desk.fails(&words(&[command, &["--model", "quickstart"]]), 1, &["quickstart"]);
    }
}

#[test]
fn models_that_cannot_be_opened() {
    let desk = Desk::new();
    for command in [&["info"][..], &["embed", "a"], &["similarity", "a", "b"]] {
        let missing = words(&[command, &["--model", "all-nothing"]]);
        let looked = [
            "all-nothing",
            ".cache/huggingface/hub/models--all-nothing/refs/main",
            "models--sentence-transformers--all-nothing/refs/main",
        ];
        desk.fails(&missing, 1, &looked);
        desk.fails(&words(&[command, &["--model", "/no/such/folder"]]), 1, &["/no/such/folder", "not a folder"]);
    }
    let mut files = common::files("tiny-bert");
    edit_json(&mut files, "config.json", |json| json["hidden_act"] = Value::from("gelu_fast"));
    for (name, bytes) in files {
        desk.write(&format!("bad/{name}"), bytes);
    }
    desk.fails(
        &["info", "--model", "bad"],
        1,
        &["bad/config.json", "`hidden_act`", "expected one of gelu", "gelu_fast"],
    );
    desk.write("broken/config.json", "{\"a\": 1");
    desk.fails(&["info", "--model", "broken"], 1, &["broken/config.json", "not valid JSON", "line 1"]);
}

#[test]
fn options_of_a_model() {
    let desk = Desk::with_model("tiny-mpnet");
    let similarity = words(&[&["similarity", "--json", SOURCE], &SENTENCES]);
    let expected = floats(&desk.json(&similarity));
    for level in Level::available() {
        let options = ["--level", level.name(), "--threads", "2", "--precision", "f32"];
        let scores = floats(&desk.json(&words(&[&similarity, &options])));
        for (a, b) in scores.iter().zip(&expected) {
            approx::assert_abs_diff_eq!(a, b, epsilon = 1e-5);
        }
        assert_eq!(desk.json(&["info", "--json", "--level", level.name()])["level"], level.name());
    }
    for (option, value, part) in [
        ("--level", "avx9000", "portable"),
        ("--level", "", "--level"),
        ("--threads", "0", "--threads"),
        ("--threads", "-1", "-1"),
        ("--threads", "1025", "--threads"),
        ("--precision", "f8", "f32"),
        ("--on-long", "weep", "truncate"),
        ("--max-length", "many", "--max-length"),
        ("--wrong", "x", "--wrong"),
    ] {
        desk.fails(&["info", option, value], 2, &[part]);
    }
    for length in ["0", "2", "129"] {
        desk.fails(&["info", "--max-length", length], 1, &[length, "3 to 128"]);
    }
    assert_eq!(desk.json(&["info", "--json", "--max-length", "7"])["max_length"], 7);
    // As in the reference, every model has an empty prompt for queries and one for documents.
    desk.output(&["info", "--prompt-name", "query"]);
    let known = ["`passage`", "config_sentence_transformers.json", "document, query"];
    desk.fails(&["info", "--prompt-name", "passage"], 1, &known);
    let desk = Desk::with_model("tiny-xlm-roberta");
    desk.output(&["info", "--prompt-name", "query"]);
    desk.fails(&["info", "--prompt-name", "passage"], 1, &["`passage`", "document, query"]);
}

#[test]
fn help() {
    let desk = Desk::new();
    let shown = desk.output(&["--help"]);
    for part in ["similarity", "embed", "eval", "bench", "info", "convert", "Examples:", "LIKEWISE_MODEL"] {
        assert!(shown.contains(part), "{shown}");
    }
    for command in ["similarity", "embed", "eval", "bench", "info", "serve", "convert"] {
        let shown = desk.output(&[command, "--help"]);
        let every = ["--model", "LIKEWISE_MODEL", "--revision", "--level", "--precision", "--threads"];
        let others = match command {
            "convert" => &["--output"][..],
            _ => &["--max-length", "--on-long", "--prompt-name"],
        };
        for part in every.iter().chain(others) {
            assert!(shown.contains(part), "{command}: no {part}: {shown}");
        }
        assert!(shown.contains(&format!("likewise {command} ")), "{command}: no example: {shown}");
        // A line that is wrapped cannot be copied.
        let examples = shown.lines().filter(|line| line.trim_start().starts_with("likewise "));
        for line in examples {
            assert!(line.len() < 80 && line.matches('"').count() % 2 == 0, "{command}: a wrapped example: {line}");
        }
    }
    assert_eq!(desk.output(&["--version"]).trim(), format!("likewise {}", env!("CARGO_PKG_VERSION")));
    assert!(desk.output(&["embed", "--version"]).contains(env!("CARGO_PKG_VERSION")));
    for arguments in [&[][..], &["dance"], &["embed", "--dance"]] {
        assert_eq!(desk.run(arguments).code, 2, "{arguments:?}");
    }
}

/// `likewise … | head`: whoever has seen enough closes the pipe, and that is no error.
#[cfg(unix)]
#[test]
fn a_reader_that_leaves() {
    let desk = Desk::with_model("tiny-bert");
    let many = desk.write("many.txt", "a happy dog\n".repeat(20_000));
    for arguments in [
        &["embed", "--input", text(&many)][..],
        &["similarity", "a", "--input", text(&many)],
        &["similarity", "--json", "a", "--input", text(&many)],
        &["info"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut command = desk.command(arguments);
        let child = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).spawn().expect("the command");
        // The command holds the writing end, too, until it is dropped.
        drop(command);
        drop(reader);
        let output = child.wait_with_output().expect("an end");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(0) && stderr.is_empty(), "{arguments:?}: {}: {stderr}", output.status);
    }
    // Nobody reads the messages.
    let long = "happy ".repeat(60);
    for (arguments, code) in [(&["embed", &long][..], 0), (&["info", "--model", "nothing"], 1)] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = desk.command(arguments);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer).status().expect("an end");
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

/// Four megabytes of words for 128 tokens: memory must not grow with the text's length times what a token takes.
#[test]
fn a_very_long_text_takes_little_memory() {
    let desk = Desk::with_model("tiny-mpnet");
    let text = "the old lighthouse keeper climbed the stairs every evening ".repeat(70_000);
    let input = desk.write("long.txt", text);
    let run = desk.run(&["bench", "--input", &input.to_string_lossy(), "--repeat", "1", "--json"]);
    assert_eq!(run.code, 0, "{run:?}");
    let result: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(result["tokens"], 128, "{result}");
    // Not every system tells.
    if let Some(peak) = result["peak_rss_mib"].as_f64() {
        assert!(peak < 64.0, "{peak} MiB for a text of 4 MB and a model of 0.3 MB");
    }
}

/// A template that names a token it does not define makes the tokenizers crate panic. The user sees an error, not that.
#[test]
fn a_damaged_tokenizer_is_an_error_and_not_a_panic() {
    let desk = Desk::new();
    let mut files = common::files("tiny-bert");
    edit_json(&mut files, "tokenizer.json", |tokenizer| {
        tokenizer["post_processor"]["special_tokens"] = serde_json::json!({});
    });
    for (name, bytes) in files {
        desk.write(&format!("model/{name}"), bytes);
    }
    let run = desk.run(&["similarity", "--model", "model", "a", "b"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("tokenizer.json") && !run.stderr.contains("panicked"), "{}", run.stderr);
}
