//! The packed weights of a model: one block of memory, or the file of a converted model.
//!
//! A pass over one short text reads every weight once, 340 MB for MPNet, so memory bandwidth limits
//! its speed. Two things help. All matrices are in one block, in the order in which a pass reads
//! them. And the block requests huge pages. A pass then needs 162 address translations instead of
//! 83,000.
//!
//! A file's pages are small, and several processes share them.

use std::ops::Range;

use likewise_kernels::memory::{CACHE_LINE_BYTES, CACHE_LINE_F32S};

use crate::bytes::WeightBytes;
use crate::error::{Error, Result};

/// One packed matrix of an arena.
#[derive(Clone, Debug)]
pub(crate) struct MatrixSlot {
    /// The range of 32-bit words, each an f32, two bf16 or four bytes.
    pub(crate) packed: Range<usize>,
    /// In int8: the scales and sums of its outputs. Otherwise empty.
    pub(crate) outputs: Range<usize>,
}

/// The packed matrices of a model.
pub(crate) struct WeightArena {
    backing: Backing,
    /// In int8: the scale of each output's weights, and their sum.
    scales: Vec<f32>,
    sums: Vec<i32>,
}

/// A packed matrix.
#[derive(Clone, Copy)]
pub(crate) struct PackedWeights<'a> {
    /// 32-bit words: an f32, two bf16 or four bytes each.
    pub(crate) packed: &'a [f32],
    /// In int8 the scale of each output's weights `[N]`, otherwise empty.
    pub(crate) scales: &'a [f32],
    /// In int8 the sum of each output's weights `[N]`, otherwise empty.
    pub(crate) sums: &'a [i32],
}

/// Slots of a block that is not yet allocated, assigned one after another.
#[derive(Debug, Default)]
pub(crate) struct ArenaLayout {
    elements: usize,
}

impl ArenaLayout {
    /// Assigns the next slot, of so many 32-bit elements. It starts at a cache line.
    pub(crate) fn take(&mut self, elements: usize) -> Range<usize> {
        let start = self.elements;
        self.elements += elements.next_multiple_of(CACHE_LINE_F32S);
        start..start + elements
    }
}

impl WeightArena {
    pub(crate) fn new(backing: Backing, scales: Vec<f32>, sums: Vec<i32>) -> Self {
        Self { backing, scales, sums }
    }

    /// Returns the matrix of a slot.
    pub(crate) fn matrix(&self, slot: &MatrixSlot) -> PackedWeights<'_> {
        PackedWeights {
            packed: self.backing.slice(slot.packed.clone()),
            scales: &self.scales[slot.outputs.clone()],
            sums: &self.sums[slot.outputs.clone()],
        }
    }
}

/// The memory of an arena.
pub(crate) enum Backing {
    /// No elements: an empty block cannot be mapped.
    Empty,
    Block(MemoryBlock),
    File(WeightBytes),
}

impl Backing {
    /// Allocates a block of zeros.
    ///
    /// # Errors
    /// If the operating system refuses so much memory.
    pub(crate) fn allocate(layout: &ArenaLayout) -> Result<Self> {
        let bytes = layout.elements * size_of::<f32>();
        if bytes == 0 {
            return Ok(Self::Empty);
        }
        MemoryBlock::zeroed(bytes).map(Self::Block).map_err(|source| Error::Memory { bytes, source })
    }

    /// Uses the file of a converted model, whose packed matrices end before byte `end`. Slots are
    /// counted from the file's first byte.
    ///
    /// A mapped file is used in place. So are bytes in memory if they start at a cache line;
    /// otherwise the first `end` of them are copied.
    ///
    /// # Errors
    /// If the operating system refuses the memory of a copy.
    pub(crate) fn of_file(file: WeightBytes, end: usize) -> Result<Self> {
        if file.as_slice().as_ptr().addr().is_multiple_of(CACHE_LINE_BYTES) {
            file.advise_will_need(0..end);
            return Ok(Self::File(file));
        }
        let mut copy = Self::allocate(&ArenaLayout { elements: end.div_ceil(size_of::<f32>()) })?;
        if let Self::Block(block) = &mut copy {
            block.as_mut_bytes()[..end].copy_from_slice(&file.as_slice()[..end]);
        }
        Ok(copy)
    }

    fn slice(&self, packed: Range<usize>) -> &[f32] {
        let memory = match self {
            // An empty slice of bytes may have an address that is not a multiple of four.
            Self::Empty => return &[],
            Self::Block(block) => block.as_bytes(),
            Self::File(file) => file.as_slice(),
        };
        bytemuck::cast_slice(&memory[in_bytes(&packed)])
    }

    /// Returns the elements of a slot, to fill.
    ///
    /// # Panics
    /// If they are a file's.
    pub(crate) fn slice_mut(&mut self, packed: Range<usize>) -> &mut [f32] {
        match self {
            Self::Block(block) => bytemuck::cast_slice_mut(&mut block.as_mut_bytes()[in_bytes(&packed)]),
            Self::Empty if packed.is_empty() => &mut [],
            Self::Empty | Self::File(_) => unreachable!("only a block is filled"),
        }
    }

    /// Returns whether the elements are used in place in a file.
    pub(crate) fn is_file_backed(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

fn in_bytes(packed: &Range<usize>) -> Range<usize> {
    packed.start * size_of::<f32>()..packed.end * size_of::<f32>()
}

#[cfg(any(unix, windows))]
pub(crate) use mapped::MemoryBlock;
#[cfg(not(any(unix, windows)))]
pub(crate) use on_heap::MemoryBlock;

#[cfg(any(unix, windows))]
mod mapped {
    use memmap2::MmapMut;

    /// Zeros from the operating system, which takes memory for a page when it is first touched.
    pub(crate) struct MemoryBlock(MmapMut);

    impl MemoryBlock {
        pub(super) fn zeroed(bytes: usize) -> std::io::Result<Self> {
            let block = MmapMut::map_anon(bytes)?;
            // Advice only: without huge pages the block works, and is slower to read.
            #[cfg(target_os = "linux")]
            drop(block.advise(memmap2::Advice::HugePage));
            Ok(Self(block))
        }

        pub(super) fn as_bytes(&self) -> &[u8] {
            &self.0
        }

        pub(super) fn as_mut_bytes(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }
}

/// For systems without memory maps, such as WebAssembly.
#[cfg(any(test, not(any(unix, windows))))]
mod on_heap {
    use std::io;

    use super::CACHE_LINE_BYTES;

    /// Zeros from the allocator.
    pub(crate) struct MemoryBlock {
        storage: Vec<u8>,
        start: usize,
        bytes: usize,
    }

    impl MemoryBlock {
        pub(super) fn zeroed(bytes: usize) -> io::Result<Self> {
            let mut storage = Vec::new();
            // Spare bytes, so that the block can start at a cache line.
            let total = bytes.saturating_add(CACHE_LINE_BYTES);
            storage.try_reserve_exact(total).map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error))?;
            storage.resize(total, 0);
            let start = storage.as_ptr().align_offset(CACHE_LINE_BYTES).min(CACHE_LINE_BYTES);
            Ok(Self { storage, start, bytes })
        }

        pub(super) fn as_bytes(&self) -> &[u8] {
            &self.storage[self.start..][..self.bytes]
        }

        pub(super) fn as_mut_bytes(&mut self) -> &mut [u8] {
            &mut self.storage[self.start..][..self.bytes]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arena_slots_are_disjoint_and_start_at_cache_lines() {
        let mut layout = ArenaLayout::default();
        let slots = [17, 0, 16, 1].map(|elements| layout.take(elements));
        let mut backing = Backing::allocate(&layout).expect("memory");
        for (i, slot) in slots.iter().enumerate() {
            backing.slice_mut(slot.clone()).fill(i as f32 + 1.0);
        }
        for (i, slot) in slots.iter().enumerate() {
            let words = backing.slice(slot.clone());
            assert!(words.iter().all(|&x| x == i as f32 + 1.0), "slot {i}");
            assert_eq!(words.as_ptr().addr() % CACHE_LINE_BYTES, 0, "slot {i}");
        }
        assert_eq!(layout.elements, 32 + 16 + 16);
    }

    #[test]
    fn arena_without_words_needs_no_memory() {
        let mut layout = ArenaLayout::default();
        let slot = layout.take(0);
        let mut backing = Backing::allocate(&layout).expect("memory");
        assert!(backing.slice_mut(slot.clone()).is_empty() && backing.slice(slot).is_empty());
        assert!(matches!(backing, Backing::Empty));
    }

    #[test]
    fn arena_larger_than_memory_is_an_error() {
        let mut layout = ArenaLayout::default();
        layout.take(1 << 60);
        assert!(matches!(Backing::allocate(&layout), Err(Error::Memory { .. })));
        assert!(on_heap::MemoryBlock::zeroed(1 << 62).is_err());
    }

    #[test]
    fn heap_block_is_zeroed_and_starts_at_a_cache_line() {
        let mut block = on_heap::MemoryBlock::zeroed(100).expect("memory");
        assert_eq!(block.as_bytes(), [0; 100]);
        assert_eq!(block.as_mut_bytes().as_ptr().addr() % CACHE_LINE_BYTES, 0);
    }
}
