//! The subcommands, one file each.

mod bench;
mod compare;
mod convert;
mod embed;
mod eval;
mod explain;
mod hybrid;
mod info;
#[cfg(feature = "hub")]
mod pull;
mod rerank;
#[cfg(feature = "serve")]
mod serve;
mod similarity;
mod sparse;
mod token_vectors;
mod trace;

use std::process::ExitCode;

use crate::outcome::Outcome;

/// The arguments of a subcommand. Each type's documentation is its help.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    Similarity(similarity::Args),
    Rerank(rerank::Args),
    Embed(embed::Args),
    Explain(explain::Args),
    Eval(eval::Args),
    Bench(bench::Args),
    Info(info::Args),
    Trace(trace::Args),
    Compare(compare::Args),
    Convert(convert::Args),
    #[cfg(feature = "hub")]
    Pull(pull::Args),
    #[cfg(feature = "serve")]
    Serve(serve::Args),
}

/// The subcommands whose arguments are texts.
pub(crate) const WITH_TEXTS: [&str; 5] = ["similarity", "rerank", "embed", "explain", "trace"];

impl Command {
    /// Runs the subcommand with its arguments. Returns the exit code of a run without an error.
    pub(crate) fn run(&self) -> Outcome<ExitCode> {
        match self {
            Self::Compare(args) => return compare::run(args),
            Self::Similarity(args) => similarity::run(args),
            Self::Rerank(args) => rerank::run(args),
            Self::Embed(args) => embed::run(args),
            Self::Explain(args) => explain::run(args),
            Self::Eval(args) => eval::run(args),
            Self::Bench(args) => bench::run(args),
            Self::Info(args) => info::run(args),
            Self::Trace(args) => trace::run(args),
            Self::Convert(args) => convert::run(args),
            #[cfg(feature = "hub")]
            Self::Pull(args) => pull::run(args),
            #[cfg(feature = "serve")]
            Self::Serve(args) => serve::run(args),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}
