//! Looks up the addresses of host names.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::unversioned::transport::time::Duration;

/// Looks up names with a timeout, or without one if the operating system allows no more threads.
///
/// The operating system's lookup has no timeout, so a thread must wait for it. ureq's own resolver
/// panics if it cannot start that thread.
#[derive(Debug)]
pub(super) struct NameResolver;

impl Resolver for NameResolver {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        // Without a timeout, ureq starts no thread.
        let without_timeout = NextTimeout { after: Duration::NotHappening, ..timeout };
        let (sender, receiver) = sync_channel(1);
        let (own_uri, own_config) = (uri.clone(), config.clone());
        let lookup = move || {
            let addresses = DefaultResolver::default().resolve(&own_uri, &own_config, without_timeout);
            // The receiver may have stopped waiting.
            _ = sender.send(addresses);
        };
        match std::thread::Builder::new().name("likewise-lookup".to_owned()).spawn(lookup) {
            Ok(_) => match receiver.recv_timeout(*timeout.after) {
                Ok(addresses) => addresses,
                Err(RecvTimeoutError::Timeout) => Err(ureq::Error::Timeout(timeout.reason)),
                Err(RecvTimeoutError::Disconnected) => Err(ureq::Error::HostNotFound),
            },
            Err(_) => DefaultResolver::default().resolve(uri, config, without_timeout),
        }
    }
}
