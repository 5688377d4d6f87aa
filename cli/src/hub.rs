//! The hub as the environment describes it, by the names that huggingface_hub gave the variables.

use std::env;
use std::path::PathBuf;

use likewise::{Result, hub};

/// A variable that is set to something.
fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A path in a variable that no shell may have looked at: a systemd unit's, a container's. `~` and variables in it are
/// expanded, as huggingface_hub does (`constants.py`).
fn expanded_path(name: &str) -> Option<PathBuf> {
    let value = path(name)?;
    let Some(text) = value.to_str() else { return Some(value) };
    let text = match (text.strip_prefix('~'), env::var("HOME")) {
        (Some(rest), Ok(home)) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
        _ => text.to_owned(),
    };
    Some(expanded(&text, |name| env::var(name).ok()).into())
}

/// With `$NAME` and `${NAME}` replaced by their values, where they have any.
fn expanded(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        let after = &rest[at + 1..];
        let named = match after.strip_prefix('{') {
            Some(inner) => inner.find('}').map(|end| (&inner[..end], end + 2)),
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                Some((&after[..end], end))
            }
        };
        let (text, length) = match named.and_then(|(name, length)| Some((value(name)?, length))) {
            Some(found) => found,
            None => ("$".to_owned(), 0),
        };
        out += &rest[..at];
        out += &text;
        rest = &after[length..];
    }
    out + rest
}

fn cache_folder() -> PathBuf {
    let hub_cache = expanded_path("HF_HUB_CACHE").or_else(|| expanded_path("HUGGINGFACE_HUB_CACHE"));
    hub::cache_folder(hub_cache, expanded_path("HF_HOME"), expanded_path("XDG_CACHE_HOME"), path("HOME"))
}

/// The folder of a model that is not a folder's name.
#[cfg(not(feature = "hub"))]
pub(crate) fn snapshot(id: &str, revision: &str) -> Result<PathBuf> {
    hub::find(&cache_folder(), id, revision)
}

#[cfg(feature = "hub")]
pub(crate) use online::{pull, snapshot};

#[cfg(feature = "hub")]
mod online {
    use std::path::Path;
    use std::time::Duration;

    use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
    use likewise::Error;
    use likewise::hub::{Hub, Progress, Secret, Settings};

    use super::*;
    use crate::output;

    /// The folder of a model that is not a folder's name. What the cache lacks is downloaded.
    pub(crate) fn snapshot(id: &str, revision: &str) -> Result<PathBuf> {
        // Without a request nothing that only requests need is looked at: neither token nor proxy.
        if let Some(folder) = Hub::new(Settings::new(cache_folder())).cached(id, revision)? {
            return Ok(folder);
        }
        let mut bar = Bar::default();
        Hub::new(settings()?).find_or_pull(id, revision, &mut |told| bar.show(told))
    }

    /// The folder of a model as the hub has it now.
    pub(crate) fn pull(id: &str, revision: &str) -> Result<PathBuf> {
        let mut bar = Bar::default();
        Hub::new(settings()?).pull(id, revision, &mut |told| bar.show(told))
    }

    fn text(name: &str) -> Option<String> {
        env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn is_set(name: &str) -> bool {
        text(name).is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str()))
    }

    fn settings() -> Result<Settings> {
        let cache = cache_folder();
        let mut settings = Settings::new(&cache);
        if let Some(endpoint) = text("HF_ENDPOINT") {
            settings.endpoint = endpoint;
        }
        // The first that is set counts.
        settings.offline =
            is_set(if text("HF_HUB_OFFLINE").is_some() { "HF_HUB_OFFLINE" } else { "TRANSFORMERS_OFFLINE" });
        if !settings.offline {
            settings.token = token(&cache)?.map(Secret::new);
        }
        if let Some(seconds) =
            text("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|seconds| seconds.parse::<u64>().ok()).filter(|s| *s > 0)
        {
            // No moment is farther away than a clock can say.
            const DAY: u64 = 24 * 60 * 60;
            settings.timeout = Duration::from_secs(seconds.min(DAY));
        }
        settings.authorities = path("SSL_CERT_FILE");
        settings.proxy = proxy(&settings.endpoint).map(Secret::new);
        settings.no_proxy = text("NO_PROXY")
            .or_else(|| text("no_proxy"))
            .map(|hosts| hosts.split(',').map(|host| host.trim().to_owned()).collect())
            .unwrap_or_default();
        Ok(settings)
    }

    /// The token of the environment, or the one that `hf auth login` left.
    fn token(cache: &Path) -> Result<Option<String>> {
        if is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            return Ok(None);
        }
        if let Some(token) = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")) {
            return Ok(Some(token));
        }
        // Of HF_HOME, wherever HF_HUB_CACHE has put the cache.
        let home = hub::cache_folder(None, expanded_path("HF_HOME"), expanded_path("XDG_CACHE_HOME"), path("HOME"));
        let file = expanded_path("HF_TOKEN_PATH").unwrap_or_else(|| home.parent().unwrap_or(cache).join("token"));
        match std::fs::read_to_string(&file) {
            Ok(token) => Ok(Some(token.trim().to_owned()).filter(|token| !token.is_empty())),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { path: file, action: "read the token in", source }),
        }
    }

    /// The proxy for an address: that of its scheme, else the one for all.
    fn proxy(endpoint: &str) -> Option<String> {
        let names =
            if endpoint.starts_with("https:") { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
        names.into_iter().chain(["ALL_PROXY", "all_proxy"]).find_map(text)
    }

    /// What is shown of a download: bars, one a file, on a terminal only, and notes of what went wrong.
    #[derive(Default)]
    struct Bar(Option<(String, ProgressBar)>);

    impl Bar {
        fn show(&mut self, told: Progress<'_>) {
            match told {
                Progress::Downloading { name, size, received } => self.of(name, size).set_position(received),
                Progress::Finished { .. } => {
                    if let Some((_, bar)) = self.0.take() {
                        bar.finish();
                    }
                }
                Progress::WaitingForLock { name } => {
                    self.note(&format!("another process downloads {name}; waiting for it"))
                }
                Progress::UsingIncompleteCache { names, error } => {
                    let why =
                        error.map_or("offline".to_owned(), |error| output::one_line(&likewise::error_chain(error)));
                    let names = names.join(", ");
                    self.note(&format!("the model is taken as the cache has it, which is without {names} ({why})"));
                }
                Progress::Retrying { error, delay } => {
                    let what = output::one_line(&likewise::error_chain(error));
                    self.note(&format!("{what}; trying again in {:.0} s", delay.as_secs_f64()));
                }
                _ => {}
            }
        }

        fn of(&mut self, name: &str, size: u64) -> &ProgressBar {
            let other = self.0.take_if(|(shown, _)| shown != name);
            if let Some((_, bar)) = other {
                bar.finish_and_clear();
            }
            let (_, bar) = self.0.get_or_insert_with(|| {
                let hidden = is_set("HF_HUB_DISABLE_PROGRESS_BARS");
                let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(10) };
                let bar = ProgressBar::with_draw_target(Some(size), target);
                let template =
                    "{msg:<32!} {bar:30} {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style);
                }
                bar.set_message(output::one_line(name));
                (name.to_owned(), bar)
            });
            bar
        }

        fn note(&self, what: &str) {
            let say = || output::to_stderr(format_args!("note: {what}"));
            match &self.0 {
                Some((_, bar)) => bar.suspend(say),
                None => say(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_in_paths() {
        let value = |name: &str| (name == "A_1").then(|| "x/y".to_owned());
        for (text, expected) in [
            ("/a", "/a"),
            ("$A_1", "x/y"),
            ("/$A_1/b${A_1}c", "/x/y/bx/yc"),
            ("$B/${B}/$", "$B/${B}/$"),
            ("${A_1", "${A_1"),
            ("$A_1é", "x/yé"),
        ] {
            assert_eq!(expanded(text, value), expected, "{text}");
        }
    }
}
