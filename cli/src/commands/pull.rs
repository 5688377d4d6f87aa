//! `likewise pull`: downloads a model from the hub.

use crate::outcome::Outcome;
use crate::{hub, stdout};
use clap::builder::NonEmptyStringValueParser;

/// Download a model from the Hugging Face hub to its cache, or update it.
#[derive(clap::Args)]
#[command(
    after_help = "Prints the model's folder. Downloads only files that the cache lacks. Interrupted downloads resume.\n\n\
    Examples:\n  \
    likewise pull sentence-transformers/all-mpnet-base-v2\n  \
    likewise similarity --model sentence-transformers/all-mpnet-base-v2 \"A happy person\" \"A happy dog\"\n\n\
    Environment, as in huggingface_hub: HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH,\n\
    HF_HUB_DISABLE_IMPLICIT_TOKEN, HF_HUB_OFFLINE; also SSL_CERT_FILE, HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY."
)]
pub(crate) struct Args {
    /// Model ID, with an optional branch, tag or commit [default: main]
    #[arg(value_name = "ID[@REVISION]", value_parser = NonEmptyStringValueParser::new())]
    model: String,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let folder = hub::pull(&args.model)?;
    stdout::write(|out| writeln!(out, "{}", folder.display()))?;
    Ok(())
}
