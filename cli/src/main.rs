//! The `likewise` command. Only this package prints and reads the environment.
//!
//! Results go to stdout, everything else to stderr. Exit code 0: success; 1: failure; 2: invalid arguments.

mod arguments;
mod commands;
mod hub;
mod input;
#[cfg(feature = "serve")]
mod log;
mod outcome;
mod output;
mod vectors;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::outcome::UsageError;

#[derive(Parser)]
#[command(
    name = "likewise",
    version,
    about = "How alike are two texts? Sentence similarity and embeddings in pure Rust.",
    after_help = "Examples:\n  \
        likewise similarity \"A happy person\" \"A happy dog\"\n  \
        likewise embed --model all-MiniLM-L6-v2 --input in.txt --output out.npy\n  \
        likewise eval --model all-MiniLM-L6-v2 pairs.tsv\n\n\
        A model is a folder as sentence-transformers saves it, or the name of one on the Hugging Face hub.\n\
        Give it with --model or LIKEWISE_MODEL. Without either, a small one that is part of the program is used.",
    propagate_version = true
)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

/// Runs the subcommand of the arguments.
fn main() -> ExitCode {
    quiet_about_caught_panics();
    // Prints help or the error in the arguments, and exits with 0 or 2.
    match Cli::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of our output has closed the pipe (`likewise … | head`).
        Err(error) if is_broken_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not eprintln!, which panics if nobody reads stderr.
            drop(writeln!(std::io::stderr(), "error: {}", output::printable(&likewise::error_chain(error.as_ref()))));
            ExitCode::from(if error.is::<UsageError>() { 2 } else { 1 })
        }
    }
}

/// The tokenizers crate panics where a tokenizer.json is damaged in certain places. The library makes an error of that,
/// which is printed; the message of the panic is not, because it would say less and look like a crash.
fn quiet_about_caught_panics() {
    const CAUGHT: [&str; 2] = ["tokenizers-", "spm_precompiled-"];
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map_or("", |location| location.file());
        if !CAUGHT.iter().any(|package| place.contains(package)) {
            usual(panic);
        }
    }));
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
