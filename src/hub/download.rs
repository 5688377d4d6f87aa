//! One file: from the hub to its place in the cache, whole or not at all.
//!
//! What has come of a content lies in `blobs/<etag>.incomplete`, which one process at a time adds to and the next one
//! continues. It gets its name when its size and hash are those that the hub announced.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::cache_writer::{Layout, failed, make_folder_of};
use super::client::{Answer, Ask, Client, answer, cut};
use super::hash::{Etag, Hasher};
use super::retry::{Failure, Patience};
use super::settings::{Progress, Settings, Tell};
use super::url::{Url, escaped};
use crate::error::{Error, Result};
use crate::model_folder::size_limit;

/// Bytes that are read at a time.
const CHUNK: usize = 128 << 10;

/// The files of one commit.
pub(super) struct Files<'a> {
    pub(super) client: &'a Client,
    pub(super) settings: &'a Settings,
    pub(super) layout: &'a Layout,
    pub(super) id: &'a str,
    pub(super) commit: &'a str,
}

/// What the hub announces of a file.
struct Remote<'a> {
    name: &'a str,
    url: Url,
    etag: Etag,
    size: u64,
}

impl Files<'_> {
    /// Sees to it that a file of the commit is in its place.
    pub(super) fn fetch(&self, name: &str, tell: Tell<'_>) -> Result<()> {
        // A commit's files do not change, but a disk may have lost a part of one.
        let place = self.layout.file(self.commit, name);
        let linked = linked_content(&place);
        if let Some(etag) = linked.as_ref().filter(|_| place.is_file()) {
            if is_content(&place, etag)? {
                return Ok(());
            }
            let blob = self.layout.blob(etag.as_str());
            fs::remove_file(&blob).map_err(failed(&blob, "remove the damaged content"))?;
        }
        let path: Vec<String> = name.split('/').map(escaped).collect();
        let url = self.client.url(&format!("{}/resolve/{}/{}", self.id, self.commit, path.join("/")))?;
        let remote = Patience::new(self.settings).until_done(tell, || self.look(name, &url))?;
        // Where there are no links, files are copies, and only the hub knows what they should be.
        if linked.is_none() && place.is_file() && is_content(&place, &remote.etag)? {
            return Ok(());
        }
        self.content(&remote, tell)?;
        self.layout.place(self.commit, name, remote.etag.as_str())?;
        tell(Progress::Done { name });
        Ok(())
    }

    /// Asks what a file is, as huggingface_hub does (`file_download.py`, `get_hf_file_metadata`).
    fn look<'n>(&self, name: &'n str, url: &Url) -> std::result::Result<Remote<'n>, Failure> {
        let head = self.client.ask(Ask::Head, url)?;
        let found =
            |text: Option<&str>| text.map_or("none".to_owned(), |text| format!("{:?}", self.client.shown(text)));
        let commit = head.anywhere("x-repo-commit");
        if commit.is_none()
            && let Some(location) = head.header("location").filter(|_| head.status >= 300)
        {
            let elsewhere =
                format!("a redirect to {:?}", self.client.shown(location.split('?').next().unwrap_or_default()));
            return Err(answer(url, format!("X-Repo-Commit {}", self.commit), elsewhere).into());
        }
        if commit != Some(self.commit) {
            return Err(answer(url, format!("X-Repo-Commit {}", self.commit), found(commit)).into());
        }
        let etag = head.anywhere("x-linked-etag").or_else(|| head.anywhere("etag"));
        let Some(known) = etag.and_then(Etag::parse) else {
            let expected = "an ETag by which the content can be checked (sha256, or git's sha1)";
            return Err(answer(url, expected, found(etag)).into());
        };
        // That of a redirect is its own.
        let length = head.header("content-length").filter(|_| head.status < 300);
        let size = head.anywhere("x-linked-size").or(length);
        let Some(bytes) = size.and_then(|size| size.trim().parse::<u64>().ok()) else {
            return Err(answer(url, "a size (X-Linked-Size or Content-Length)", found(size)).into());
        };
        // What will not be read need not be fetched.
        let most = size_limit(name);
        if bytes > most {
            return Err(answer(url, format!("at most {most} bytes"), bytes.to_string()).into());
        }
        Ok(Remote { name, url: url.clone(), etag: known, size: bytes })
    }

    /// Sees to it that a content is in the cache.
    fn content(&self, remote: &Remote<'_>, tell: Tell<'_>) -> Result<()> {
        let blob = self.layout.blob(remote.etag.as_str());
        if is_whole(&blob, remote)? {
            return Ok(());
        }
        // Until the end of this function nobody else fetches it.
        let _lock = self.lock(remote, tell)?;
        if is_whole(&blob, remote)? {
            return Ok(());
        }
        make_folder_of(&blob)?;
        let mut partial = Partial::open(self.layout.incomplete(remote.etag.as_str()), remote)?;
        let mut anew = false;
        while let Err(error) = self.complete(remote, &mut partial, tell) {
            let damaged = matches!(error, Error::HubDamaged { .. });
            if damaged && !anew {
                anew = true;
                tell(Progress::Again { error: &error, pause: std::time::Duration::ZERO });
                partial.restart()?;
            } else if damaged {
                drop(fs::remove_file(&partial.path));
                return Err(error);
            } else {
                // What came is kept for another time.
                return Err(error);
            }
        }
        partial.file.sync_all().map_err(failed(&partial.path, "write"))?;
        fs::rename(&partial.path, &blob).map_err(failed(&blob, "write"))
    }

    fn lock(&self, remote: &Remote<'_>, tell: Tell<'_>) -> Result<File> {
        let path = self.layout.lock(remote.etag.as_str());
        make_folder_of(&path)?;
        let file = OpenOptions::new().append(true).create(true).open(&path).map_err(failed(&path, "open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                tell(Progress::Locked { name: remote.name });
                file.lock().map_err(failed(&path, "lock"))?;
            }
            Err(TryLockError::Error(source)) => return Err(failed(&path, "lock")(source)),
        }
        Ok(file)
    }

    /// Fetches what is lacking, and compares all of it with what was announced.
    fn complete(&self, remote: &Remote<'_>, partial: &mut Partial, tell: Tell<'_>) -> Result<()> {
        let Remote { name, size, .. } = *remote;
        tell(Progress::File { name, size, have: partial.len });
        let mut patience = Patience::new(self.settings);
        let mut furthest = partial.len;
        while partial.len < size {
            let received = self.receive(remote, partial, &mut |have| {
                tell(Progress::File { name, size, have });
                // One who begins again and again, and never gets further, makes no progress.
                if have > furthest {
                    furthest = have;
                    patience.progressed();
                }
            });
            if let Err(failure) = received {
                patience.wait(failure, tell)?;
            }
        }
        let found = partial.hasher.clone().finish();
        if found == remote.etag.as_str() {
            return Ok(());
        }
        Err(damaged(remote, remote.etag.kind(), remote.etag.as_str(), found))
    }

    /// Asks for what is lacking, once.
    fn receive(
        &self,
        remote: &Remote<'_>,
        partial: &mut Partial,
        have: &mut dyn FnMut(u64),
    ) -> std::result::Result<(), Failure> {
        let from = partial.len;
        let answer = self.client.ask(Ask::Get { from }, &remote.url).map_err(|failure| match failure.error {
            // It has fewer bytes than it announced.
            Error::HubRefused { status: 416, .. } => {
                damaged(remote, "size", remote.size, format!("at most {from}")).into()
            }
            _ => failure,
        })?;
        if begins_anew(&answer, remote, from, &self.client.shown(answer.header("content-range").unwrap_or("none")))? {
            partial.restart()?;
            have(0);
        }
        if let Some(length) = answer.header("content-length").and_then(|length| length.parse::<u64>().ok())
            && partial.len.checked_add(length) != Some(remote.size)
        {
            return Err(damaged(remote, "size", remote.size, format!("{} and {length} more", partial.len)).into());
        }
        let mut body = answer.body.into_reader();
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = body.read(&mut chunk).map_err(|source| cut(&remote.url, source))?;
            if read == 0 {
                break;
            }
            if read as u64 > remote.size - partial.len {
                return Err(damaged(remote, "size", remote.size, "more").into());
            }
            partial.write(&chunk[..read])?;
            have(partial.len);
        }
        if partial.len < remote.size {
            return Err(cut(&remote.url, std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }
}

/// Whether an answer has all of a content, and not what comes after the first `from` bytes, as it was asked for.
fn begins_anew(got: &Answer, remote: &Remote<'_>, from: u64, range: &str) -> Result<bool> {
    match (got.status, content_range(range)) {
        (200, _) => Ok(from > 0),
        (206, Some((first, last, size))) if from > 0 && (first, last) == (from, size - 1) => {
            if size != remote.size {
                return Err(damaged(remote, "size", remote.size, size));
            }
            Ok(false)
        }
        (206, _) => Err(answer(&remote.url, format!("Content-Range from {from} to the end"), range)),
        (status, _) => Err(answer(&remote.url, "status 200 or 206", status.to_string())),
    }
}

/// First byte, last byte and size of `bytes 5-9/10`.
fn content_range(header: &str) -> Option<(u64, u64, u64)> {
    let number = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let (range, size) = header.trim().strip_prefix("bytes ")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size) = (number(first)?, number(last)?, number(size)?);
    (first <= last && last < size).then_some((first, last, size))
}

fn damaged(remote: &Remote<'_>, what: &'static str, expected: impl ToString, found: impl ToString) -> Error {
    let (expected, found) = (expected.to_string(), found.to_string());
    Error::HubDamaged { url: remote.url.shown(), what, expected, found }
}

/// Whether a content is there. Nothing gets this name before it is checked, but a disk may have lost a part of it since.
fn is_whole(blob: &Path, remote: &Remote<'_>) -> Result<bool> {
    let found = fs::metadata(blob).is_ok_and(|found| found.is_file() && found.len() == remote.size);
    Ok(found && is_content(blob, &remote.etag)?)
}

/// The content that a file of a snapshot links to, by its name. None if it is no such link.
fn linked_content(place: &Path) -> Option<Etag> {
    let target = fs::read_link(place).ok()?;
    let name = target.file_name()?.to_str()?;
    Etag::parse(name).filter(|etag| etag.as_str() == name)
}

/// Whether a file has this content.
fn is_content(path: &Path, etag: &Etag) -> Result<bool> {
    let mut file = File::open(path).map_err(failed(path, "read"))?;
    let mut hasher = etag.hasher(file.metadata().map_err(failed(path, "read"))?.len());
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk).map_err(failed(path, "read"))? {
            0 => return Ok(hasher.finish() == etag.as_str()),
            read => hasher.update(&chunk[..read]),
        }
    }
}

/// What has come of a content.
struct Partial {
    file: File,
    path: PathBuf,
    etag: Etag,
    size: u64,
    /// Bytes that have come.
    len: u64,
    /// Of these.
    hasher: Hasher,
}

impl Partial {
    /// Reads what an earlier attempt left.
    fn open(path: PathBuf, remote: &Remote<'_>) -> Result<Self> {
        // A pipe would be waited for, and a link might lead to a file of somebody else.
        if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            fs::remove_file(&path).map_err(failed(&path, "remove"))?;
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed(&path, "open"))?;
        let hasher = remote.etag.hasher(remote.size);
        let mut partial = Self { file, path, etag: remote.etag.clone(), size: remote.size, len: 0, hasher };
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = partial.file.read(&mut chunk).map_err(failed(&partial.path, "read"))?;
            if read == 0 {
                return Ok(partial);
            }
            partial.len += read as u64;
            if partial.len > partial.size {
                partial.restart()?;
                return Ok(partial);
            }
            partial.hasher.update(&chunk[..read]);
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(failed(&self.path, "write"))?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Throws away what has come.
    fn restart(&mut self) -> Result<()> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(failed(&self.path, "write"))?;
        self.len = 0;
        self.hasher = self.etag.hasher(self.size);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_ranges_are_none() {
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
        fn ranges_are_read_as_written(first in any::<u32>(), more in any::<u32>(), after in 1..u64::MAX / 2) {
            let (first, last) = (u64::from(first), u64::from(first) + u64::from(more));
            let size = last + after;
            prop_assert_eq!(content_range(&format!("bytes {first}-{last}/{size}")), Some((first, last, size)));
        }

        #[test]
        fn no_range_panics(text in "\\PC{0,30}|bytes [0-9*/-]{0,45}") {
            if let Some((first, last, size)) = content_range(&text) {
                prop_assert!(first <= last && last < size);
            }
        }
    }
}
