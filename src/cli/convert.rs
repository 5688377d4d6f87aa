//! `likewise convert`: a model with its weights packed, to be mapped.

use std::io::Write;
use std::path::PathBuf;

use likewise::Converted;

use super::model::ComputeArgs;
use super::{Misuse, Outcome, output};

/// Pack a model once, for files that are mapped and used as they lie.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    likewise convert --model all-MiniLM-L6-v2 --precision int8 --output all-MiniLM-L6-v2-int8\n  \
    likewise similarity --model all-MiniLM-L6-v2-int8 \"A happy person\" \"A happy dog\"\n\n\
    The folder has all that the model needs. It holds for one level and one precision, and opens with these.")]
pub(super) struct Args {
    /// A model folder, or a hub id (organisation/name) found in the local Hugging Face cache [default: quickstart, the small
    /// one that is part of the program]
    #[arg(long, env = "LIKEWISE_MODEL", value_name = "FOLDER|ID")]
    model: Option<String>,

    /// The folder to write. It must be new or empty
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,

    #[command(flatten)]
    compute: ComputeArgs,
}

pub(super) fn run(args: &Args) -> Outcome {
    if args.compute.precision().is_none() {
        return Err(Box::new(Misuse("convert to what? Give --precision f32, bf16 or int8".to_owned())));
    }
    let files = args.compute.files_or_default(args.model.as_deref())?;
    let Converted { level, precision, packed, tables, files } = args.compute.builder().convert(&files, &args.output)?;
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
