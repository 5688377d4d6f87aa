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
        // SAFETY: the map is read-only and is read as bytes, for which every value is valid. That the file is not changed or
        // cut short in place while it is mapped cannot be checked: it is a condition that the documentation of every
        // function that opens a folder states, with the way around it.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self::Mapped(Arc::new(map)))
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Memory(bytes) => bytes,
        }
    }

    /// Tells the operating system that a range will be read, all of it.
    pub(crate) fn will_be_read(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self {
            // Advice only: if it is refused, pages come one by one.
            drop(map.advise_range(memmap2::Advice::WillNeed, range.start, range.len()));
        }
        #[cfg(not(unix))]
        drop(range);
    }

    /// Tells the operating system that a range will not be needed again soon, so that it need not stay in memory.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self {
            // Only whole pages can be given back; those at the ends may hold parts of other tensors, which is fine: they
            // are read from the file again when they are touched.
            //
            // SAFETY: MADV_DONTNEED drops changes to private pages; this map is read-only and has none, so the bytes stay
            // what they are in the file.
            let advised =
                unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
            // Advice only: if it is refused, memory is used for longer, and nothing else changes.
            drop(advised);
        }
        #[cfg(not(unix))]
        drop(range);
    }
}
