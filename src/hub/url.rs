//! HTTP addresses: redirect targets, and whether an address belongs to the hub.
//!
//! `http::Uri` parses every address, both here and in ureq. So the origin that decides about the
//! token is the host that ureq connects to.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::Uri;

const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// Everything except the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An absolute http or https address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    text: String,
    https: bool,
    /// The lower-case host.
    host: String,
    /// The port, which is the scheme's default if the address names none.
    port: u16,
}

impl Url {
    /// Parses an address. Returns `None` if the scheme is not http or https, the host is missing,
    /// or the address contains a user name.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let https = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let port = match authority.port() {
            Some(port) => port.as_str().parse().ok()?,
            None if authority.as_str().ends_with(':') => return None,
            None if https => HTTPS_PORT,
            None => HTTP_PORT,
        };
        let host = authority.host().to_ascii_lowercase();
        (!host.is_empty()).then(|| Self { text: text.to_owned(), https, host, port })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn is_https(&self) -> bool {
        self.https
    }

    /// Returns the host, in lower case.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, also if the address leaves it out.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Whether two addresses have the same scheme, host and port.
    pub(super) fn same_origin(&self, other: &Self) -> bool {
        self.https == other.https && self.host == other.host && self.port == other.port
    }

    /// Returns the address for messages: without the query, which may contain a signature.
    pub(super) fn without_query(&self) -> String {
        self.text.split(['?', '#']).next().unwrap_or_default().to_owned()
    }

    /// Resolves a `Location` header (RFC 3986, 5.2, for the forms that servers send).
    ///
    /// Returns `None` if the result is not a valid address, or leads from https to http.
    pub(super) fn join(&self, location: &str) -> Option<Self> {
        let location = location.split('#').next().unwrap_or_default();
        let scheme = if self.https { "https" } else { "http" };
        let text = if let Some(rest) = location.strip_prefix("//") {
            format!("{scheme}://{rest}")
        } else if location.starts_with('/') {
            format!("{scheme}://{}{location}", self.authority())
        } else if location.contains("://") {
            location.to_owned()
        } else if location.is_empty() {
            return None;
        } else if location.starts_with('?') {
            format!("{}{location}", self.without_query())
        } else {
            let base = self.without_query();
            let folder = base.rsplit_once('/').filter(|(folder, _)| folder.len() > scheme.len() + 2);
            format!("{}/{location}", folder.map_or(base.as_str(), |(folder, _)| folder))
        };
        Self::parse(&text).filter(|target| target.https || !self.https)
    }

    /// Returns host and port as they appear in the address.
    fn authority(&self) -> &str {
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        rest.split(['/', '?', '#']).next().unwrap_or_default()
    }
}

/// Escapes a text so that it is one path segment. Also escapes `/`.
pub(super) fn escape(segment: &str) -> String {
    utf8_percent_encode(segment, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn origin_is_scheme_host_and_port() {
        let hub = url("https://hub.example/x");
        for same in ["https://HUB.example", "https://hub.example:443/y?z"] {
            assert!(hub.same_origin(&url(same)), "{same}");
        }
        for other in
            ["http://hub.example/x", "https://hub.example:444", "https://cdn.hub.example", "https://hub.example.org"]
        {
            assert!(!hub.same_origin(&url(other)), "{other}");
        }
    }

    #[test]
    fn address_without_http_scheme_or_host_or_with_a_user_is_rejected() {
        for text in [
            "",
            "/x",
            "ftp://a/b",
            "https://",
            "https://user@hub.example",
            "https://a:b@c",
            "file:///etc",
            "https://a:/",
        ] {
            assert_eq!(Url::parse(text), None, "{text}");
        }
    }

    #[test]
    fn location_is_resolved_against_the_address() {
        let base = url("http://127.0.0.1:80/a/b?c=/d");
        for (location, target) in [
            ("/x?y", Some("http://127.0.0.1:80/x?y")),
            ("x", Some("http://127.0.0.1:80/a/x")),
            ("//cdn/x", Some("http://cdn/x")),
            ("https://cdn/x#part", Some("https://cdn/x")),
            ("ftp://cdn/x", None),
            ("", None),
            ("//user@cdn/", None),
        ] {
            assert_eq!(base.join(location).as_ref().map(Url::as_str), target, "{location}");
        }
        assert_eq!(url("http://a").join("x").as_ref().map(Url::as_str), Some("http://a/x"));
        assert_eq!(url("https://a/b").join("http://a/b"), None);
        assert_eq!(url("https://cdn/file?Signature=secret").without_query(), "https://cdn/file");
    }

    proptest! {
        #[test]
        fn location_of_any_form_never_leads_from_https_to_http(location in "\\PC{0,40}|[/:.@?#a-z]{0,20}") {
            if let Some(next) = url("https://hub.example/a/b").join(&location) {
                prop_assert!(next.is_https());
            }
        }

        #[test]
        fn escaped_text_is_one_path_segment(segment in "\\PC{0,20}") {
            prop_assert!(escape(&segment).bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
        }
    }
}
