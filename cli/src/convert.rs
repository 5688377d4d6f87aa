//! `likewise convert`: a model with its weights packed, to be mapped.

use std::io::Write;
use std::path::PathBuf;

use likewise::{Converted, Level};

use super::model::{PrecisionArg, SourceArgs, builder};
use crate::{Outcome, output};

/// Pack a model once, for files that are mapped and used as they lie.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    likewise convert --model all-MiniLM-L6-v2 --precision int8 --output MiniLM8\n  \
    likewise similarity --model MiniLM8 \"A happy person\" \"A happy dog\"\n\n\
    The folder has all that the model needs. It holds for one level and one precision, and opens with these.")]
pub(crate) struct Args {
    /// A model folder, or a hub id (organisation/name), which comes from the Hugging Face cache or is downloaded to it
    /// [default: quickstart, the small one that is part of the program]
    #[arg(long, env = "LIKEWISE_MODEL", value_name = "FOLDER|ID")]
    model: Option<String>,

    /// The folder to write. It must be new or empty
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,

    /// The type of weights and activations in the linear layers
    #[arg(long, value_enum)]
    precision: PrecisionArg,

    /// The instructions that will be used: reference, portable, avx2, avx512, neon [default: the fastest that this CPU has]
    #[arg(long, value_name = "LEVEL")]
    level: Option<Level>,

    #[command(flatten)]
    source: SourceArgs,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let files = args.source.files_or_default(args.model.as_deref())?;
    let builder = builder(Some(args.precision), args.level, args.source.threads());
    let Converted { level, precision, packed, tables, files, .. } = builder.convert(&files, &args.output)?;
    writeln!(
        std::io::stdout(),
        "{}: {} of {} weights for {level}, {} of tables, and {files} other files",
        output::one_line(&args.output.display().to_string()),
        output::mib(packed),
        precision.name(),
        output::mib(tables),
    )?;
    Ok(())
}
