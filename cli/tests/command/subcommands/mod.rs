//! The command as a user runs it: its output, its files and its exit code.

mod embed;
#[cfg(unix)]
mod environment;
mod explain;
mod hybrid;
#[cfg(unix)]
mod hyphens;
mod measures;
mod model_errors;
mod models;
mod multi_vector;
mod option_values;
#[cfg(unix)]
mod output_files;
mod rerank;
mod similarity;
mod sparse;
mod static_embeddings;
#[cfg(target_os = "linux")]
mod stdout;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::{edit_json, model, same_bits};
use likewise::{Embedder, Level};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use tempfile::TempDir;

const SOURCE: &str = "That is a happy person";
const SENTENCES: [&str; 3] = ["That is a happy dog", "That is a very happy person", "Today is a sunny day"];

/// A working folder, which is also the home folder of the command, and environment variables.
struct Desk {
    home: TempDir,
    variables: Vec<(&'static str, PathBuf)>,
}

/// The exit code and the output of a run.
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

    /// A desk with LIKEWISE_MODEL set.
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
        // Missing models are not downloaded; tests/hub covers that.
        command.env("HF_HUB_OFFLINE", "1");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.run_with(arguments, b"")
    }

    /// Runs with these bytes on stdin.
    fn run_with(&self, arguments: &[&str], stdin: &[u8]) -> Run {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command");
        // A command that does not read stdin closes it.
        drop(child.stdin.take().expect("stdin").write_all(stdin));
        let output = child.wait_with_output().expect("an end");
        Run {
            code: output.status.code().expect("no signal"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Runs a command that must succeed with an empty stderr, and returns its stdout.
    fn output(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert!(run.code == 0 && run.stderr.is_empty(), "{arguments:?}: {run:?}");
        run.stdout
    }

    fn json(&self, arguments: &[&str]) -> Value {
        json(&self.output(arguments))
    }

    /// Runs a command that must fail with this code, these parts on stderr and nothing on stdout.
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

/// Joins the parts of a command line.
fn words<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    parts.concat()
}
