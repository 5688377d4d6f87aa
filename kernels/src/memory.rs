//! Cache lines, and buffers that start at one.

/// Alignment of packed weights, panels and rows, in bytes: the size of a cache line on x86-64.
///
/// A vector load that straddles two lines runs at half the rate.
pub const CACHE_LINE_BYTES: usize = 64;

/// Elements of type f32 in a cache line.
pub const CACHE_LINE_F32S: usize = CACHE_LINE_BYTES / size_of::<f32>();

/// A reusable buffer whose first element starts at a cache line.
///
/// It grows when a longer slice is requested and never shrinks, so one buffer serves many calls
/// without reallocation.
#[derive(Debug)]
pub struct AlignedScratch<T = f32> {
    storage: Vec<T>,
    /// The first element of `storage` that starts at a cache line.
    start: usize,
}

// Not derived: a derived impl would require T: Default, which an empty buffer does not need.
impl<T> Default for AlignedScratch<T> {
    fn default() -> Self {
        Self { storage: Vec::new(), start: 0 }
    }
}

impl<T> AlignedScratch<T> {
    /// Elements in a cache line: the most that alignment can cost.
    const LINE: usize = CACHE_LINE_BYTES / size_of::<T>();

    /// Returns the first `len` elements to read.
    ///
    /// # Panics
    /// If no call of [`Self::slice_mut`] has requested that many elements.
    pub fn slice(&self, len: usize) -> &[T] {
        &self.storage[self.start..][..len]
    }

    /// Returns the number of elements that [`Self::slice_mut`] can return without reallocation.
    pub fn capacity(&self) -> usize {
        self.storage.len().saturating_sub(Self::LINE)
    }
}

impl<T: Copy + Default> AlignedScratch<T> {
    /// Returns the first `len` elements, whose values are unspecified. A buffer that has to grow is
    /// filled with the default.
    pub fn slice_mut(&mut self, len: usize) -> &mut [T] {
        // A Vec may start anywhere: one line more than needed leaves room to start at the next
        // line.
        if self.storage.len() < len + Self::LINE {
            self.storage = vec![T::default(); len + Self::LINE];
            self.start = self.storage.as_ptr().align_offset(CACHE_LINE_BYTES).min(Self::LINE);
        }
        &mut self.storage[self.start..][..len]
    }
}
