//! The `likewise` command. Only this package prints and reads the environment.
//!
//! Results go to stdout, everything else to stderr. Exit code 0: success; 1: failure; 2: invalid
//! arguments. `compare` exits with 1 only if the files differ, as diff does.

mod arguments;
mod command_line;
mod commands;
mod compare;
mod first_process;
mod hub;
mod input;
#[cfg(feature = "serve")]
mod log;
mod model;
mod outcome;
mod output;
mod progress;
#[cfg(feature = "serve")]
mod runtime;
mod signals;
mod stdout;

use std::error::Error;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::outcome::{Outcome, UsageError};

#[derive(Parser)]
#[command(
    name = "likewise",
    version,
    about = "Sentence similarity and embeddings in pure Rust",
    after_help = "Examples:\n  \
        likewise similarity \"A happy person\" \"A happy dog\"\n  \
        likewise rerank --model ms-marco-MiniLM-L6-v2 \"a query\" --input in.txt\n  \
        likewise embed --model all-MiniLM-L6-v2 --input in.txt --output out.npy\n  \
        likewise eval --model all-MiniLM-L6-v2 pairs.tsv\n\n\
        A model is a folder that sentence-transformers has saved, or a hub id (organisation/name).\n\
        A hub id is looked up in the Hugging Face cache, and downloaded if it is missing there.\n\
        Name the model with --model or LIKEWISE_MODEL. The default is the small built-in model.",
    propagate_version = true
)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

/// Runs the subcommand of the arguments.
fn main() -> ExitCode {
    silence_caught_panics();
    first_process::end_at_signals();
    signals::report_file_size_limit();
    match run() {
        Ok(code) => code,
        // The reader of our output has closed the pipe (`likewise … | head`).
        Err(error) if is_broken_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = output::printable(&likewise::error_chain(error.as_ref()));
            output::to_stderr(format_args!("error: {message}"));
            ExitCode::from(if error.is::<UsageError>() { 2 } else { 1 })
        }
    }
}

/// Parses the arguments and runs the subcommand, or prints the help.
fn run() -> Outcome<ExitCode> {
    let mut command = Cli::command();
    command.build();
    let arguments = command_line::sort(&command, std::env::args_os().collect(), &commands::WITH_TEXTS)?;
    let name = arguments.get(1).and_then(|name| name.to_str());
    let takes_texts = name.is_some_and(|name| commands::WITH_TEXTS.contains(&name));
    match Cli::try_parse_from(arguments) {
        Ok(cli) => cli.command.run(),
        Err(error) if error.use_stderr() => {
            // A closed stderr does not change the exit code.
            drop(error.print());
            if takes_texts && error.kind() == clap::error::ErrorKind::UnknownArgument {
                output::to_stderr("Put '--' before a text that looks like an option.");
            }
            Ok(ExitCode::from(2))
        }
        Err(help) => {
            stdout::write(|out| write!(out, "{}", help.render()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Prints no message for a panic that the library turns into an error: the error says more, and no
/// crash has happened.
fn silence_caught_panics() {
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !likewise::is_caught_panic(panic) {
            default_hook(panic);
        }
    }));
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
