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
