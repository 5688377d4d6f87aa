//! Matrices as borrowed rows.
//!
//! A view is a pointer, a number of rows and columns, and a stride: the distance from one row to
//! the next, in elements. The stride may exceed the columns, because a view may be some columns of
//! a wider matrix, and because a distance that is a power of two maps all rows to the same few
//! cache sets (see [`padded_stride`]).

use std::marker::PhantomData;

use crate::memory::CACHE_LINE_F32S;

/// Returns the best stride for rows of `cols` elements: each row starts at a cache line, an odd
/// number of lines after the row before.
///
/// A first-level cache has 64 sets of lines. Rows that are 3072 floats (192 lines) apart all map to
/// the same set, and twelve of them do not fit in it; an odd distance visits every set.
pub fn padded_stride(cols: usize) -> usize {
    (cols.div_ceil(CACHE_LINE_F32S) | 1) * CACHE_LINE_F32S
}

/// A matrix to read: `rows` rows of `cols` elements, f32 by default.
#[derive(Debug)]
pub struct MatRef<'a, T = f32> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    stride: usize,
}

// Not derived: a derived impl would require T: Copy, which a borrow does not need.
impl<T> Clone for MatRef<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for MatRef<'_, T> {}

impl<'a, T> MatRef<'a, T> {
    /// Makes a view `[rows, cols]` of rows without gaps between them.
    ///
    /// # Panics
    /// If `data` is shorter than `rows * cols`.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::with_stride(data, rows, cols, cols)
    }

    /// Makes a view `[rows, cols]` of rows that start `stride` elements apart.
    ///
    /// # Panics
    /// If a row is longer than the stride, or the last row ends after `data`.
    pub fn with_stride(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(
            extent(rows, cols, stride) <= data.len(),
            "view: {rows} x {cols} with stride {stride} exceeds {} elements",
            data.len()
        );
        Self { data, rows, cols, stride: row_stride(cols, stride) }
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Returns the distance from one row to the next, in elements.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Returns row i.
    #[inline]
    pub fn row(&self, i: usize) -> &'a [T] {
        assert!(i < self.rows, "view: row {i} of {}", self.rows);
        &self.data[i * self.stride..][..self.cols]
    }

    /// Returns the view of the rows `range`.
    #[inline]
    pub fn rows_in(self, range: std::ops::Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.rows, "view: rows {range:?} of {}", self.rows);
        let start = (range.start * self.stride).min(self.data.len());
        Self { data: &self.data[start..], rows: range.len(), ..self }
    }

    /// Returns the view of the columns `range`.
    #[inline]
    pub fn cols_in(self, range: std::ops::Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.cols, "view: columns {range:?} of {}", self.cols);
        let start = range.start.min(self.data.len());
        Self { data: &self.data[start..], cols: range.len(), ..self }
    }

    /// Returns the elements from the first row on, which may include rows and columns outside the
    /// view.
    pub(crate) fn data(&self) -> &'a [T] {
        self.data
    }
}

/// A matrix to write.
///
/// It is a pointer and not a slice because two views may hold different columns of the same rows.
#[derive(Debug)]
pub struct MatMut<'a, T = f32> {
    first: *mut T,
    rows: usize,
    cols: usize,
    stride: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: a view is an exclusive borrow of its elements, as `&mut [T]` is, which may be sent
// between threads if T may.
unsafe impl<T: Send> Send for MatMut<'_, T> {}

impl<'a, T> MatMut<'a, T> {
    /// Makes a view `[rows, cols]` of rows without gaps between them.
    ///
    /// # Panics
    /// If `data` is shorter than `rows * cols`.
    pub fn new(data: &'a mut [T], rows: usize, cols: usize) -> Self {
        Self::with_stride(data, rows, cols, cols)
    }

    /// Makes a view `[rows, cols]` of rows that start `stride` elements apart.
    ///
    /// # Panics
    /// If a row is longer than the stride, or the last row ends after `data`.
    pub fn with_stride(data: &'a mut [T], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(
            extent(rows, cols, stride) <= data.len(),
            "view: {rows} x {cols} with stride {stride} exceeds {} elements",
            data.len()
        );
        Self { first: data.as_mut_ptr(), rows, cols, stride: row_stride(cols, stride), owner: PhantomData }
    }

    /// Makes a view `[rows, cols]` from a pointer.
    ///
    /// # Safety
    /// `first` is the start of `rows` runs of `cols` elements each, `stride` elements apart. During
    /// all of `'a` each run must be valid for reading and writing, initialized, and accessed by
    /// nothing else. `cols` must not exceed `stride`.
    pub unsafe fn from_raw(first: *mut T, rows: usize, cols: usize, stride: usize) -> Self {
        Self { first, rows, cols, stride, owner: PhantomData }
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Returns the distance from one row to the next, in elements.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Returns row i, to read.
    #[inline]
    pub fn row(&self, i: usize) -> &[T] {
        assert!(i < self.rows, "view: row {i} of {}", self.rows);
        // SAFETY: row i is part of the memory that this view borrows exclusively, and the result
        // borrows `self`.
        unsafe { std::slice::from_raw_parts(self.first.add(i * self.stride), self.cols) }
    }

    /// Returns row i, to write.
    #[inline]
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows, "view: row {i} of {}", self.rows);
        // SAFETY: row i is part of the memory that this view borrows exclusively, and the result
        // borrows `self`.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(i * self.stride), self.cols) }
    }

    /// Returns the same view for a shorter lifetime.
    #[inline]
    pub fn reborrow(&mut self) -> MatMut<'_, T> {
        MatMut { owner: PhantomData, ..*self }
    }

    /// Returns the view of the rows `range`, which borrows this view.
    #[inline]
    pub fn rows_in(&mut self, range: std::ops::Range<usize>) -> MatMut<'_, T> {
        assert!(range.start <= range.end && range.end <= self.rows, "view: rows {range:?} of {}", self.rows);
        let skip = if range.is_empty() { 0 } else { range.start * self.stride };
        // SAFETY: the first row of a non-empty range is a row of this view; an empty range adds
        // nothing to the pointer.
        let first = unsafe { self.first.add(skip) };
        MatMut { first, rows: range.len(), owner: PhantomData, ..*self }
    }

    /// Returns the view of the columns `range`.
    #[inline]
    pub fn cols_in(self, range: std::ops::Range<usize>) -> MatMut<'a, T> {
        assert!(range.start <= range.end, "view: columns {range:?}");
        self.split_at_col(range.start).1.split_at_col(range.len()).0
    }

    /// Splits the columns before `col` from the others, as two views that may be written at the
    /// same time.
    #[inline]
    pub fn split_at_col(self, col: usize) -> (Self, Self) {
        assert!(col <= self.cols, "view: column {col} of {}", self.cols);
        // SAFETY: `col` is at most the number of columns, so the pointer stays in the first row or
        // one past its end. The two views have different columns, hence different memory.
        let right = unsafe { self.first.add(if self.rows == 0 { 0 } else { col }) };
        (MatMut { cols: col, ..self }, MatMut { first: right, cols: self.cols - col, ..self })
    }

    /// Returns the pointer to the first row.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut T {
        self.first
    }
}

/// Returns the number of elements from the first of the first row to the last of the last row.
fn extent(rows: usize, cols: usize, stride: usize) -> usize {
    assert!(cols <= stride || rows <= 1, "view: rows of {cols} elements overlap with stride {stride}");
    if rows == 0 || cols == 0 {
        return 0;
    }
    let elements = (rows - 1).checked_mul(stride).and_then(|before| before.checked_add(cols));
    // All unsafe code relies on this number: it must not overflow.
    elements.unwrap_or_else(|| panic!("view: {rows} x {cols} with stride {stride}: the number of elements overflows"))
}

/// Returns the stride to use. Rows of width 0 occupy no memory, so their stride is 0.
fn row_stride(cols: usize, stride: usize) -> usize {
    if cols == 0 { 0 } else { stride }
}
