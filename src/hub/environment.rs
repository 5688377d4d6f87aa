//! Settings from environment variables, by the names that huggingface_hub defines.
//!
//! This is the only file of the library that reads the environment.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::settings::{Secret, Settings, TokenSource};
use crate::files::read_up_to;

/// Limits the user database and the state of a process.
const MAX_PASSWORD_FILE_BYTES: u64 = 16 << 20;

/// Longer timeouts are shortened to this, because adding them to a point in time could overflow.
const MAX_TIMEOUT_SECONDS: u64 = 24 * 60 * 60;

impl Settings {
    /// Reads the settings from the environment: `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`,
    /// `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`, `SSL_CERT_FILE`, `HTTPS_PROXY` and the others
    /// that docs/hub.md lists.
    ///
    /// Reads no file: a token file is read before the first request.
    pub fn from_env() -> Self {
        Environment { variable: &|name| env::var_os(name), home: home_folder() }.settings()
    }
}

/// Returns the home folder: `HOME`, or without it the one in the user database, as in Python.
///
/// A `HOME` that is empty or a relative path is not used: the cache would be below the working
/// folder of each run.
pub(super) fn home_folder() -> Option<PathBuf> {
    let of_variable = env::home_dir().filter(|home| home.is_absolute());
    // `home_dir` reads the user database only if HOME is not set.
    of_variable.or_else(|| home_in_password_file(&read_text("/proc/self/status")?, &read_text("/etc/passwd")?))
}

fn read_text(path: &str) -> Option<String> {
    let bytes = read_up_to(Path::new(path), MAX_PASSWORD_FILE_BYTES).ok()??;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the home folder of the user that runs a process. `status` is the process's file in
/// /proc, which names the user by a number.
fn home_in_password_file(status: &str, passwords: &str) -> Option<PathBuf> {
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?;
    let fields = passwords.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = fields.into_iter().find(|fields| fields.get(2) == Some(&user))?;
    entry.get(5).map(PathBuf::from).filter(|home| home.is_absolute())
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
    ///
    /// A path in the home folder is empty, which means unknown, if there is no home folder.
    fn expanded_path(&self, name: &str) -> Option<PathBuf> {
        let value = self.path(name)?;
        let Some(text) = value.to_str() else { return Some(value) };
        let rest = text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let text = match (rest, &self.home) {
            (Some(rest), Some(home)) => format!("{}{rest}", home.to_str()?),
            (Some(_), None) => return Some(PathBuf::new()),
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

    /// Returns the folder of the cache and the token. It is empty if it is not known.
    fn hf_home(&self) -> PathBuf {
        self.expanded_path("HF_HOME").unwrap_or_else(|| {
            let default = || self.home.as_ref().map(|home| home.join(".cache")).unwrap_or_default();
            let cache = self.expanded_path("XDG_CACHE_HOME").unwrap_or_else(default);
            join_if_known(cache, "huggingface")
        })
    }

    /// Returns the cache folder. It is empty if it is not known.
    fn cache_folder(&self) -> PathBuf {
        let names = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"];
        let set = names.into_iter().find_map(|name| self.expanded_path(name));
        set.unwrap_or_else(|| join_if_known(self.hf_home(), "hub"))
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
        let file = file.unwrap_or_else(|| join_if_known(self.hf_home(), "token"));
        if file.as_os_str().is_empty() { TokenSource::None } else { TokenSource::File(file) }
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
        let entries = hosts.split(|c: char| c == ',' || c.is_whitespace());
        entries.filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
    }
}

/// Returns a file in a folder, or an empty path, which means unknown, if the folder is unknown.
fn join_if_known(folder: PathBuf, name: &str) -> PathBuf {
    if folder.as_os_str().is_empty() { folder } else { folder.join(name) }
}

#[cfg(test)]
mod tests {
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
    fn no_proxy_entries_are_separated_by_commas_and_spaces() {
        for (value, expected) in
            [("a,b", &["a", "b"][..]), (" a, .b\tc ,,10.0.0.0/8\n", &["a", ".b", "c", "10.0.0.0/8"]), (" , ", &[])]
        {
            assert_eq!(settings(&[("no_proxy", value)]).no_proxy, expected, "{value:?}");
        }
    }

    #[test]
    fn cache_without_a_home_folder_is_unknown_and_not_in_the_working_folder() {
        let settings = |variables: &[(&str, &str)]| {
            let variable =
                |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
            Environment { variable: &variable, home: None }.settings()
        };
        for variables in
            [&[][..], &[("HF_HOME", ""), ("XDG_CACHE_HOME", "")], &[("HF_HOME", "~/x")], &[("HF_HUB_CACHE", "~")]]
        {
            assert_eq!(settings(variables).cache, Path::new(""), "{variables:?}");
        }
        assert!(matches!(settings(&[]).token, TokenSource::None));
        assert_eq!(settings(&[("HF_HOME", "/h")]).cache, Path::new("/h/hub"));
        assert_eq!(settings(&[("XDG_CACHE_HOME", "/x")]).cache, Path::new("/x/huggingface/hub"));
    }

    #[test]
    fn home_folder_of_the_password_file_is_that_of_the_user() {
        let passwords =
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\nodd:x:7:7::rel:\n";
        let home = |user: &str| home_in_password_file(&format!("Name:\tx\nUid:\t{user}\t1\t1\t1\n"), passwords);
        assert_eq!(home("0"), Some("/root".into()));
        assert_eq!(home("65534"), Some("/nonexistent".into()));
        assert_eq!((home("7"), home("8"), home("")), (None, None, None));
        assert_eq!(home_in_password_file("", passwords), None);
    }

    #[test]
    fn timeout_is_positive_and_at_most_a_day() {
        for (value, expected) in [("0", 10), ("x", 10), ("7", 7), ("18446744073709551615", 86_400)] {
            let timeout = settings(&[("HF_HUB_DOWNLOAD_TIMEOUT", value)]).timeout;
            assert_eq!(timeout, Duration::from_secs(expected), "{value}");
        }
    }
}
