//! `likewise pull`: a model from the hub.

use std::io::Write;

use crate::hub;
use crate::outcome::Outcome;

/// Download a model from the Hugging Face hub to its cache, or what is new of it.
#[derive(clap::Args)]
#[command(
    after_help = "Prints the model's folder. What the cache has is not fetched again, and a download that was ended is \
    continued.\n\n\
    Examples:\n  \
    likewise pull sentence-transformers/all-mpnet-base-v2\n  \
    likewise similarity --model sentence-transformers/all-mpnet-base-v2 \"A happy person\" \"A happy dog\"\n\n\
    Environment, as of huggingface_hub: HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH,\n\
    HF_HUB_DISABLE_IMPLICIT_TOKEN, HF_HUB_OFFLINE; besides SSL_CERT_FILE, HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY."
)]
pub(crate) struct Args {
    /// The model, organisation/name, and if need be its branch, tag or commit [default: main]
    #[arg(value_name = "ID[@REVISION]")]
    model: String,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let (id, revision) = args.model.split_once('@').unwrap_or((&args.model, "main"));
    let folder = hub::pull(id, revision)?;
    writeln!(std::io::stdout(), "{}", folder.display())?;
    Ok(())
}
