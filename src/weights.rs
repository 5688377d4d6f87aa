//! The memory of a model's packed weights: one block.
//!
//! A pass over one short text reads every weight once, 340 MB for MPNet, so it is as fast as memory is. Two things help.
//! All matrices lie in one block in the order in which a pass reads them. And the block asks for huge pages: with pages of
//! 4 KiB the CPU has to look up 83,000 addresses on the way, with 2 MiB 162.

use std::ops::Range;

use memmap2::MmapMut;

use crate::error::{Error, Result};

/// A cache line, in numbers. Every matrix begins at one.
const LINE: usize = 64 / size_of::<f32>();

/// Places in a block that is yet to be reserved, given out one after another.
#[derive(Debug, Default)]
pub(crate) struct Places {
    numbers: usize,
}

impl Places {
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

/// The block.
pub(crate) struct Weights {
    /// None if there is nothing to hold: an empty block cannot be mapped.
    block: Option<MmapMut>,
}

impl Weights {
    /// Reserves a block of zeros.
    ///
    /// # Errors
    /// If the operating system refuses so much memory.
    pub(crate) fn reserve(places: &Places) -> Result<Self> {
        let bytes = places.bytes();
        if bytes == 0 {
            return Ok(Self { block: None });
        }
        let block = MmapMut::map_anon(bytes).map_err(|source| Error::Memory { bytes, source })?;
        // Where there are none, small pages do as well, only slower.
        #[cfg(target_os = "linux")]
        let _ = block.advise(memmap2::Advice::HugePage);
        Ok(Self { block: Some(block) })
    }

    /// The numbers at a place.
    pub(crate) fn at(&self, place: Range<usize>) -> &[f32] {
        &self.block.as_deref().map_or(&[][..], bytemuck::cast_slice)[place]
    }

    /// The numbers at a place, to write.
    pub(crate) fn at_mut(&mut self, place: Range<usize>) -> &mut [f32] {
        &mut self.block.as_deref_mut().map_or(&mut [][..], bytemuck::cast_slice_mut)[place]
    }

    /// Bytes of the block.
    pub(crate) fn bytes(&self) -> usize {
        self.block.as_deref().map_or(0, <[u8]>::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_disjoint_and_begin_at_cache_lines() {
        let mut places = Places::default();
        let taken = [17, 0, 16, 1].map(|numbers| places.take(numbers));
        let mut weights = Weights::reserve(&places).expect("memory");
        for (i, place) in taken.iter().enumerate() {
            weights.at_mut(place.clone()).fill(i as f32 + 1.0);
        }
        for (i, place) in taken.iter().enumerate() {
            assert!(weights.at(place.clone()).iter().all(|&x| x == i as f32 + 1.0), "place {i}");
            assert_eq!(weights.at(place.clone()).as_ptr().addr() % 64, 0, "place {i}");
        }
        assert_eq!(weights.bytes(), 4 * (32 + 16 + 16));
    }

    #[test]
    fn nothing_takes_nothing() {
        let mut places = Places::default();
        let place = places.take(0);
        let weights = Weights::reserve(&places).expect("memory");
        assert!(weights.at(place).is_empty() && weights.bytes() == 0);
    }

    #[test]
    fn more_than_there_is_is_refused() {
        let mut places = Places::default();
        places.take(1 << 60);
        assert!(matches!(Weights::reserve(&places), Err(Error::Memory { .. })));
    }
}
