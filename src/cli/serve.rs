//! `likewise serve`: the hosted sentence-similarity API, on one's own machine.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use likewise::ModelFiles;
use likewise::server::{Limits, ModelSpec, Server};

use super::model::{HowArgs, NO_MODEL};
use super::{Misuse, Outcome};

/// Serve models over HTTP.
#[derive(clap::Args)]
#[command(
    after_help = "The API is that of the Hugging Face Inference API for sentence-similarity and feature-extraction.\n\n\
    Example:\n  likewise serve --model sentence-transformers/all-mpnet-base-v2=path/to/folder\n  \
    curl http://127.0.0.1:8080 -d '{\"inputs\": {\"source_sentence\": \"A happy person\", \"sentences\": [\"A happy dog\"]}}'"
)]
pub(super) struct Args {
    /// A model to serve, once or more often: FOLDER (served under its last component), NAME=FOLDER, or a hub id found in
    /// the local Hugging Face cache. The first answers where no model is named
    #[arg(long = "model", env = "LIKEWISE_MODEL", value_name = "FOLDER|NAME=FOLDER|ID")]
    models: Vec<String>,

    /// The address to listen at
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,

    /// The port; 0 for any that is free
    #[arg(long, default_value_t = 8080)]
    port: u16,

    /// Bytes of a request at most
    #[arg(long, default_value_t = Limits::default().body_bytes, value_name = "BYTES")]
    payload_limit: usize,

    /// Texts of a request at most
    #[arg(long, default_value_t = Limits::default().texts, value_name = "N")]
    max_texts: usize,

    /// Tokens that may wait for each model; requests beyond them are answered 429
    #[arg(long, default_value_t = Limits::default().waiting_tokens, value_name = "N")]
    max_waiting_tokens: usize,

    /// Seconds to finish what has been begun, once the server is told to end
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    grace: u64,

    #[command(flatten)]
    how: HowArgs,
}

pub(super) fn run(args: &Args) -> Outcome {
    let models = args.models.iter().filter(|model| !model.is_empty()).map(|model| spec(model, &args.how));
    let models = models.collect::<Result<Vec<_>, _>>()?;
    if models.is_empty() {
        return Err(Box::new(Misuse(NO_MODEL.to_owned())));
    }
    let limits =
        Limits { body_bytes: args.payload_limit, texts: args.max_texts, waiting_tokens: args.max_waiting_tokens };
    let address = SocketAddr::new(args.host, args.port);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = Server::bind(address, models, limits).await.map_err(|error| format!("{address}: {error}"))?;
        // Said once it listens, so that whoever waits for this line can connect.
        let mut err = std::io::stderr();
        drop(writeln!(err, "listening at http://{} with {}", server.address()?, server.models().join(", ")));
        server.run(told_to_end()?, Duration::from_secs(args.grace)).await?;
        drop(writeln!(err, "ended"));
        Ok(())
    })
}

/// A model of an argument.
fn spec(argument: &str, how: &HowArgs) -> Result<ModelSpec, Box<dyn std::error::Error>> {
    let (name, folder) = match argument.split_once('=') {
        // A folder may have an equals sign in its name, too.
        Some((name, folder)) if !Path::new(argument).is_dir() => (name.to_owned(), how.folder(folder)?),
        _ => {
            let folder = how.folder(argument)?;
            let id = || argument.to_owned();
            let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
            let name =
                if Path::new(argument).is_dir() { last(&folder.canonicalize()?).unwrap_or_else(id) } else { id() };
            (name, folder)
        }
    };
    Ok(ModelSpec { name, builder: how.builder(), files: ModelFiles::folder(folder) })
}

/// Is done when the operating system or the terminal asks the process to end.
fn told_to_end() -> std::io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        // Without the signal there is no way to be told.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
