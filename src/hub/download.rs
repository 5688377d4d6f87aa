//! Downloads one file of a commit to the cache, complete or not at all.
//!
//! `blobs/<etag>.incomplete` contains the bytes received so far. One process at a time appends to
//! it, and the next one resumes. The file gets its final name once its size and hash match those
//! that the hub announced.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use super::cache_writer::{CacheWriter, create_parent, io_error};
use super::client::{Client, HttpResponse, RequestKind, interrupted, protocol_error};
use super::hash::Etag;
use super::lock::{lock, unshared_file};
use super::partial_file::{CHUNK_BYTES, PartialFile};
use super::progress::{Progress, ProgressCallback};
use super::retry::{Failure, RetryPolicy};
use super::settings::Settings;
use super::url::{Url, escape};
use crate::error::{Error, Result};
use crate::model_folder::size_limit;

/// Downloads the files of one commit.
pub(super) struct CommitDownloader<'a> {
    pub(super) client: &'a Client,
    pub(super) settings: &'a Settings,
    pub(super) cache: &'a CacheWriter,
    pub(super) id: &'a str,
    pub(super) commit: &'a str,
}

/// The hub's metadata of a file.
struct RemoteFile<'a> {
    name: &'a str,
    url: Url,
    etag: Etag,
    size: u64,
}

impl CommitDownloader<'_> {
    /// Ensures that the cache contains a file of the commit, undamaged.
    pub(super) fn fetch(&self, name: &str, on_progress: ProgressCallback<'_>) -> Result<()> {
        // A commit's files never change, but a disk may damage one.
        let path = self.cache.file(self.commit, name);
        let linked = linked_etag(&path);
        if let Some(etag) = linked.as_ref().filter(|_| path.is_file()) {
            if matches_etag(&path, etag)? {
                return Ok(());
            }
            let blob = self.cache.blob(etag.as_str());
            fs::remove_file(&blob).map_err(io_error(&blob, "remove the damaged content"))?;
        }
        let segments: Vec<String> = name.split('/').map(escape).collect();
        let url = self.client.url(&format!("{}/resolve/{}/{}", self.id, self.commit, segments.join("/")))?;
        let remote = RetryPolicy::new(self.settings).run(on_progress, || self.metadata(name, &url))?;
        // Without symbolic links files are copies, and only the hub knows their hashes.
        if linked.is_none() && path.is_file() && matches_etag(&path, &remote.etag)? {
            return Ok(());
        }
        self.fetch_blob(&remote, on_progress)?;
        self.cache.link_file(self.commit, name, remote.etag.as_str())?;
        on_progress(Progress::Finished { name });
        Ok(())
    }

    /// Requests a file's metadata, as huggingface_hub does (`file_download.py`,
    /// `get_hf_file_metadata`).
    fn metadata<'n>(&self, name: &'n str, url: &Url) -> std::result::Result<RemoteFile<'n>, Failure> {
        let head = self.client.request(RequestKind::Head, url)?;
        self.check_commit(&head, url)?;
        let found = |header: Option<&str>| match header {
            Some(text) => format!("{:?}", self.client.printable(text)),
            None => "none".to_owned(),
        };
        let etag_header = head.any_header("x-linked-etag").or_else(|| head.any_header("etag"));
        let Some(etag) = etag_header.and_then(Etag::parse) else {
            let expected = "an ETag that is a hash of the content (sha256, or git's sha1)";
            return Err(protocol_error(url, expected, found(etag_header)).into());
        };
        // The length of a redirect is that of the redirect's own body.
        let content_length = head.header("content-length").filter(|_| head.status < 300);
        let size_header = head.any_header("x-linked-size").or(content_length);
        let Some(size) = size_header.and_then(|size| size.trim().parse::<u64>().ok()) else {
            let expected = "a size (X-Linked-Size or Content-Length)";
            return Err(protocol_error(url, expected, found(size_header)).into());
        };
        // The loader would reject a larger file, so do not download it.
        let max_bytes = size_limit(name);
        if size > max_bytes {
            return Err(protocol_error(url, format!("at most {max_bytes} bytes"), size.to_string()).into());
        }
        Ok(RemoteFile { name, url: url.clone(), etag, size })
    }

    /// Checks that a response belongs to the commit.
    fn check_commit(&self, head: &HttpResponse, url: &Url) -> Result<()> {
        let commit = head.any_header("x-repo-commit");
        if commit == Some(self.commit) {
            return Ok(());
        }
        let location = head.header("location").filter(|_| head.status >= 300);
        let found = match (commit, location) {
            (Some(commit), _) => format!("{:?}", self.client.printable(commit)),
            (None, Some(location)) => {
                let without_query = location.split('?').next().unwrap_or_default();
                format!("a redirect to {:?}", self.client.printable(without_query))
            }
            (None, None) => "none".to_owned(),
        };
        Err(protocol_error(url, format!("X-Repo-Commit {}", self.commit), found))
    }

    /// Ensures that the cache contains a file's content.
    fn fetch_blob(&self, remote: &RemoteFile<'_>, on_progress: ProgressCallback<'_>) -> Result<()> {
        let blob = self.cache.blob(remote.etag.as_str());
        if is_complete(&blob, remote)? {
            return Ok(());
        }
        let lock_path = self.cache.lock(remote.etag.as_str());
        let lock = lock(&lock_path, || on_progress(Progress::WaitingForLock { name: remote.name }))?;
        // Another process may have downloaded it before this one got the lock.
        if is_complete(&blob, remote)? {
            return Ok(());
        }
        create_parent(&blob)?;
        let incomplete = self.cache.incomplete(remote.etag.as_str());
        let unshared = if lock.is_none() { Some(unshared_file(&incomplete)?) } else { None };
        let path = unshared.as_ref().map_or(incomplete, |path| path.to_path_buf());
        let mut partial = PartialFile::open(path, &remote.etag, remote.size)?;
        let mut has_restarted = false;
        while let Err(error) = self.download(remote, &mut partial, on_progress) {
            let is_corrupt = matches!(error, Error::HubCorruptDownload { .. });
            if is_corrupt && !has_restarted {
                has_restarted = true;
                on_progress(Progress::Retrying { error: &error, delay: Duration::ZERO });
                partial.restart()?;
                continue;
            }
            if is_corrupt {
                partial.remove();
            }
            // Otherwise the received bytes remain, and the next download resumes.
            return Err(error);
        }
        partial.finish(&blob)
    }

    /// Downloads the missing bytes and verifies the hash of the whole file.
    fn download(
        &self,
        remote: &RemoteFile<'_>,
        partial: &mut PartialFile,
        on_progress: ProgressCallback<'_>,
    ) -> Result<()> {
        let RemoteFile { name, size, .. } = *remote;
        on_progress(Progress::Downloading { name, size, received: partial.len() });
        let mut retry = RetryPolicy::new(self.settings);
        let mut max_received = partial.len();
        while partial.len() < size {
            let result = self.receive(remote, partial, &mut |received| {
                on_progress(Progress::Downloading { name, size, received });
                // A server that restarts from 0 again and again makes no progress.
                if received > max_received {
                    max_received = received;
                    retry.reset();
                }
            });
            if let Err(failure) = result {
                retry.wait(failure, on_progress)?;
            }
        }
        let hash = partial.hash();
        if hash == remote.etag.as_str() {
            return Ok(());
        }
        Err(corrupt(remote, remote.etag.hash_name(), remote.etag.as_str(), hash))
    }

    /// Requests the missing bytes once.
    fn receive(
        &self,
        remote: &RemoteFile<'_>,
        partial: &mut PartialFile,
        on_received: &mut dyn FnMut(u64),
    ) -> std::result::Result<(), Failure> {
        let from = partial.len();
        let kind = RequestKind::Get { from };
        let response = self.client.request(kind, &remote.url).map_err(|failure| match failure.error {
            // The file is shorter than announced.
            Error::HubStatus { status: 416, .. } => {
                corrupt(remote, "size", remote.size, format!("at most {from}")).into()
            }
            _ => failure,
        })?;
        let range = self.client.printable(response.header("content-range").unwrap_or("none"));
        if is_whole_file(&response, remote, from, &range)? && from > 0 {
            partial.restart()?;
            on_received(0);
        }
        if let Some(length) = response.header("content-length").and_then(|length| length.parse::<u64>().ok())
            && partial.len().checked_add(length) != Some(remote.size)
        {
            let found = format!("{} and {length} more", partial.len());
            return Err(corrupt(remote, "size", remote.size, found).into());
        }
        append_body(remote, partial, response.body.into_reader(), on_received)
    }
}

/// Appends a response body to a partial file.
fn append_body(
    remote: &RemoteFile<'_>,
    partial: &mut PartialFile,
    mut body: impl Read,
    on_received: &mut dyn FnMut(u64),
) -> std::result::Result<(), Failure> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = body.read(&mut chunk).map_err(|source| interrupted(&remote.url, source))?;
        if read == 0 {
            break;
        }
        if read as u64 > remote.size - partial.len() {
            return Err(corrupt(remote, "size", remote.size, "more").into());
        }
        partial.append(&chunk[..read])?;
        on_received(partial.len());
    }
    if partial.len() < remote.size {
        return Err(interrupted(&remote.url, std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}

/// Whether a response contains the whole file rather than the requested range, which starts at
/// offset `from`.
///
/// # Errors
/// If the response contains another range, or the file has another size.
fn is_whole_file(response: &HttpResponse, remote: &RemoteFile<'_>, from: u64, range: &str) -> Result<bool> {
    match (response.status, content_range(range)) {
        (200, _) => Ok(true),
        (206, Some(ContentRange { first, last, size })) if from > 0 && first == from && last == size - 1 => {
            if size != remote.size {
                return Err(corrupt(remote, "size", remote.size, size));
            }
            Ok(false)
        }
        (206, _) => Err(protocol_error(&remote.url, format!("Content-Range from {from} to the end"), range)),
        (status, _) => Err(protocol_error(&remote.url, "status 200 or 206", status.to_string())),
    }
}

/// A range of a file's bytes.
#[derive(Debug, PartialEq, Eq)]
struct ContentRange {
    first: u64,
    /// The last byte, inclusive.
    last: u64,
    /// The size of the whole file.
    size: u64,
}

/// Parses a Content-Range header such as `bytes 5-9/10`.
fn content_range(header: &str) -> Option<ContentRange> {
    let number = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let (range, size) = header.trim().strip_prefix("bytes ")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let range = ContentRange { first: number(first)?, last: number(last)?, size: number(size)? };
    (range.first <= range.last && range.last < range.size).then_some(range)
}

fn corrupt(remote: &RemoteFile<'_>, what: &'static str, expected: impl ToString, found: impl ToString) -> Error {
    Error::HubCorruptDownload {
        url: remote.url.without_query(),
        what,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// Whether the cache contains a file's content. A blob gets its name only after verification, but a
/// disk may have damaged it since.
fn is_complete(blob: &Path, remote: &RemoteFile<'_>) -> Result<bool> {
    let has_size = fs::metadata(blob).is_ok_and(|found| found.is_file() && found.len() == remote.size);
    Ok(has_size && matches_etag(blob, &remote.etag)?)
}

/// Returns the hash of the blob that a snapshot's file links to. Returns `None` for other files.
fn linked_etag(path: &Path) -> Option<Etag> {
    let target = fs::read_link(path).ok()?;
    let name = target.file_name()?.to_str()?;
    Etag::parse(name).filter(|etag| etag.as_str() == name)
}

/// Whether a file's content has this hash.
fn matches_etag(path: &Path, etag: &Etag) -> Result<bool> {
    let mut file = File::open(path).map_err(io_error(path, "read"))?;
    let mut hasher = etag.hasher(file.metadata().map_err(io_error(path, "read"))?.len());
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk).map_err(io_error(path, "read"))? {
            0 => return Ok(hasher.finish() == etag.as_str()),
            read => hasher.update(&chunk[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn content_range_of_another_form_is_rejected() {
        for text in [
            "",
            "bytes",
            "bytes 1-2/*",
            "bytes */3",
            "bytes 2-1/3",
            "bytes 0-3/3",
            "bytes +1-2/3",
            "items 0-1/2",
            "bytes 0-0/0",
        ] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn content_range_is_parsed_into_its_three_parts(first in any::<u32>(), more in any::<u32>(), after in 1..u64::MAX / 2) {
            let first = u64::from(first);
            let last = first + u64::from(more);
            let size = last + after;
            let expected = ContentRange { first, last, size };
            prop_assert_eq!(content_range(&format!("bytes {first}-{last}/{size}")), Some(expected));
        }

        #[test]
        fn content_range_of_any_text_is_rejected_or_consistent(text in "\\PC{0,30}|bytes [0-9*/-]{0,45}") {
            if let Some(ContentRange { first, last, size }) = content_range(&text) {
                prop_assert!(first <= last && last < size);
            }
        }
    }
}
