//! The subcommands, one file each.

mod bench;
mod convert;
mod embed;
mod eval;
mod info;
#[cfg(feature = "hub")]
mod pull;
#[cfg(feature = "serve")]
mod serve;
mod similarity;

use crate::outcome::Outcome;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Score sentences by their similarity to a source
    Similarity(similarity::Args),
    /// Embed texts as vectors
    Embed(embed::Args),
    /// Correlate scores with human judgements (Pearson and Spearman)
    Eval(eval::Args),
    /// Measure the speed of embedding texts
    Bench(bench::Args),
    /// Describe a model: architecture, modules, sizes, memory
    Info(info::Args),
    /// Convert a model to packed weights for fast opening
    Convert(convert::Args),
    /// Download or update a model from the Hugging Face hub
    #[cfg(feature = "hub")]
    Pull(pull::Args),
    /// Serve models over HTTP (Hugging Face, TEI and OpenAI APIs)
    #[cfg(feature = "serve")]
    Serve(serve::Args),
}

impl Command {
    /// Runs the subcommand with its arguments.
    pub(crate) fn run(&self) -> Outcome {
        match self {
            Self::Similarity(args) => similarity::run(args),
            Self::Embed(args) => embed::run(args),
            Self::Eval(args) => eval::run(args),
            Self::Bench(args) => bench::run(args),
            Self::Info(args) => info::run(args),
            Self::Convert(args) => convert::run(args),
            #[cfg(feature = "hub")]
            Self::Pull(args) => pull::run(args),
            #[cfg(feature = "serve")]
            Self::Serve(args) => serve::run(args),
        }
    }
}
