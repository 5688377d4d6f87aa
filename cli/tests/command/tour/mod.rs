//! docs/tour.md: each number equals the value of its equation, each command prints what the page
//! says, and each link leads to a file.
//!
//! A block of shell commands is run. The block of text directly after it is the output of its last
//! command. All other blocks of text are equations, over the tensors of the last trace that a
//! command wrote and those of the model. `--nocapture` prints all values.

mod equation;
mod page;

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use half::f16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{model, root};
use equation::{Array, Tensors};
use page::{Block, Page};

/// The last digit of a printed number may be rounded otherwise on other SIMD levels.
const ROUNDING: f64 = 2e-5;

fn read_tour() -> Page {
    let path = root().join("docs/tour.md");
    Page::parse(&std::fs::read_to_string(path).expect("docs/tour.md"))
}

/// Runs a command of the page in a folder, and returns what it prints.
fn run(command: &str, folder: &TempDir) -> String {
    let arguments = page::split_command(command);
    let mut process = Command::new(env!("CARGO_BIN_EXE_likewise"));
    process.args(&arguments[1..]).env_clear().env("HOME", folder.path()).current_dir(folder.path());
    let output = process.output().expect("likewise");
    assert!(output.status.success(), "{command}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Converts the elements of a tensor of a trace or of the model.
fn elements(tensor: &TensorView<'_>) -> Vec<f64> {
    let data = tensor.data();
    match tensor.dtype() {
        Dtype::F16 => data.chunks_exact(2).map(|x| f16::from_le_bytes([x[0], x[1]]).to_f64()).collect(),
        Dtype::F32 => data.chunks_exact(4).map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]]).into()).collect(),
        Dtype::I64 => {
            let integer = |x: &[u8]| i64::from_le_bytes(x.try_into().expect("eight bytes")) as f64;
            data.chunks_exact(8).map(integer).collect()
        }
        other => panic!("{other:?}: not in a trace, and not in the quickstart model"),
    }
}

/// Reads the tensors of a file.
///
/// In a trace of one text of L tokens, scores and probabilities become `[H, L, L]`.
fn read_tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).expect("a file of tensors");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let mut tensors = Tensors::new();
    for (name, tensor) in file.tensors() {
        tensors.insert(name, Array::new(tensor.shape(), elements(&tensor)));
    }
    if let Some(counts) = tensors.get("token_counts").filter(|counts| counts.elements.len() == 1) {
        let tokens = counts.elements[0] as usize;
        for (name, array) in &mut tensors {
            if name.ends_with(".scores") || name.ends_with(".probabilities") {
                array.shape = vec![array.elements.len() / (tokens * tokens), tokens, tokens];
            }
        }
    }
    tensors
}

/// Returns the id of each token of the vocabulary.
fn vocabulary() -> HashMap<String, f64> {
    let text = std::fs::read(model("quickstart").join("tokenizer.json")).expect("tokenizer.json");
    let json: Value = serde_json::from_slice(&text).expect("JSON");
    let entries = json["model"]["vocab"].as_object().expect("a vocabulary");
    entries.iter().map(|(token, id)| (token.clone(), id.as_f64().expect("an id"))).collect()
}

/// Checks a statement `expression = expression = … = numbers`, and returns it with more digits.
fn check_statement(statement: &str, trace: &Tensors, model: &Tensors, vocabulary: &HashMap<String, f64>) -> String {
    let mut parts: Vec<&str> = statement.split(" = ").collect();
    let printed = parts.pop().expect("the numbers of a statement");
    if parts == ["tokens"] {
        let ids: Vec<f64> = printed.split(' ').map(|token| vocabulary[token]).collect();
        assert_eq!(ids, trace["ids"].elements, "{statement}");
        return statement.to_owned();
    }
    let printed: Vec<&str> = printed.split(", ").collect();
    assert!(!parts.is_empty(), "{statement}: expected an equation");
    let mut report = String::new();
    for expression in parts {
        let found = equation::evaluate(expression, &[trace, model]).elements;
        assert_eq!(found.len(), printed.len(), "{expression}: numbers on the page (right), elements (left)");
        for (&found, printed) in found.iter().zip(&printed) {
            let number: f64 = printed.parse().unwrap_or_else(|_| panic!("{statement}: {printed} is no number"));
            let digits = printed.split_once('.').map_or(0, |(_, digits)| digits.len());
            let bound = 0.5 * 0.1_f64.powi(digits as i32) + ROUNDING * found.abs().max(1.0);
            assert!((found - number).abs() <= bound, "{expression}: computed {found}, the page says {printed}");
        }
        write!(report, "{expression}\n    = {found:?}\n").expect("memory");
    }
    report
}

#[test]
fn tour_states_what_commands_print_and_equations_give() {
    let tour = read_tour();
    let (model, vocabulary) = (read_tensors(&model("quickstart").join("model.safetensors")), vocabulary());
    let folder = tempfile::tempdir().expect("a folder");
    let (mut trace, mut last_output, mut equations) = (Tensors::new(), None, 0);
    for block in &tour.blocks {
        match block {
            Block::Commands(commands) => {
                for command in commands.iter().filter(|command| command.starts_with("likewise ")) {
                    last_output = Some(run(command, &folder));
                    if let Some(file) = page::option(command, "--output") {
                        trace = read_tensors(&folder.path().join(file));
                    }
                }
            }
            Block::Output(expected) => {
                let found = last_output.take().expect("a command before its output");
                page::assert_same_output(expected, &found);
            }
            Block::Statements(statements) => {
                for statement in statements {
                    equations += 1;
                    println!("{}", check_statement(statement, &trace, &model, &vocabulary));
                }
            }
        }
    }
    println!("{equations} statements");
    assert!(equations >= 45, "{equations} statements: the page has more");
}

/// A command of cargo takes too long for a test. Its package and its target must exist.
#[test]
fn tour_names_targets_of_cargo_that_exist() {
    let tour = read_tour();
    let commands = tour.blocks.iter().flat_map(|block| match block {
        Block::Commands(commands) => commands.as_slice(),
        _ => &[],
    });
    for command in commands.filter(|command| !command.starts_with("likewise ")) {
        assert!(command.starts_with("cargo "), "{command}: no test runs it");
        let package = match page::option(command, "-p").as_deref() {
            Some("likewise-cli") => root().join("cli"),
            Some("likewise-kernels") => root().join("kernels"),
            other => panic!("{command}: package {other:?}"),
        };
        let example = page::option(command, "--example").map(|name| package.join(format!("examples/{name}.rs")));
        let test = page::option(command, "--test").map(|name| package.join(format!("tests/{name}/main.rs")));
        let target = example.or(test).expect("a target");
        assert!(target.is_file(), "{command}: expected {}", target.display());
    }
}

#[test]
fn tour_links_lead_to_files_and_headings() {
    let tour = read_tour();
    assert!(tour.links.len() > 30, "{:?}", tour.links);
    for link in tour.links.iter().filter(|link| !link.starts_with("https://")) {
        let (file, heading) = link.split_once('#').unwrap_or((link, ""));
        let path = root().join("docs").join(file);
        assert!(path.is_file(), "{link}: expected a file at {}", path.display());
        if !heading.is_empty() {
            let text = std::fs::read_to_string(&path).expect("a page");
            assert!(page::anchors(&text).any(|anchor| anchor == heading), "{link}: no such heading");
        }
    }
}
