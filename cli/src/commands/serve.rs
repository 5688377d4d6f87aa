//! `likewise serve`: the hosted sentence-similarity API, on one's own machine.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use likewise::server::{Limits, ModelSpec, Origins, Server, Settings};
use tracing_subscriber::filter::LevelFilter;

use crate::arguments::{QUICKSTART_NOTE, RunArgs, default_model};
use crate::log::{self, LogFormat};
use crate::outcome::{Outcome, UsageError};

/// Serve models over HTTP.
#[derive(clap::Args)]
#[command(
    after_help = "The API is that of the Hugging Face Inference API for sentence-similarity and feature-extraction.\n\n\
    Example:\n  likewise serve --model sentence-transformers/all-mpnet-base-v2=path/to/folder\n  \
    curl http://127.0.0.1:8080 -d '{\"inputs\": {\"source_sentence\": \"A happy person\", \"sentences\": [\"A happy dog\"]}}'"
)]
pub(crate) struct Args {
    /// A model to serve, once or more often: FOLDER (served under its last component), NAME=FOLDER, or a hub id, which
    /// comes from the Hugging Face cache or is downloaded to it. The first answers where no model is named [default:
    /// quickstart, the small one that is part of the program]
    #[arg(long = "model", env = "LIKEWISE_MODEL", value_name = "FOLDER|NAME=FOLDER|ID")]
    models: Vec<String>,

    /// The address to listen at
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,

    /// The port; 0 for any that is free
    #[arg(long, default_value_t = 8080)]
    port: u16,

    /// A key that requests must have (`Authorization: Bearer KEY`), once or more often, or several with commas between.
    /// Without any, everybody may ask
    #[arg(
        long = "api-key",
        env = "LIKEWISE_API_KEY",
        hide_env_values = true,
        value_name = "KEY",
        value_delimiter = ','
    )]
    keys: Vec<String>,

    /// An origin whose pages may ask (https://example.org), once or more often; * for any
    #[arg(long = "cors-allow-origin", value_name = "ORIGIN")]
    origins: Vec<String>,

    /// Bytes of answers that are kept to be given again; 0 for none
    #[arg(long, default_value_t = Settings::default().cache_bytes, value_name = "BYTES", value_parser = count_or_none)]
    cache_bytes: usize,

    /// Seconds to finish what has been begun, once the server is told to end
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS", value_parser = seconds)]
    grace: f64,

    /// The form of the log, on stderr
    #[arg(long, default_value = "text", value_name = "text|json")]
    log_format: LogFormat,

    /// What is logged: a line for each request (info), only what went wrong (warn, error), more (debug), or nothing (off)
    #[arg(long, default_value = "info", value_name = "off|error|warn|info|debug")]
    log_level: LevelFilter,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    how: RunArgs,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Bytes of a request at most
    #[arg(long, default_value_t = Limits::default().body_bytes, value_name = "BYTES", value_parser = count)]
    payload_limit: usize,

    /// Texts of a request at most
    #[arg(long, default_value_t = Limits::default().texts, value_name = "N", value_parser = count)]
    max_texts: usize,

    /// Numbers of an answer at most
    #[arg(long, default_value_t = Limits::default().numbers, value_name = "N", value_parser = count)]
    max_numbers: usize,

    /// Tokens that may wait for each model; requests beyond them are answered 429
    #[arg(long, default_value_t = Limits::default().waiting_tokens, value_name = "N", value_parser = count)]
    max_waiting_tokens: usize,

    /// Tokens that a thread computes in one pass, but for a text that alone has more
    #[arg(long, default_value_t = Limits::default().batch_tokens, value_name = "N", value_parser = count)]
    max_batch_tokens: usize,

    /// Requests that are answered at a time; those beyond them are answered 429
    #[arg(long, default_value_t = Limits::default().requests, value_name = "N", value_parser = count)]
    max_concurrent_requests: usize,

    /// Seconds for the head of a request to arrive, and between two requests of a connection
    #[arg(long, default_value_t = Limits::default().head_time.as_secs_f64(), value_name = "SECONDS", value_parser = seconds)]
    header_timeout: f64,

    /// Seconds for the body of a request to arrive
    #[arg(long, default_value_t = Limits::default().body_time.as_secs_f64(), value_name = "SECONDS", value_parser = seconds)]
    body_timeout: f64,

    /// Seconds for a request to be answered
    #[arg(long, default_value_t = Limits::default().request_time.as_secs_f64(), value_name = "SECONDS", value_parser = seconds)]
    deadline: f64,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let models = args.models.iter().filter(|model| !model.is_empty()).map(|model| spec(model, &args.how));
    let mut models = models.collect::<Result<Vec<_>, _>>()?;
    let unnamed = models.is_empty();
    if unnamed {
        let files = default_model()?;
        models.push(ModelSpec { name: files.name(), builder: args.how.builder(), files });
    }
    check_names(&models)?;
    let settings = settings(args)?;
    let log = log::start(args.log_format, args.log_level)?;
    if unnamed {
        tracing::warn!("{QUICKSTART_NOTE}");
    }
    if settings.keys.is_empty() && !args.host.is_loopback() {
        tracing::warn!(host = %args.host, "no --api-key: whoever reaches this address may ask");
    }
    let address = SocketAddr::new(args.host, args.port);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome: Outcome = runtime.block_on(async {
        let (end, again) = told_to_end()?;
        let server = Server::bind(address, models, settings).await.map_err(|error| format!("{address}: {error}"))?;
        // Said once it listens, so that whoever waits for this line can connect.
        log.line(&format!("listening at http://{} with {}", server.address()?, server.models().join(", ")));
        tokio::select! {
            () = server.run(end, Duration::from_secs_f64(args.grace)) => log.line("ended"),
            // Who asks twice does not want to wait.
            () = again => log.line("ended at once"),
        }
        Ok(())
    });
    // What is being computed or tokenized for nobody is not waited for.
    runtime.shutdown_background();
    outcome
}

/// Refuses names that could not be asked for, or not apart.
fn check_names(models: &[ModelSpec]) -> Result<(), UsageError> {
    for (i, ModelSpec { name, .. }) in models.iter().enumerate() {
        if name.split('/').count() > 2 || name.split('/').any(str::is_empty) {
            return Err(UsageError(format!("--model: expected a name or organisation/name, found {name:?}")));
        }
        if models[..i].iter().any(|other| other.name == *name) {
            return Err(UsageError(format!("--model: two models are to be served as {name:?}; NAME=FOLDER names one")));
        }
    }
    Ok(())
}

fn settings(args: &Args) -> Result<Settings, UsageError> {
    if args.keys.iter().any(|key| key.trim().is_empty()) {
        // An empty variable might be meant to mean "no key", or be a key that was lost on the way; better ask.
        return Err(UsageError("an API key is empty (--api-key, LIKEWISE_API_KEY)".to_owned()));
    }
    let origin = |origin: &String| {
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        let header = origin.parse().ok().filter(|_| !host.is_empty() && !host.contains(['/', '*']));
        header.ok_or_else(|| {
            UsageError(format!("--cors-allow-origin {origin:?}: expected * or an origin, as https://example.org"))
        })
    };
    let origins = match args.origins.as_slice() {
        [] => Origins::None,
        [any] if any == "*" => Origins::Any,
        origins => Origins::These(origins.iter().map(origin).collect::<Result<_, _>>()?),
    };
    let limits = &args.limits;
    let limits = Limits {
        body_bytes: limits.payload_limit,
        texts: limits.max_texts,
        numbers: limits.max_numbers,
        waiting_tokens: limits.max_waiting_tokens,
        batch_tokens: limits.max_batch_tokens,
        requests: limits.max_concurrent_requests,
        head_time: Duration::from_secs_f64(limits.header_timeout),
        body_time: Duration::from_secs_f64(limits.body_timeout),
        request_time: Duration::from_secs_f64(limits.deadline),
    };
    let keys = args.keys.iter().map(|key| key.trim().to_owned()).collect();
    Ok(Settings { limits, keys, origins, cache_bytes: args.cache_bytes })
}

/// A number of things.
fn count(text: &str) -> Result<usize, String> {
    count_or_none(text).ok().filter(|&n| n > 0).ok_or_else(|| "expected 1 to 1000000000000".to_owned())
}

/// A number of things, or 0.
fn count_or_none(text: &str) -> Result<usize, String> {
    // More than any machine has, and few enough that sums of them are numbers.
    const MOST: u64 = 1_000_000_000_000;
    let count = text.parse::<u64>().ok().filter(|&n| n <= MOST).and_then(|n| usize::try_from(n).ok());
    count.ok_or_else(|| "expected 0 to 1000000000000".to_owned())
}

/// Seconds of an argument.
fn seconds(text: &str) -> Result<f64, String> {
    // Up to a day: more is a mistake, and far more is more than clocks can count.
    let seconds = text.parse().ok().filter(|seconds| (0.001..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| "expected 0.001 to 86400 seconds".to_owned())
}

/// A model of an argument.
fn spec(argument: &str, how: &RunArgs) -> likewise::Result<ModelSpec> {
    let (name, files) = match argument.split_once('=') {
        // A folder may have an equals sign in its name, too.
        Some((name, model)) if !Path::new(argument).is_dir() => (name.to_owned(), how.files(model)?),
        _ => {
            let files = how.files(argument)?;
            (if Path::new(argument).is_dir() { files.name() } else { argument.to_owned() }, files)
        }
    };
    Ok(ModelSpec { name, builder: how.builder(), files })
}

/// Two futures: the first is done when the operating system or the terminal asks the process to end, the second when they ask
/// again.
fn told_to_end() -> std::io::Result<(impl Future<Output = ()>, impl Future<Output = ()>)> {
    let (tell, asked) = tokio::sync::watch::channel(0);
    let told = move || tell.send_modify(|times| *times += 1);
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => told(),
                    _ = interrupt.recv() => told(),
                }
            }
        });
    }
    #[cfg(not(unix))]
    tokio::spawn(async move {
        // Without the signal there is no way to be told.
        while tokio::signal::ctrl_c().await.is_ok() {
            told();
        }
    });
    let times = |count| {
        let mut asked = asked.clone();
        async move {
            if asked.wait_for(|&times| times >= count).await.is_err() {
                // Nobody is left who could tell.
                std::future::pending::<()>().await;
            }
        }
    };
    Ok((times(1), times(2)))
}
