//! The bytes of a weight file: mapped, or in memory.

use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;

/// The bytes of a weight file.
#[derive(Clone)]
pub(crate) enum WeightBytes {
    Mapped(Arc<Mmap>),
    Memory(Arc<Cow<'static, [u8]>>),
}

impl WeightBytes {
    /// Maps a file.
    pub(crate) fn map(file: &File) -> std::io::Result<Self> {
        // SAFETY: the map is read-only and is read as bytes, for which every value is valid. That
        // the file is not changed or cut short in place while it is mapped cannot be checked: it is
        // a condition that the documentation of every function that opens a folder states, with the
        // way around it.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self::Mapped(Arc::new(map)))
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Memory(bytes) => bytes,
        }
    }

    /// Bytes that the process holds, which are none of a mapped file's.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        match self {
            Self::Mapped(_) => 0,
            Self::Memory(bytes) => bytes.len(),
        }
    }

    /// Advises the operating system to read a range ahead.
    pub(crate) fn advise_will_need(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self {
            // Advice only: if it is refused, each page is read when it is touched.
            drop(map.advise_range(memmap2::Advice::WillNeed, range.start, range.len()));
        }
        #[cfg(not(unix))]
        drop(range);
    }

    /// Lets the operating system take back the memory of a range, which will not be needed again
    /// soon.
    pub(crate) fn evict_pages(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self {
            // Only whole pages can be given back. Those at the ends may hold parts of other
            // tensors, which is fine: they are read from the file again when they are touched.
            //
            // SAFETY: MADV_DONTNEED drops changes to private pages; this map is read-only and has
            // none, so the bytes stay what they are in the file.
            let advised =
                unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
            // Advice only: if it is refused, memory is used for longer, and nothing else changes.
            drop(advised);
        }
        #[cfg(not(unix))]
        drop(range);
    }
}
