//! The hosts that are reached without the proxy.
//!
//! There is no standard for `NO_PROXY`. These are the forms that curl, Python and Go accept:
//!
//! | entry | matches |
//! |---|---|
//! | `example.org`, `.example.org`, `*.example.org` | the host and its subdomains |
//! | `*example.org`, `10.1.*` | hosts with this end, with this beginning |
//! | `10.1.2.3`, `::1`, `[::1]` | the address |
//! | `10.0.0.0/8`, `fd00::/8` | the addresses of the network |
//! | `*` | everything |
//!
//! An entry that ends with `:8080` matches only this port.

use core::net::IpAddr;

/// The entries of `NO_PROXY`.
#[derive(Clone, Debug, Default)]
pub(super) struct NoProxy {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    hosts: Hosts,
    /// The only port that the rule matches. None for all ports.
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum Hosts {
    All,
    /// This host and its subdomains.
    Domain(String),
    WithEnd(String),
    WithBeginning(String),
    /// The addresses that agree with this one in the leading bits.
    Network {
        address: IpAddr,
        bits: u32,
    },
}

impl NoProxy {
    /// Parses entries. Every text is an entry; one of another form than those above is the name of
    /// a domain.
    pub(super) fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Self {
        let entries = entries.into_iter().map(|entry| entry.trim().to_ascii_lowercase());
        Self { rules: entries.filter(|entry| !entry.is_empty()).map(|entry| Rule::parse(&entry)).collect() }
    }

    /// Returns whether the server at this host and port is reached without the proxy.
    pub(super) fn matches(&self, host: &str, port: u16) -> bool {
        let host = without_brackets(host).trim_end_matches('.').to_ascii_lowercase();
        self.rules.iter().any(|rule| rule.port.is_none_or(|only| only == port) && rule.hosts.contains(&host))
    }
}

impl Rule {
    fn parse(entry: &str) -> Self {
        let all_ports = Self { hosts: Hosts::parse(entry), port: None };
        let Some((host, port)) = entry.rsplit_once(':') else { return all_ports };
        // Colons are also part of addresses such as `::1`.
        let is_host = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
        match port.parse() {
            Ok(port) if is_host && !host.is_empty() => Self { hosts: Hosts::parse(host), port: Some(port) },
            _ => all_ports,
        }
    }
}

impl Hosts {
    fn parse(text: &str) -> Self {
        if text == "*" {
            return Self::All;
        }
        if let Some(network) = Self::parse_network(text) {
            return network;
        }
        let is_domain = |text: &str| !text.is_empty() && !text.contains('*');
        if let Some(domain) = text.strip_prefix("*.").filter(|domain| is_domain(domain)) {
            return Self::Domain(domain.trim_end_matches('.').to_owned());
        }
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(end), _) => Self::WithEnd(end.to_owned()),
            (None, Some(beginning)) => Self::WithBeginning(beginning.to_owned()),
            (None, None) => Self::Domain(text.trim_matches('.').to_owned()),
        }
    }

    /// Parses an address, or an address with the number of bits of its network.
    fn parse_network(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = without_brackets(address).parse().ok()?;
        let all_bits = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(all_bits);
        (bits <= all_bits).then_some(Self::Network { address, bits })
    }

    fn contains(&self, host: &str) -> bool {
        match self {
            Self::All => true,
            Self::Domain(domain) => {
                host.strip_suffix(domain.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }
            Self::WithEnd(end) => host.ends_with(end),
            Self::WithBeginning(beginning) => host.starts_with(beginning),
            Self::Network { address, bits } => {
                host.parse().is_ok_and(|host: IpAddr| leading_bits(host, *bits) == leading_bits(*address, *bits))
            }
        }
    }
}

/// Returns the leading bits of an address, and whether it is of version 4.
fn leading_bits(address: IpAddr, bits: u32) -> (bool, u128) {
    let (value, all_bits) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    (address.is_ipv4(), value.checked_shr(all_bits - bits).unwrap_or(0))
}

/// Returns an address of version 6 without the brackets that it has in URLs.
fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_matches_the_entries_that_name_it() {
        for (entry, matching, other) in [
            ("example.org", &["example.org:80", "a.b.example.org:1", "EXAMPLE.org:80"][..], &["nexample.org:80"][..]),
            (".example.org", &["example.org:80", "a.example.org:1"], &["example.com:80"]),
            ("*.example.org", &["example.org:80", "a.example.org:1"], &["nexample.org:80"]),
            ("Example.ORG.", &["example.org:80", "example.org.:80"], &["org:80"]),
            ("*ple.org", &["example.org:80"], &["ple.org.uk:80"]),
            ("10.1.*", &["10.1.2.3:80"], &["10.2.2.3:80"]),
            ("example.org:8080", &["example.org:8080", "a.example.org:8080"], &["example.org:80"]),
            ("10.1.2.3", &["10.1.2.3:80"], &["10.1.2.30:80", "110.1.2.3:80"]),
            ("10.1.2.3:8080", &["10.1.2.3:8080"], &["10.1.2.3:80"]),
            ("10.0.0.0/8", &["10.255.0.1:80"], &["11.0.0.1:80", "10.example.org:80", "[::a00:1]:80"]),
            ("127.0.0.0/8:90", &["127.1.1.1:90"], &["127.1.1.1:80"]),
            ("0.0.0.0/0", &["1.2.3.4:80"], &["[::1]:80", "example.org:80"]),
            ("::1", &["[::1]:80", "::1:80"], &["[::2]:80"]),
            ("[::1]:8080", &["[::1]:8080"], &["[::1]:80"]),
            ("fd00::/8", &["[fdff::1]:80"], &["[fe00::1]:80", "0.0.0.0:80"]),
            ("::/0", &["[::1]:80"], &["1.2.3.4:80"]),
            ("*", &["example.org:80", "[::1]:80"], &[]),
            ("10.0.0.0/33", &[], &["10.0.0.0:80"]),
            ("", &[], &["example.org:80"]),
            ("*:80", &["example.org:80"], &["example.org:81"]),
        ] {
            let no_proxy = NoProxy::parse(["unrelated.invalid", entry]);
            let matches = |server: &&&str| {
                let (host, port) = server.rsplit_once(':').expect("a port");
                no_proxy.matches(host, port.parse().expect("a port"))
            };
            assert_eq!(matching.iter().find(|server| !matches(server)), None, "{entry}");
            assert_eq!(other.iter().find(matches), None, "{entry}");
        }
    }
}
