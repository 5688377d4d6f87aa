//! `likewise serve`: the HTTP service.

mod host;

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use host::Host;
use likewise::server::{AllowedOrigins, Limits, ModelNames, ModelSpec, Server, Settings};
use tracing_subscriber::filter::LevelFilter;

use crate::arguments::{QUICKSTART_NOTE, RunArgs, model_of_environment, non_empty};
use crate::first_process;
use crate::log::{self, LogFormat};
use crate::outcome::{Outcome, UsageError};
use crate::runtime;

/// The largest count that an argument may have. No machine has more of anything, and sums of a few
/// counts do not overflow.
const MAX_COUNT: u64 = 1_000_000_000_000;

/// The longest time that an argument may have: a day. Clocks overflow at far larger values.
const MAX_SECONDS: f64 = 86_400.0;

/// Serve models over HTTP.
#[derive(clap::Args)]
#[command(
    after_help = "The API is that of the Hugging Face Inference API for sentence-similarity and feature-extraction.\n\n\
    --model FOLDER is served under its last component. The model with a hub ID comes from the Hugging Face\n\
    cache, or is downloaded to it. quickstart is a small model that is part of the program.\n\
    Clients send an API key as `Authorization: Bearer KEY`. Without --api-key, every client has access.\n\n\
    Example:\n  likewise serve --model sentence-transformers/all-mpnet-base-v2=path/to/folder\n  \
    curl http://127.0.0.1:8080 -d '{\"inputs\": {\"source_sentence\": \"A happy person\", \"sentences\": [\"A happy dog\"]}}'"
)]
pub(crate) struct Args {
    /// Models, the first is the default [env: LIKEWISE_MODEL] [default: quickstart]
    #[arg(long = "model", value_name = "FOLDER|NAME=FOLDER|ID", value_parser = non_empty())]
    models: Vec<OsString>,

    /// IP address or host name to listen at
    #[arg(long, default_value = "127.0.0.1", value_parser = Host::parse)]
    host: Host,

    /// TCP port to listen at; 0 chooses a free one
    #[arg(long, default_value_t = 8080)]
    port: u16,

    /// Additional name for a model, repeatable (text-embedding-3-small=minilm)
    #[arg(long = "alias", value_name = "NAME=MODEL")]
    aliases: Vec<String>,

    /// Use the first model for any unknown model name
    #[arg(long)]
    any_model_name: bool,

    /// Accept the model's own token ids on /v1/embeddings
    #[arg(long)]
    openai_token_ids: bool,

    /// API key that requests must have, repeatable or comma-separated
    #[arg(
        long = "api-key",
        env = "LIKEWISE_API_KEY",
        hide_env_values = true,
        value_name = "KEY",
        value_delimiter = ','
    )]
    api_keys: Vec<String>,

    /// Origin whose pages may call the API (https://example.org), repeatable; * for any
    #[arg(long = "cors-allow-origin", value_name = "ORIGIN")]
    origins: Vec<String>,

    /// Capacity of the response cache in bytes; 0 disables it
    #[arg(
        long,
        // The option's former name.
        alias = "cache-bytes",
        default_value_t = Settings::default().response_cache_bytes,
        value_name = "BYTES",
        value_parser = parse_count_or_zero
    )]
    response_cache_bytes: usize,

    /// Seconds to wait for in-flight requests after SIGTERM
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS", value_parser = parse_seconds)]
    shutdown_timeout: f64,

    /// Format of the log on stderr
    #[arg(long, default_value = "text", value_name = "text|json")]
    log_format: LogFormat,

    /// Level of the log; info has one line for each request to a model
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
    /// Maximum size of a request body in bytes
    #[arg(long, default_value_t = Limits::default().max_body_bytes, value_name = "BYTES", value_parser = parse_count)]
    payload_limit: usize,

    /// Maximum texts of a request, including the source
    #[arg(
        long,
        default_value_t = Limits::default().max_client_batch_size,
        value_name = "N",
        value_parser = parse_count
    )]
    max_client_batch_size: usize,

    /// Maximum characters of a text without a boundary between tokens
    #[arg(
        long,
        default_value_t = Limits::default().max_unsplit_characters,
        value_name = "N",
        value_parser = parse_count
    )]
    max_unsplit_characters: usize,

    /// Maximum floats of a response
    #[arg(long, default_value_t = Limits::default().max_response_floats, value_name = "N", value_parser = parse_count)]
    max_response_floats: usize,

    /// Maximum tokens in the queue of each model; excess requests get 429
    #[arg(long, default_value_t = Limits::default().max_queued_tokens, value_name = "N", value_parser = parse_count)]
    max_queued_tokens: usize,

    /// Maximum tokens of a batch; a longer text is computed alone
    #[arg(long, default_value_t = Limits::default().max_batch_tokens, value_name = "N", value_parser = parse_count)]
    max_batch_tokens: usize,

    /// Maximum requests in flight; excess requests get 429
    #[arg(
        long,
        default_value_t = Limits::default().max_concurrent_requests,
        value_name = "N",
        value_parser = parse_count
    )]
    max_concurrent_requests: usize,

    /// Seconds to keep an idle connection; longer than a reverse proxy does
    #[arg(
        long,
        default_value_t = Limits::default().idle_timeout.as_secs_f64(),
        value_name = "SECONDS",
        value_parser = parse_seconds
    )]
    idle_timeout: f64,

    /// Seconds for a request's head to arrive, from its first byte on
    #[arg(
        long,
        default_value_t = Limits::default().header_timeout.as_secs_f64(),
        value_name = "SECONDS",
        value_parser = parse_seconds
    )]
    header_timeout: f64,

    /// Seconds for a request's body to arrive, or a stalled response to continue
    #[arg(
        long,
        default_value_t = Limits::default().body_timeout.as_secs_f64(),
        value_name = "SECONDS",
        value_parser = parse_seconds
    )]
    body_timeout: f64,

    /// Seconds to answer a request
    #[arg(
        long,
        default_value_t = Limits::default().request_timeout.as_secs_f64(),
        value_name = "SECONDS",
        value_parser = parse_seconds
    )]
    request_timeout: f64,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let of_environment = if args.models.is_empty() { model_of_environment() } else { None };
    let arguments = args.models.iter().chain(&of_environment);
    let mut models = arguments.map(|model| model_spec(model, &args.how)).collect::<Outcome<Vec<_>>>()?;
    let use_quickstart = models.is_empty();
    if use_quickstart {
        let files = args.how.default_model()?;
        models.push(ModelSpec::new(files.name(), args.how.builder(), files));
    }
    check_names(&models)?;
    let settings = settings(args, &models)?;
    let log = log::start(args.log_format, args.log_level)?;
    if use_quickstart {
        tracing::warn!("{QUICKSTART_NOTE}");
    }
    let addresses = args.host.addresses(args.port).map_err(|error| format!("--host {}: {error}", args.host))?;
    if settings.api_keys.is_empty() && !addresses.iter().all(|address| address.ip().is_loopback()) {
        tracing::warn!(host = %args.host, "no --api-key: every client that reaches this address has access");
    }
    // A thread runs each model, and one more loads them.
    let runtime = runtime::start(models.len() + 1)?;
    let outcome: Outcome = runtime.block_on(async {
        let (first, second) = shutdown_signals()?;
        first_process::leave_signals_to_server();
        let server = Server::bind(addresses.as_slice(), models, settings).await.map_err(|error| {
            let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
            match error.raw_os_error() {
                Some(_) => format!("{}: {error}", addresses.join(", ")),
                None => error.to_string(),
            }
        })?;
        // Scripts wait for this line, so it is written once clients can connect.
        log.line(&format!("listening at http://{} with {}", server.address()?, server.models().join(", ")));
        tokio::select! {
            () = server.run(first, Duration::from_secs_f64(args.shutdown_timeout)) => log.line("ended"),
            () = second => log.line("ended at once"),
        }
        Ok(())
    });
    // Computations without a client do not delay the exit.
    runtime.shutdown_background();
    outcome
}

/// Rejects names that no path can contain, and duplicates.
fn check_names(models: &[ModelSpec]) -> Result<(), UsageError> {
    for (i, ModelSpec { name, .. }) in models.iter().enumerate() {
        if name.split('/').count() > 2 || name.split('/').any(str::is_empty) {
            return Err(UsageError(format!("--model: expected a name or organisation/name, found {name:?}")));
        }
        if models[..i].iter().any(|other| other.name == *name) {
            return Err(UsageError(format!("--model: two models have the name {name:?}; rename one by NAME=FOLDER")));
        }
    }
    Ok(())
}

/// Reads `--alias` and `--any-model-name`.
fn model_names(args: &Args, models: &[ModelSpec]) -> Result<ModelNames, UsageError> {
    let mut names = ModelNames::default();
    names.allow_any = args.any_model_name;
    for argument in &args.aliases {
        let pair = argument.split_once('=').map(|(alias, model)| (alias.to_owned(), model.to_owned()));
        names
            .aliases
            .push(pair.ok_or_else(|| UsageError(format!("--alias: expected NAME=MODEL, found {argument:?}")))?);
    }
    let models: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    names.check(&models).map_err(|error| UsageError(format!("--alias: {error}")))?;
    Ok(names)
}

fn settings(args: &Args, models: &[ModelSpec]) -> Result<Settings, UsageError> {
    if args.api_keys.iter().any(|key| key.trim().is_empty()) {
        // An empty variable may be a key that was lost on the way. Access without a key must not be
        // an accident.
        return Err(UsageError("an API key is empty (--api-key, LIKEWISE_API_KEY)".to_owned()));
    }
    let mut settings = Settings::default();
    settings.limits = limits(&args.limits);
    settings.api_keys = args.api_keys.iter().map(|key| key.trim().to_owned()).collect();
    settings.origins = match args.origins.as_slice() {
        [] => AllowedOrigins::None,
        [any] if any == "*" => AllowedOrigins::Any,
        origins => {
            let mut headers = Vec::new();
            for origin in origins {
                let host = origin.split_once("://").map_or("", |(_, host)| host);
                let header = origin.parse().ok().filter(|_| !host.is_empty() && !host.contains(['/', '*']));
                headers.push(header.ok_or_else(|| {
                    UsageError(format!(
                        "--cors-allow-origin {origin:?}: expected * or an origin like https://example.org"
                    ))
                })?);
            }
            AllowedOrigins::List(headers)
        }
    };
    settings.response_cache_bytes = args.response_cache_bytes;
    settings.names = model_names(args, models)?;
    settings.openai_token_ids = args.openai_token_ids;
    Ok(settings)
}

fn limits(args: &LimitArgs) -> Limits {
    let mut limits = Limits::default();
    limits.max_body_bytes = args.payload_limit;
    limits.max_client_batch_size = args.max_client_batch_size;
    limits.max_unsplit_characters = args.max_unsplit_characters;
    limits.max_response_floats = args.max_response_floats;
    limits.max_queued_tokens = args.max_queued_tokens;
    limits.max_batch_tokens = args.max_batch_tokens;
    limits.max_concurrent_requests = args.max_concurrent_requests;
    limits.idle_timeout = Duration::from_secs_f64(args.idle_timeout);
    limits.header_timeout = Duration::from_secs_f64(args.header_timeout);
    limits.body_timeout = Duration::from_secs_f64(args.body_timeout);
    limits.request_timeout = Duration::from_secs_f64(args.request_timeout);
    limits
}

/// Parses a count of at least 1.
fn parse_count(text: &str) -> Result<usize, String> {
    let count = parse_count_or_zero(text).ok().filter(|&n| n > 0);
    count.ok_or_else(|| format!("expected 1 to {MAX_COUNT}"))
}

/// Parses a count.
fn parse_count_or_zero(text: &str) -> Result<usize, String> {
    let count = text.parse::<u64>().ok().filter(|&n| n <= MAX_COUNT).and_then(|n| usize::try_from(n).ok());
    count.ok_or_else(|| format!("expected 0 to {MAX_COUNT}"))
}

/// Parses a duration in seconds.
fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.001..=MAX_SECONDS).contains(seconds));
    seconds.ok_or_else(|| format!("expected 0.001 to {MAX_SECONDS} seconds"))
}

/// Parses the value of `--model`.
fn model_spec(argument: &OsStr, how: &RunArgs) -> Outcome<ModelSpec> {
    let is_folder = Path::new(argument).is_dir();
    let (name, files) = match split_name(argument) {
        // The name of a folder may contain an equals sign.
        Some((name, model)) if !is_folder => {
            if name.is_empty() || model.is_empty() {
                let argument = argument.display();
                let what = format!("--model {argument}: expected NAME=FOLDER, found an empty name or folder");
                return Err(Box::new(UsageError(what)));
            }
            (name, how.files(&model)?)
        }
        _ => {
            let files = how.files(argument)?;
            (if is_folder { files.name() } else { argument.display().to_string() }, files)
        }
    };
    Ok(ModelSpec::new(name, how.builder(), files))
}

/// Splits `NAME=FOLDER` at the first equals sign. The folder need not be UTF-8.
fn split_name(argument: &OsStr) -> Option<(String, OsString)> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let bytes = argument.as_bytes();
        let at = bytes.iter().position(|&byte| byte == b'=')?;
        let name = OsStr::from_bytes(&bytes[..at]).display().to_string();
        Some((name, OsStr::from_bytes(&bytes[at + 1..]).to_owned()))
    }
    #[cfg(not(unix))]
    argument.to_str()?.split_once('=').map(|(name, model)| (name.to_owned(), model.into()))
}

/// Returns two futures, which complete at the first and at the second request to end the process by
/// a signal.
fn shutdown_signals() -> std::io::Result<(impl Future<Output = ()>, impl Future<Output = ()>)> {
    let (sender, receiver) = tokio::sync::watch::channel(0);
    let count_signal = move || sender.send_modify(|count| *count += 1);
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => count_signal(),
                    _ = interrupt.recv() => count_signal(),
                }
            }
        });
    }
    #[cfg(not(unix))]
    tokio::spawn(async move {
        // An error means that the operating system delivers no signals.
        while tokio::signal::ctrl_c().await.is_ok() {
            count_signal();
        }
    });
    let after = |minimum| {
        let mut receiver = receiver.clone();
        async move {
            if receiver.wait_for(|&count| count >= minimum).await.is_err() {
                // No more signals will arrive.
                std::future::pending::<()>().await;
            }
        }
    };
    Ok((after(1), after(2)))
}
