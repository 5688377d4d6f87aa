//! Settings from environment variables, by the names that huggingface_hub defines.
//!
//! This is the only file of the library that reads the environment.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::settings::{Secret, Settings, TokenSource};

/// Longer timeouts are shortened to this, because adding them to a point in time could overflow.
const MAX_TIMEOUT_SECONDS: u64 = 24 * 60 * 60;

impl Settings {
    /// Reads the settings from the environment: `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`,
    /// `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`, `SSL_CERT_FILE`, `HTTPS_PROXY` and the others
    /// that docs/hub.md lists.
    ///
    /// Reads no file: a token file is read before the first request.
    pub fn from_env() -> Self {
        Environment { variable: &|name| env::var_os(name), home: env::home_dir() }.settings()
    }
}

/// The variables and the home folder of a process.
struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    home: Option<PathBuf>,
}

impl Environment<'_> {
    fn settings(&self) -> Settings {
        let mut settings = Settings::new(self.cache_folder());
        if let Some(endpoint) = self.text("HF_ENDPOINT") {
            settings.endpoint = endpoint;
        }
        settings.offline = self.is_offline();
        settings.token = self.token();
        if let Some(timeout) = self.timeout() {
            settings.timeout = timeout;
        }
        settings.ca_certificates = self.path("SSL_CERT_FILE");
        settings.proxy = self.proxy(&settings.endpoint).map(Secret::new);
        settings.no_proxy = self.no_proxy();
        settings.progress_bars = !self.is_true("HF_HUB_DISABLE_PROGRESS_BARS");
        settings
    }

    /// Returns a variable without surrounding white space, unless it is empty.
    fn text(&self, name: &str) -> Option<String> {
        let value = (self.variable)(name)?.into_string().ok()?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn is_true(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str()))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        (self.variable)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// Returns a path with `~` and variables expanded, as huggingface_hub does (`constants.py`).
    /// No shell expands the variables of a systemd unit or a container.
    fn expanded_path(&self, name: &str) -> Option<PathBuf> {
        let value = self.path(name)?;
        let Some(text) = value.to_str() else { return Some(value) };
        let rest = text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let text = match (rest, self.home.as_ref().and_then(|home| home.to_str())) {
            (Some(rest), Some(home)) => format!("{home}{rest}"),
            _ => text.to_owned(),
        };
        Some(self.expand_variables(&text).into())
    }

    /// Replaces `$NAME` and `${NAME}` by the variables' values. Leaves unset variables as they are.
    fn expand_variables(&self, text: &str) -> String {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let after = &rest[at + 1..];
            let reference = match after.strip_prefix('{') {
                Some(inner) => inner.find('}').map(|end| (&inner[..end], end + 2)),
                None => {
                    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
                    Some((&after[..end], end))
                }
            };
            let value = reference.and_then(|(name, length)| Some(((self.variable)(name)?.into_string().ok()?, length)));
            let (value, length) = value.unwrap_or_else(|| ("$".to_owned(), 0));
            expanded += &rest[..at];
            expanded += &value;
            rest = &after[length..];
        }
        expanded + rest
    }

    fn hf_home(&self) -> PathBuf {
        self.expanded_path("HF_HOME").unwrap_or_else(|| {
            let cache = self.expanded_path("XDG_CACHE_HOME");
            let default = || self.home.clone().unwrap_or_default().join(".cache");
            cache.unwrap_or_else(default).join("huggingface")
        })
    }

    fn cache_folder(&self) -> PathBuf {
        let names = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"];
        let set = names.into_iter().find_map(|name| self.expanded_path(name));
        set.unwrap_or_else(|| self.hf_home().join("hub"))
    }

    /// Follows the first of the two variables that is set.
    fn is_offline(&self) -> bool {
        let is_set = self.text("HF_HUB_OFFLINE").is_some();
        self.is_true(if is_set { "HF_HUB_OFFLINE" } else { "TRANSFORMERS_OFFLINE" })
    }

    /// Returns the token of a variable, or the file that `hf auth login` writes.
    ///
    /// The default file is in HF_HOME, even if HF_HUB_CACHE moves the cache.
    fn token(&self) -> TokenSource {
        if self.is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            return TokenSource::None;
        }
        let names = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];
        if let Some(token) = names.into_iter().find_map(|name| self.text(name)) {
            return TokenSource::Value(Secret::new(token));
        }
        let file = self.expanded_path("HF_TOKEN_PATH");
        TokenSource::File(file.unwrap_or_else(|| self.hf_home().join("token")))
    }

    fn timeout(&self) -> Option<Duration> {
        let seconds: u64 = self.text("HF_HUB_DOWNLOAD_TIMEOUT")?.parse().ok()?;
        let seconds = Some(seconds).filter(|seconds| *seconds > 0)?;
        Some(Duration::from_secs(seconds.min(MAX_TIMEOUT_SECONDS)))
    }

    /// Returns the proxy for an address: the one of its scheme, otherwise the one for all schemes.
    fn proxy(&self, endpoint: &str) -> Option<String> {
        let of_scheme =
            if endpoint.starts_with("https:") { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
        let names = of_scheme.into_iter().chain(["ALL_PROXY", "all_proxy"]);
        names.filter_map(|name| self.text(name)).next()
    }

    fn no_proxy(&self) -> Vec<String> {
        let hosts = self.text("NO_PROXY").or_else(|| self.text("no_proxy")).unwrap_or_default();
        hosts.split(',').map(|host| host.trim().to_owned()).filter(|host| !host.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        Environment { variable: &variable, home: Some("/u".into()) }.settings()
    }

    #[test]
    fn paths_with_variables_are_expanded() {
        let variable = |name: &str| (name == "A_1").then(|| OsString::from("x/y"));
        let environment = Environment { variable: &variable, home: None };
        for (text, expected) in [
            ("/a", "/a"),
            ("$A_1", "x/y"),
            ("/$A_1/b${A_1}c", "/x/y/bx/yc"),
            ("$B/${B}/$", "$B/${B}/$"),
            ("${A_1", "${A_1"),
            ("$A_1é", "x/yé"),
        ] {
            assert_eq!(environment.expand_variables(text), expected, "{text}");
        }
    }

    #[test]
    fn cache_folder_follows_the_first_variable_that_is_set() {
        for (variables, expected) in [
            (&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")][..], "/c"),
            (&[("HUGGINGFACE_HUB_CACHE", "~/c")], "/u/c"),
            (&[("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/h/hub"),
            (&[("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("HF_HUB_CACHE", "")], "/u/.cache/huggingface/hub"),
        ] {
            assert_eq!(settings(variables).cache, Path::new(expected), "{variables:?}");
        }
    }

    #[test]
    fn offline_mode_follows_the_first_variable_that_is_set() {
        for (variables, expected) in [
            (&[][..], false),
            (&[("HF_HUB_OFFLINE", "1")], true),
            (&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")], false),
            (&[("TRANSFORMERS_OFFLINE", "yes")], true),
        ] {
            assert_eq!(settings(variables).offline, expected, "{variables:?}");
        }
    }

    #[test]
    fn token_comes_from_a_variable_or_a_file_in_hf_home() {
        let token = |variables: &[(&str, &str)]| match settings(variables).token {
            TokenSource::None => "none".to_owned(),
            TokenSource::Value(secret) => secret.expose().to_owned(),
            TokenSource::File(path) => path.display().to_string(),
        };
        assert_eq!(token(&[("HF_TOKEN", " a\n"), ("HUGGING_FACE_HUB_TOKEN", "b")]), "a");
        assert_eq!(token(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")]), "/h/token");
        assert_eq!(token(&[("HF_TOKEN_PATH", "$HF_HOME/t"), ("HF_HOME", "/h")]), "/h/t");
        assert_eq!(token(&[("HF_TOKEN", "a"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "on")]), "none");
    }

    #[test]
    fn timeout_is_positive_and_at_most_a_day() {
        for (value, expected) in [("0", 10), ("x", 10), ("7", 7), ("18446744073709551615", 86_400)] {
            let timeout = settings(&[("HF_HUB_DOWNLOAD_TIMEOUT", value)]).timeout;
            assert_eq!(timeout, Duration::from_secs(expected), "{value}");
        }
    }
}
