//! The memory of a model's packed weights: one block, or the file of a converted model.
//!
//! A pass over one short text reads every weight once, 340 MB for MPNet, so it is as fast as memory is. Two things help.
//! All matrices lie in one block in the order in which a pass reads them. And the block asks for huge pages: with pages of
//! 4 KiB the CPU has to look up 83,000 addresses on the way, with 2 MiB 162.
//!
//! A file's pages are small, and several processes share them.

use std::ops::Range;

use memmap2::MmapMut;

use crate::bytes::WeightBytes;
use crate::error::{Error, Result};

/// A cache line, in bytes and in numbers. Every matrix begins at one.
const LINE_BYTES: usize = 64;
const LINE: usize = LINE_BYTES / size_of::<f32>();

/// ArenaLayout in a block that is yet to be reserved, given out one after another.
#[derive(Debug, Default)]
pub(crate) struct ArenaLayout {
    numbers: usize,
}

impl ArenaLayout {
    /// The next place, for so many numbers.
    pub(crate) fn take(&mut self, numbers: usize) -> Range<usize> {
        let start = self.numbers;
        self.numbers += numbers.next_multiple_of(LINE);
        start..start + numbers
    }

    /// Bytes of a block that has all the places.
    pub(crate) fn bytes(&self) -> usize {
        self.numbers * size_of::<f32>()
    }
}

/// Packed weights.
pub(crate) struct WeightArena {
    memory: Backing,
}

enum Backing {
    /// Nothing: an empty block cannot be mapped.
    None,
    Block(MmapMut),
    File(WeightBytes),
}

impl WeightArena {
    /// Reserves a block of zeros.
    ///
    /// # Errors
    /// If the operating system refuses so much memory.
    pub(crate) fn reserve(places: &ArenaLayout) -> Result<Self> {
        let bytes = places.bytes();
        if bytes == 0 {
            return Ok(Self { memory: Backing::None });
        }
        let block = MmapMut::map_anon(bytes).map_err(|source| Error::Memory { bytes, source })?;
        // Where there are none, small pages do as well, only slower.
        #[cfg(target_os = "linux")]
        let _ = block.advise(memmap2::Advice::HugePage);
        Ok(Self { memory: Backing::Block(block) })
    }

    /// The file of a converted model, of which the first bytes are packed weights and what comes before them. ArenaLayout are
    /// counted from its first byte.
    ///
    /// A mapped file is used as it lies. So are bytes in memory, unless they begin where no cache line does: then the first
    /// of them are copied.
    ///
    /// # Errors
    /// If the operating system refuses the memory of a copy.
    pub(crate) fn of_file(file: WeightBytes, first: usize) -> Result<Self> {
        if file.as_slice().as_ptr().addr().is_multiple_of(LINE_BYTES) {
            file.will_be_read(0..first);
            return Ok(Self { memory: Backing::File(file) });
        }
        let mut copy = Self::reserve(&ArenaLayout { numbers: first.div_ceil(size_of::<f32>()) })?;
        if let Backing::Block(block) = &mut copy.memory {
            block[..first].copy_from_slice(&file.as_slice()[..first]);
        }
        Ok(copy)
    }

    fn memory(&self) -> &[u8] {
        match &self.memory {
            Backing::None => &[],
            Backing::Block(block) => block,
            Backing::File(file) => file.as_slice(),
        }
    }

    /// The numbers at a place.
    pub(crate) fn at(&self, place: Range<usize>) -> &[f32] {
        match &self.memory()[bytes(&place)] {
            // Where there is no memory, nothing lies at an address that is no number's.
            [] if matches!(self.memory, Backing::None) => &[],
            bytes => bytemuck::cast_slice(bytes),
        }
    }

    /// The numbers at a place, to write.
    ///
    /// # Panics
    /// If they are a file's.
    pub(crate) fn at_mut(&mut self, place: Range<usize>) -> &mut [f32] {
        match &mut self.memory {
            Backing::Block(block) => bytemuck::cast_slice_mut(&mut block[bytes(&place)]),
            Backing::None if place.is_empty() => &mut [],
            _ => unreachable!("only a block is written to"),
        }
    }

    /// Whether they are used where they lie in a file.
    pub(crate) fn are_a_files(&self) -> bool {
        matches!(self.memory, Backing::File(_))
    }
}

/// A place, in bytes.
fn bytes(place: &Range<usize>) -> Range<usize> {
    place.start * size_of::<f32>()..place.end * size_of::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_disjoint_and_begin_at_cache_lines() {
        let mut places = ArenaLayout::default();
        let taken = [17, 0, 16, 1].map(|numbers| places.take(numbers));
        let mut weights = WeightArena::reserve(&places).expect("memory");
        for (i, place) in taken.iter().enumerate() {
            weights.at_mut(place.clone()).fill(i as f32 + 1.0);
        }
        for (i, place) in taken.iter().enumerate() {
            assert!(weights.at(place.clone()).iter().all(|&x| x == i as f32 + 1.0), "place {i}");
            assert_eq!(weights.at(place.clone()).as_ptr().addr() % 64, 0, "place {i}");
        }
        assert_eq!(weights.memory().len(), 4 * (32 + 16 + 16));
    }

    #[test]
    fn nothing_takes_nothing() {
        let mut places = ArenaLayout::default();
        let place = places.take(0);
        let mut weights = WeightArena::reserve(&places).expect("memory");
        assert!(weights.at_mut(place.clone()).is_empty());
        assert!(weights.at(place).is_empty() && weights.memory().is_empty());
    }

    #[test]
    fn more_than_there_is_is_refused() {
        let mut places = ArenaLayout::default();
        places.take(1 << 60);
        assert!(matches!(WeightArena::reserve(&places), Err(Error::Memory { .. })));
    }
}
