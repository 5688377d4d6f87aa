//! Addresses: where a redirect leads, and whether that is still the hub.

use ureq::http::Uri;

/// An absolute http or https address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    text: String,
    https: bool,
    /// Host and port, in lower case; the port always stands.
    authority: String,
}

impl Url {
    /// None if it is not http or https, has no host, or has a user name in it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let https = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let host = authority.host().to_ascii_lowercase();
        let port = match authority.port() {
            Some(port) => port.as_str().parse().ok()?,
            None if authority.as_str().ends_with(':') => return None,
            None if https => 443_u16,
            None => 80,
        };
        let authority = format!("{host}:{port}");
        (!host.is_empty()).then(|| Self { text: text.to_owned(), https, authority })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn is_https(&self) -> bool {
        self.https
    }

    /// Whether two addresses have the same scheme, host and port.
    pub(super) fn same_origin(&self, other: &Self) -> bool {
        self.https == other.https && self.authority == other.authority
    }

    /// For messages: without what stands after `?`, which signs an address for those who may use it.
    pub(super) fn shown(&self) -> String {
        self.text.split(['?', '#']).next().unwrap_or_default().to_owned()
    }

    /// Where a `Location` leads from here (RFC 3986, 5.2, for the forms that servers use). None if nowhere.
    pub(super) fn join(&self, location: &str) -> Option<Self> {
        let location = location.split('#').next().unwrap_or_default();
        let scheme = if self.https { "https" } else { "http" };
        let text = if let Some(rest) = location.strip_prefix("//") {
            format!("{scheme}://{rest}")
        } else if location.starts_with('/') {
            format!("{scheme}://{}{location}", self.host_as_written())
        } else if location.contains("://") {
            location.to_owned()
        } else if location.is_empty() {
            return None;
        } else if location.starts_with('?') {
            format!("{}{location}", self.shown())
        } else {
            let here = self.shown();
            let folder = here.rsplit_once('/').filter(|(folder, _)| folder.len() > scheme.len() + 2);
            format!("{}/{location}", folder.map_or(here.as_str(), |(folder, _)| folder))
        };
        // Never from an encrypted connection to one that is not.
        Self::parse(&text).filter(|next| next.https || !self.https)
    }

    fn host_as_written(&self) -> &str {
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        rest.split(['/', '?', '#']).next().unwrap_or_default()
    }
}

/// A piece of a path, with everything escaped that has a meaning in an address, `/` too.
pub(super) fn escape(piece: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    piece.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn the_same_origin_is_scheme_host_and_port() {
        let hub = url("https://hub.example/x");
        for same in ["https://HUB.example", "https://hub.example:443/y?z"] {
            assert!(hub.same_origin(&url(same)), "{same}");
        }
        for other in
            ["http://hub.example/x", "https://hub.example:444", "https://cdn.hub.example", "https://hub.example.org"]
        {
            assert!(!hub.same_origin(&url(other)), "{other}");
        }
        for none in [
            "",
            "/x",
            "ftp://a/b",
            "https://",
            "https://user@hub.example",
            "https://a:b@c",
            "file:///etc",
            "https://a:/",
        ] {
            assert_eq!(Url::parse(none), None, "{none}");
        }
    }

    #[test]
    fn redirects_lead_where_they_say() {
        let here = url("http://127.0.0.1:80/a/b?c=/d");
        for (location, there) in [
            ("/x?y", Some("http://127.0.0.1:80/x?y")),
            ("x", Some("http://127.0.0.1:80/a/x")),
            ("//cdn/x", Some("http://cdn/x")),
            ("https://cdn/x#part", Some("https://cdn/x")),
            ("ftp://cdn/x", None),
            ("", None),
            ("//user@cdn/", None),
        ] {
            assert_eq!(here.join(location).as_ref().map(Url::as_str), there, "{location}");
        }
        assert_eq!(url("http://a").join("x").as_ref().map(Url::as_str), Some("http://a/x"));
        assert_eq!(url("https://a/b").join("http://a/b"), None);
        assert_eq!(url("https://cdn/file?Signature=secret").shown(), "https://cdn/file");
    }

    proptest! {
        #[test]
        fn no_location_panics_or_loses_encryption(location in "\\PC{0,40}|[/:.@?#a-z]{0,20}") {
            if let Some(next) = url("https://hub.example/a/b").join(&location) {
                prop_assert!(next.is_https());
            }
        }

        #[test]
        fn what_is_escaped_is_one_piece(piece in "\\PC{0,20}") {
            prop_assert!(escape(&piece).bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
        }
    }
}
