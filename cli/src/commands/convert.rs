//! `likewise convert`: a model folder with packed weights, for fast opening.

use std::path::PathBuf;

use likewise::{Converted, Level};

use crate::arguments::{NameArgs, PrecisionArg, SIMD_LEVELS, SourceArgs, builder};
use crate::outcome::Outcome;
use crate::{output, stdout};

/// Convert a model to packed weights for fast opening.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    likewise convert --model all-MiniLM-L6-v2 --precision int8 --output MiniLM8\n  \
    likewise similarity --model MiniLM8 \"A happy person\" \"A happy dog\"\n\n\
    The new folder contains everything that the model needs. It works with one SIMD level and one precision only.")]
pub(crate) struct Args {
    #[command(flatten)]
    name: NameArgs,

    /// Folder to write, new or empty
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,

    /// Type of linear-layer weights and activations
    #[arg(long, value_enum)]
    precision: PrecisionArg,

    /// SIMD level [default: the fastest of this CPU]
    #[arg(long, value_name = SIMD_LEVELS)]
    simd: Option<Level>,

    #[command(flatten)]
    source: SourceArgs,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let files = args.name.files(&args.source)?;
    let builder = builder(Some(args.precision), args.simd, &args.source);
    let Converted { level, precision, packed, tables, files, .. } = builder.convert(&files, &args.output)?;
    let folder = output::one_line(&args.output.display().to_string());
    let [packed, tables] = [packed, tables].map(output::mib);
    let precision = precision.name();
    stdout::write(|out| {
        writeln!(
            out,
            "{folder}: {packed} of {precision} weights for {level}, {tables} of tables, and {files} other files"
        )
    })?;
    Ok(())
}
