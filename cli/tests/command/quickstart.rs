//! The built-in model equals its folder, is the default of every command, and gives useful scores.

use std::process::{Command, Output};

use crate::common::{Golden, model, same_bits};
use likewise::{Embedder, ModelFiles};
use serde_json::Value;
use tempfile::TempDir;

const SOURCE: &str = "That is a happy person";
const SENTENCES: [&str; 3] = ["That is a happy dog", "That is a very happy person", "Today is a sunny day"];
const NOTE: &str = "note: no --model:";

/// Runs the command, which must succeed, with these environment variables only and without a cache.
fn run(home: &TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
    command.args(arguments).env_clear().env("HOME", home.path()).current_dir(home.path());
    let output = command.envs(variables.iter().copied()).output().expect("likewise");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output
}

fn folder_of(words: &[&str]) -> TempDir {
    let home = tempfile::tempdir().expect("a folder");
    std::fs::write(home.path().join("in.txt"), words.join("\n")).expect("a file");
    let [a, b, c] = words else { panic!("three texts") };
    let pairs = format!("5\t{a}\t{b}\n1\t{b}\t{c}\n1.5\t{a}\t{c}\n");
    std::fs::write(home.path().join("pairs.tsv"), pairs).expect("a file");
    home
}

#[test]
fn built_in_model_equals_its_folder() {
    let built_in = Embedder::builder().open_files(&ModelFiles::quickstart()).expect("a model");
    let folder = Embedder::open(model("quickstart")).expect("a model");
    let texts = Golden::load("quickstart").texts;
    let (a, b) = (built_in.embed(&texts).expect("vectors"), folder.embed(&texts).expect("vectors"));
    assert!(same_bits(a.as_slice(), b.as_slice()));
    assert_eq!((built_in.info().name, folder.info().name), ("quickstart".to_owned(), "quickstart".to_owned()));
}

#[test]
fn quickstart_folder_has_at_most_16_mb() {
    fn bytes(folder: &std::path::Path) -> u64 {
        let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
        let size = |entry: std::fs::DirEntry| {
            if entry.path().is_dir() { bytes(&entry.path()) } else { entry.metadata().expect("a size").len() }
        };
        entries.map(size).sum()
    }
    let all = bytes(&model("quickstart"));
    assert!(all <= 16_000_000, "{all} bytes");
}

#[test]
fn quickstart_scores_rank_similar_texts_first() {
    let model = Embedder::builder().open_files(&ModelFiles::quickstart()).expect("a model");
    let scores = model.similarity(SOURCE, &SENTENCES).expect("scores").values;
    println!("{scores:?}");
    let [dog, very, sunny] = scores[..] else { panic!("three scores") };
    assert!(very > dog + 0.1 && dog > sunny + 0.2, "{scores:?}");
    // The question with the same meaning shares few words; the other one shares nearly all.
    let questions = ["What should I do to learn to cook?", "How do I learn to swim?"];
    let scores = model.similarity("How can I become a better cook?", &questions).expect("scores").values;
    assert!(scores[0] > scores[1], "{scores:?}");
}

#[test]
fn commands_without_model_use_quickstart_and_print_a_note() {
    let home = folder_of(&SENTENCES);
    for arguments in [
        &["similarity", "--json", SOURCE, "--input", "in.txt"][..],
        &["embed", "--input", "in.txt"],
        &["eval", "pairs.tsv"],
        &["bench", "--input", "in.txt", "--repeat", "1"],
        &["info"],
    ] {
        let unnamed = run(&home, arguments, &[]);
        let said = String::from_utf8_lossy(&unnamed.stderr).into_owned();
        assert!(
            said.starts_with(NOTE) && said.lines().count() == 1 && said.contains("--model"),
            "{arguments:?}: {said}"
        );
        // An empty variable counts as unset.
        let empty = run(&home, arguments, &[("LIKEWISE_MODEL", "")]);
        assert_eq!(empty.stderr, unnamed.stderr, "{arguments:?}");
        // If it is named, there is no note.
        for named in [
            run(&home, &[arguments, &["--model", "quickstart"]].concat(), &[]),
            run(&home, arguments, &[("LIKEWISE_MODEL", "quickstart")]),
        ] {
            assert!(named.stderr.is_empty(), "{arguments:?}: {named:?}");
            if arguments[0] != "bench" {
                assert_eq!(named.stdout, unnamed.stdout, "{arguments:?}");
            }
        }
        let other = run(&home, arguments, &[("LIKEWISE_MODEL", model("tiny-bert").to_str().expect("UTF-8"))]);
        assert!(other.stderr.is_empty() && other.stdout != unnamed.stdout, "{arguments:?}: {other:?}");
    }
}

#[test]
fn similarity_without_model_prints_quickstart_scores() {
    let home = folder_of(&SENTENCES);
    let printed = run(&home, &[&["similarity", "--json", SOURCE], &SENTENCES[..]].concat(), &[]).stdout;
    let printed: Vec<f32> = serde_json::from_slice(&printed).expect("numbers");
    let folder = Embedder::open(model("quickstart")).expect("a model");
    assert!(same_bits(&printed, &folder.similarity(SOURCE, &SENTENCES).expect("scores").values));
    let info: Value = serde_json::from_slice(&run(&home, &["info", "--json"], &[]).stdout).expect("JSON");
    assert_eq!((&info["model"], &info["architecture"]), (&Value::from("quickstart"), &Value::from("MPNet")));
}

/// As with every name, a folder takes precedence over the model of that name.
#[test]
fn folder_named_quickstart_takes_precedence() {
    let home = folder_of(&SENTENCES);
    for (name, bytes) in crate::common::files("tiny-bert") {
        let path = home.path().join("quickstart").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, bytes).expect("a file");
    }
    let info = run(&home, &["info", "--json", "--model", "quickstart"], &[]).stdout;
    let info: Value = serde_json::from_slice(&info).expect("JSON");
    assert_eq!((&info["architecture"], &info["given_bytes"]), (&Value::from("BERT"), &Value::from(0)));
}
