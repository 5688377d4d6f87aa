//! The zip archive around a state dict: the names of its entries and where their bytes are.
//!
//! `torch.save` stores entries without compression, so that each can be mapped. This reader accepts
//! such archives only. It trusts no number: every offset is compared with the length of the file,
//! both headers of an entry must agree, and no two entries may share a byte.
//!
//! Checksums are not compared. That would read all weights, and `torch.save` can omit them.

use std::collections::BTreeMap;
use std::ops::Range;

use super::problem::{DAMAGED, MAY_RUN_CODE, Problem, Result, SAVE_AGAIN, TORCH_SCRIPT, quoted};

/// More entries than any archive of weights has: there is one for each tensor.
const MAX_ENTRIES: u64 = 100_000;

/// The starts of the records.
const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";

/// The lengths of the records, without the names and extra fields at their ends.
const LOCAL_BYTES: usize = 30;
const CENTRAL_BYTES: usize = 46;
const END_BYTES: usize = 22;
const END_64_BYTES: usize = 56;
const LOCATOR_64_BYTES: usize = 20;

/// The flags that say nothing about how an entry is read: how hard it was compressed, that its
/// sizes follow its bytes, and that its name is in UTF-8.
const HARMLESS_FLAGS: u16 = 0x080e;

/// The entries of an archive, by their names without the folder that all of them are in.
pub(super) struct Archive<'a> {
    entries: BTreeMap<&'a str, Range<usize>>,
}

impl<'a> Archive<'a> {
    /// Reads the names and the ranges of all entries.
    ///
    /// # Errors
    /// If the archive is damaged, compressed or encrypted, or its entries overlap or share a name.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self> {
        let directory = Directory::find(bytes).map_err(|problem| problem.at(|| "the end of the zip archive".into()))?;
        let mut records = Record::all(bytes, &directory)?;
        let entries: Vec<_> = records.iter().map(|record| (record.name, record.range.clone())).collect();
        reject_overlaps(&mut records)?;
        let folder = entries.first().and_then(|(name, _)| name.split_inclusive('/').next()).unwrap_or_default();
        let mut by_name = BTreeMap::new();
        for (name, range) in entries {
            let inner = name.strip_prefix(folder).filter(|inner| !inner.is_empty());
            let Some(inner) = inner else {
                let found = format!("the entry {}", quoted(name));
                return Err(Problem::new(
                    "an archive of torch.save, whose entries are in one folder",
                    found,
                    SAVE_AGAIN,
                )
                .at(|| "the zip archive".into()));
            };
            if by_name.insert(inner, range).is_some() {
                let found = "two entries of that name";
                return Err(Problem::new("one entry", found, DAMAGED).at(|| quoted(name)));
            }
        }
        Ok(Self { entries: by_name })
    }

    /// Returns where the bytes of an entry are.
    pub(super) fn range(&self, name: &str) -> Option<Range<usize>> {
        self.entries.get(name).cloned()
    }

    /// Returns the names of all entries.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.entries.keys().copied()
    }
}

/// The list of entries at the end of an archive.
struct Directory {
    entries: u64,
    range: Range<usize>,
}

impl Directory {
    /// Finds the list by the last record of the archive, which has no comment.
    fn find(bytes: &[u8]) -> Result<Self> {
        let end = bytes.len().checked_sub(END_BYTES).filter(|end| bytes[*end..].starts_with(END));
        let Some(end) = end else {
            let expected = format!("an end record in the last {END_BYTES} bytes");
            return Err(Problem::new(expected, "other bytes", "the file is truncated: download or copy it again"));
        };
        let field = |at: usize| u64::from(read_u16(bytes, end + at));
        let wide = |at: usize| u64::from(read_u32(bytes, end + at));
        let (disks, comment) = ([field(4), field(6)], field(20));
        let narrow = [field(8), field(10), wide(12), wide(16)];
        const LIMITS: [u64; 4] = [u16::MAX as u64, u16::MAX as u64, u32::MAX as u64, u32::MAX as u64];
        let (last, numbers) = match Self::find_64(bytes, end)? {
            Some((last, numbers)) => {
                // Each number is repeated, unless the older record has no space for it.
                let agree = |i: usize| narrow[i] == numbers[i] || narrow[i] == LIMITS[i];
                if !(0..4).all(agree) {
                    return Err(Problem::new("two end records that agree", "other numbers in each", DAMAGED));
                }
                (last, numbers)
            }
            None => (end, narrow),
        };
        let [entries_here, entries, size, offset] = numbers;
        if comment != 0 || disks != [0, 0] || entries_here != entries {
            return Err(Problem::new("an archive in one file", "a part of an archive, or a comment", DAMAGED));
        }
        if offset.checked_add(size) != Some(last as u64) {
            let found = format!("{size} bytes from byte {offset}");
            return Err(Problem::new(format!("a list of entries that ends at byte {last}"), found, DAMAGED));
        }
        if entries > MAX_ENTRIES || entries.saturating_mul(CENTRAL_BYTES as u64) > size {
            let expected = format!("at most {MAX_ENTRIES} entries, as many as the list has");
            return Err(Problem::new(expected, entries.to_string(), DAMAGED));
        }
        Ok(Self { entries, range: offset as usize..last })
    }

    /// Finds the end record with 64-bit numbers, if there is one. Returns where it starts.
    fn find_64(bytes: &[u8], end: usize) -> Result<Option<(usize, [u64; 4])>> {
        let locator = end.checked_sub(LOCATOR_64_BYTES).filter(|at| bytes[*at..].starts_with(LOCATOR_64));
        let Some(locator) = locator else { return Ok(None) };
        let found = read_u64(bytes, locator + 8);
        let record = locator.checked_sub(END_64_BYTES).filter(|at| bytes[*at..].starts_with(END_64));
        let Some(record) = record.filter(|record| found == *record as u64) else {
            let expected = "a 64-bit end record before its locator";
            return Err(Problem::new(expected, format!("a locator for byte {found}"), DAMAGED));
        };
        Ok(Some((record, [24, 32, 40, 48].map(|at| read_u64(bytes, record + at)))))
    }
}

/// An entry of an archive.
struct Record<'a> {
    name: &'a str,
    /// Where its header starts.
    start: usize,
    range: Range<usize>,
}

impl<'a> Record<'a> {
    fn all(bytes: &'a [u8], directory: &Directory) -> Result<Vec<Self>> {
        let mut at = directory.range.start;
        let mut records = Vec::new();
        for i in 0..directory.entries {
            let (record, next) = Self::read(bytes, at, directory)
                .map_err(|problem| problem.at(|| format!("entry {i} of the zip archive")))?;
            records.push(record);
            at = next;
        }
        if at == directory.range.end {
            return Ok(records);
        }
        let found = format!("{} bytes more", directory.range.end - at);
        Err(Problem::new(format!("{} entries", directory.entries), found, DAMAGED).at(|| "the zip archive".into()))
    }

    /// Reads the entry of the list at an offset. Returns where the next one starts.
    fn read(bytes: &'a [u8], at: usize, directory: &Directory) -> Result<(Self, usize)> {
        let list = &bytes[..directory.range.end];
        let cut = || Problem::new("the header of an entry", "the end of the list", DAMAGED);
        if list.len() - at < CENTRAL_BYTES || !list[at..].starts_with(CENTRAL) {
            return Err(cut());
        }
        let [name_bytes, extra_bytes, comment_bytes] =
            [28, 30, 32].map(|field| usize::from(read_u16(list, at + field)));
        let extra_start = at + CENTRAL_BYTES + name_bytes;
        let next = extra_start + extra_bytes + comment_bytes;
        if next > list.len() {
            return Err(cut());
        }
        let name = &list[at + CENTRAL_BYTES..extra_start];
        let Ok(text) = std::str::from_utf8(name) else {
            return Err(Problem::new("a name in UTF-8", "other bytes", DAMAGED));
        };
        let place = |problem: Problem| problem.at(|| quoted(text));
        let flags = read_u16(list, at + 8);
        let method = read_u16(list, at + 10);
        // TorchScript compresses its code, but that is not the reason why it cannot be read.
        if method != 0 && text.contains("/code/") {
            return Err(place(Problem::new("a dict of tensors", TORCH_SCRIPT, MAY_RUN_CODE)));
        }
        reject_encoding(flags, method).map_err(place)?;
        let narrow = [24, 20, 42].map(|field| read_u32(list, at + field));
        let [size, stored_size, start] = widen(narrow, &list[extra_start..extra_start + extra_bytes]).map_err(place)?;
        if size != stored_size {
            let found = format!("{stored_size} for {size} bytes");
            return Err(place(Problem::new("as many bytes stored as the entry has", found, DAMAGED)));
        }
        let range = local_range(bytes, start, size, name, flags, directory.range.start).map_err(place)?;
        Ok((Self { name: text, start: start as usize, range }, next))
    }
}

/// Rejects an entry that is compressed or encrypted.
fn reject_encoding(flags: u16, method: u16) -> Result<()> {
    const ENCRYPTED: u16 = 1;
    let found = if method != 0 {
        format!("a compressed entry (method {method})")
    } else if flags & ENCRYPTED != 0 {
        "an encrypted entry".to_owned()
    } else if flags & !HARMLESS_FLAGS != 0 {
        format!("an entry with the flags {flags:#06x}")
    } else {
        return Ok(());
    };
    Err(Problem::new("an entry without compression and encryption, as torch.save writes it", found, SAVE_AGAIN))
}

/// Replaces the numbers that have no space in 32 bits by those of the 64-bit extra field.
fn widen(narrow: [u32; 3], mut extra: &[u8]) -> Result<[u64; 3]> {
    const ID_64: u16 = 1;
    const HEADER_BYTES: usize = 4;
    let mut wide = narrow.map(u64::from);
    if narrow.iter().all(|number| *number != u32::MAX) {
        return Ok(wide);
    }
    while extra.len() >= HEADER_BYTES {
        let (id, length) = (read_u16(extra, 0), usize::from(read_u16(extra, 2)));
        let Some(field) = extra.get(HEADER_BYTES..HEADER_BYTES + length) else { break };
        if id == ID_64 {
            let mut numbers = field.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
            let filled = wide.iter_mut().filter(|number| **number == u64::from(u32::MAX)).all(|number| {
                let next = numbers.next();
                *number = next.unwrap_or(*number);
                next.is_some()
            });
            if filled {
                return Ok(wide);
            }
            break;
        }
        extra = &extra[HEADER_BYTES + length..];
    }
    Err(Problem::new("64-bit sizes and offsets in the extra field", "too few of them", DAMAGED))
}

/// Returns where the bytes of an entry are, from the header before them. `end`: where the list of
/// entries starts.
fn local_range(bytes: &[u8], start: u64, size: u64, name: &[u8], flags: u16, end: usize) -> Result<Range<usize>> {
    let outside = || {
        let found = format!("{size} bytes after the header at byte {start}");
        Problem::new(format!("an entry before byte {end}"), found, DAMAGED)
    };
    let body = &bytes[..end];
    let header = usize::try_from(start).ok().filter(|start| *start <= end && end - start >= LOCAL_BYTES);
    let header = header.ok_or_else(outside)?;
    let [name_bytes, extra_bytes] = [26, 28].map(|field| usize::from(read_u16(body, header + field)));
    let name_start = header + LOCAL_BYTES;
    let is_same = body[header..].starts_with(LOCAL)
        && (read_u16(body, header + 6), read_u16(body, header + 8)) == (flags, 0)
        && body.get(name_start..name_start + name_bytes) == Some(name);
    // The sizes are zero if they follow the bytes, and at their limit if they have 64 bits.
    let repeats = |field: usize| [0, size, u32::MAX.into()].contains(&u64::from(read_u32(body, header + field)));
    if !is_same || !repeats(18) || !repeats(22) {
        return Err(Problem::new("the same name and sizes in both headers", "other ones", DAMAGED));
    }
    let data = name_start + name_bytes + extra_bytes;
    let data_end = (data as u64).checked_add(size).filter(|data_end| *data_end <= end as u64).ok_or_else(outside)?;
    Ok(data..data_end as usize)
}

/// Rejects entries that share bytes. Each covers its header and its data.
fn reject_overlaps(records: &mut [Record<'_>]) -> Result<()> {
    records.sort_by_key(|record| record.start);
    match records.windows(2).find(|pair| pair[0].range.end > pair[1].start) {
        Some(pair) => {
            let found = format!("one that starts inside of {}", quoted(pair[0].name));
            Err(Problem::new("entries that share no bytes", found, DAMAGED).at(|| quoted(pair[1].name)))
        }
        None => Ok(()),
    }
}

fn read_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(read(bytes, at))
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(read(bytes, at))
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(read(bytes, at))
}

/// Reads bytes of a record whose length has been checked.
fn read<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}
