//! The address to listen at.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// The value of `--host`: an IP address, or a name that may have several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Address(IpAddr),
    Name(String),
}

impl Host {
    /// Parses the value of `--host`. An IPv6 address may be in brackets, as in a URL.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = bracketed.map_or_else(|| text.parse().ok(), |text| text.parse().ok().filter(IpAddr::is_ipv6));
        if let Some(address) = address {
            return Ok(Self::Address(address));
        }
        let is_name_character = |c: char| c.is_alphanumeric() || ['.', '-', '_'].contains(&c);
        let scoped = bracketed.unwrap_or(text).split_once('%');
        let is_scoped = scoped.is_some_and(|(address, zone)| {
            address.parse::<std::net::Ipv6Addr>().is_ok() && !zone.is_empty() && zone.chars().all(is_name_character)
        });
        if is_scoped {
            return Ok(Self::Name(bracketed.unwrap_or(text).to_owned()));
        }
        if text.is_empty() || !text.chars().all(is_name_character) {
            return Err("expected an IP address or the name of a host, without a port (--port)".to_owned());
        }
        Ok(Self::Name(text.to_owned()))
    }

    /// Returns the addresses with a port, in the order in which to try them. IPv4 comes first,
    /// because some clients of `localhost` try nothing else.
    ///
    /// # Errors
    /// If the name has no address.
    pub(super) fn addresses(&self, port: u16) -> io::Result<Vec<SocketAddr>> {
        let name = match self {
            Self::Address(address) => return Ok(vec![SocketAddr::new(*address, port)]),
            Self::Name(name) => name,
        };
        let mut addresses: Vec<SocketAddr> = (name.as_str(), port).to_socket_addrs()?.collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        addresses.dedup();
        if addresses.is_empty() { Err(io::Error::other("no address")) } else { Ok(addresses) }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_an_address_with_or_without_brackets_or_a_name() {
        for (text, address) in [
            ("127.0.0.1", "127.0.0.1"),
            ("0.0.0.0", "0.0.0.0"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("::", "::"),
            ("[::]", "::"),
        ] {
            assert_eq!(Host::parse(text), Ok(Host::Address(address.parse().expect("an address"))), "{text}");
        }
        for name in ["localhost", "my-host.example.org", "host_1", "fe80::1%eth0", "[fe80::1%eth0]"] {
            assert!(matches!(Host::parse(name), Ok(Host::Name(_))), "{name}");
        }
        for wrong in
            ["", " ", "localhost:1", "127.0.0.1:80", "[::1]:80", "[127.0.0.1]", "http://a", "[::1", "a/b", "[]", "::1%"]
        {
            assert!(Host::parse(wrong).is_err_and(|error| error.contains("--port")), "{wrong}");
        }
    }

    #[test]
    fn name_with_several_addresses_lists_ipv4_first() {
        let addresses = Host::parse("localhost").and_then(|host| host.addresses(80).map_err(|e| e.to_string()));
        let addresses = addresses.expect("addresses");
        assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 80), "{addresses:?}");
        assert!(addresses.is_sorted_by_key(SocketAddr::is_ipv6), "{addresses:?}");
        let scoped = Host::parse("[::1]").and_then(|host| host.addresses(80).map_err(|e| e.to_string()));
        assert_eq!(scoped, Ok(vec!["[::1]:80".parse().expect("an address")]));
    }
}
