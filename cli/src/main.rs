//! The `likewise` command: one file a subcommand. Only these files print, and only they read the environment.
//!
//! Results go to stdout, everything else to stderr. Exit code 0: done; 1: failed; 2: used wrongly.

mod bench;
mod convert;
mod embed;
mod eval;
mod hub;
mod info;
mod input;
#[cfg(feature = "serve")]
mod log;
mod model;
mod output;
#[cfg(feature = "hub")]
mod pull;
#[cfg(feature = "serve")]
mod serve;
mod similarity;
mod vectors;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Score sentences by how alike they are to a source
    Similarity(similarity::Args),
    /// Turn texts into vectors
    Embed(embed::Args),
    /// Compare scores with human judgements: Pearson and Spearman correlations
    Eval(eval::Args),
    /// Measure speed, text to vectors
    Bench(bench::Args),
    /// Describe a model: architecture, modules, sizes, memory
    Info(info::Args),
    /// Pack a model once, for files that are mapped and used as they lie
    Convert(convert::Args),
    /// Download a model from the Hugging Face hub to its cache, or what is new of it
    #[cfg(feature = "hub")]
    Pull(pull::Args),
    /// Answer the Hugging Face Inference API over HTTP
    #[cfg(feature = "serve")]
    Serve(serve::Args),
}

/// What a subcommand ends with. The error is printed with everything beneath it.
type Outcome = Result<(), Box<dyn Error>>;

/// Runs the command that the arguments ask for.
fn main() -> ExitCode {
    quiet_about_caught_panics();
    // Prints help, or what is wrong with the arguments, and ends with 0 or 2.
    let outcome = match Cli::parse().command {
        Command::Similarity(args) => similarity::run(&args),
        Command::Embed(args) => embed::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Convert(args) => convert::run(&args),
        #[cfg(feature = "hub")]
        Command::Pull(args) => pull::run(&args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough (`likewise … | head`).
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

/// The arguments do not make sense together.
#[derive(Debug)]
struct UsageError(String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for UsageError {}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
