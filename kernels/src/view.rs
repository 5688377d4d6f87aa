//! Matrices as borrowed rows.
//!
//! A view is a pointer, a number of rows and columns, and a stride: the distance from one row to the next, in numbers.
//! The stride may exceed the columns, because a view may be some columns of a wider matrix, and because a distance that
//! is a power of two makes all rows fall on the same few cache sets (see [`padded_stride`]).

use std::marker::PhantomData;

/// Where rows of `cols` numbers should start: each at a cache line, and an odd number of lines apart.
///
/// A level-one cache has 64 sets of lines. Rows that are 3072 floats (192 lines) apart all fall in the same set, and
/// twelve of them do not fit in it; an odd distance visits every set.
pub fn padded_stride(cols: usize) -> usize {
    (cols.div_ceil(16) | 1) * 16
}

/// A matrix to read: `rows` rows of `cols` numbers, f32 unless said otherwise.
#[derive(Debug)]
pub struct MatRef<'a, T = f32> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    stride: usize,
}

// Not derived: that would ask for T: Copy, which a borrow does not need.
impl<T> Clone for MatRef<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for MatRef<'_, T> {}

impl<'a, T> MatRef<'a, T> {
    /// Rows that follow one another without a gap.
    ///
    /// # Panics
    /// If `data` is shorter than `rows * cols`.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::with_stride(data, rows, cols, cols)
    }

    /// Rows that start `stride` numbers apart.
    ///
    /// # Panics
    /// If a row is longer than the stride, or the last one ends beyond `data`.
    pub fn with_stride(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(extent(rows, cols, stride) <= data.len(), "{rows} x {cols} by {stride} in {} numbers", data.len());
        Self { data, rows, cols, stride: step(cols, stride) }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Distance from one row to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Row i.
    #[inline]
    pub fn row(&self, i: usize) -> &'a [T] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        &self.data[i * self.stride..][..self.cols]
    }

    /// Some of the rows.
    #[inline]
    pub fn rows_in(self, range: std::ops::Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.rows, "rows {range:?} of {}", self.rows);
        let start = (range.start * self.stride).min(self.data.len());
        Self { data: &self.data[start..], rows: range.len(), ..self }
    }

    /// Some of the columns.
    #[inline]
    pub fn cols_in(self, range: std::ops::Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.cols, "columns {range:?} of {}", self.cols);
        let start = range.start.min(self.data.len());
        Self { data: &self.data[start..], cols: range.len(), ..self }
    }

    /// The numbers from the first row on. Rows and columns beyond those of the view may follow.
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

// SAFETY: a view is an exclusive borrow of its elements, as `&mut [T]` is, which may be sent between threads if T may.
unsafe impl<T: Send> Send for MatMut<'_, T> {}

impl<'a, T> MatMut<'a, T> {
    /// Rows that follow one another without a gap.
    ///
    /// # Panics
    /// If `data` is shorter than `rows * cols`.
    pub fn new(data: &'a mut [T], rows: usize, cols: usize) -> Self {
        Self::with_stride(data, rows, cols, cols)
    }

    /// Rows that start `stride` numbers apart.
    ///
    /// # Panics
    /// If a row is longer than the stride, or the last one ends beyond `data`.
    pub fn with_stride(data: &'a mut [T], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(extent(rows, cols, stride) <= data.len(), "{rows} x {cols} by {stride} in {} numbers", data.len());
        Self { first: data.as_mut_ptr(), rows, cols, stride: step(cols, stride), owner: PhantomData }
    }

    /// A view from its parts.
    ///
    /// # Safety
    /// For all of `'a`, each of the `rows` runs of `cols` values that start `stride` apart from `first` on must be valid for
    /// reading and writing, initialised, and reached by nothing else; `cols` must not exceed `stride`.
    pub unsafe fn from_raw(first: *mut T, rows: usize, cols: usize, stride: usize) -> Self {
        Self { first, rows, cols, stride, owner: PhantomData }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Distance from one row to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Row i, to read.
    #[inline]
    pub fn row(&self, i: usize) -> &[T] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: row i lies in the memory that this view borrows exclusively, and `self` is borrowed with the result.
        unsafe { std::slice::from_raw_parts(self.first.add(i * self.stride), self.cols) }
    }

    /// Row i, to write.
    #[inline]
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: row i lies in the memory that this view borrows exclusively, and `self` is borrowed with the result.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(i * self.stride), self.cols) }
    }

    /// The same view for a shorter time.
    #[inline]
    pub fn reborrow(&mut self) -> MatMut<'_, T> {
        MatMut { owner: PhantomData, ..*self }
    }

    /// Some of the rows, for as long as this view is not used.
    #[inline]
    pub fn rows_in(&mut self, range: std::ops::Range<usize>) -> MatMut<'_, T> {
        assert!(range.start <= range.end && range.end <= self.rows, "rows {range:?} of {}", self.rows);
        let skip = if range.is_empty() { 0 } else { range.start * self.stride };
        // SAFETY: the first row of a range that is not empty is a row of this view.
        let first = unsafe { self.first.add(skip) };
        MatMut { first, rows: range.len(), owner: PhantomData, ..*self }
    }

    /// Some of the columns.
    #[inline]
    pub fn cols_in(self, range: std::ops::Range<usize>) -> MatMut<'a, T> {
        assert!(range.start <= range.end, "columns {range:?}");
        self.split_at_col(range.start).1.split_at_col(range.len()).0
    }

    /// The columns before `col` and those from it on, as two views that may be written at the same time.
    #[inline]
    pub fn split_at_col(self, col: usize) -> (Self, Self) {
        assert!(col <= self.cols, "column {col} of {}", self.cols);
        // SAFETY: `col` is at most the number of columns, so the pointer stays in (or one past) the first row. The two
        // views reach different columns, hence different memory.
        let right = unsafe { self.first.add(if self.rows == 0 { 0 } else { col }) };
        (MatMut { cols: col, ..self }, MatMut { first: right, cols: self.cols - col, ..self })
    }

    /// Where the first row begins.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut T {
        self.first
    }
}

/// Numbers from the first of the first row to the last of the last.
fn extent(rows: usize, cols: usize, stride: usize) -> usize {
    assert!(cols <= stride || rows <= 1, "rows of {cols} that start {stride} apart");
    if rows == 0 || cols == 0 {
        return 0;
    }
    let numbers = (rows - 1).checked_mul(stride).and_then(|before| before.checked_add(cols));
    // Everything unsafe relies on this number: it must not wrap around.
    numbers.unwrap_or_else(|| panic!("{rows} rows of {cols} that start {stride} apart are more than memory holds"))
}

/// The stride, but none between rows without numbers: they take no memory, so there is none to step through.
fn step(cols: usize, stride: usize) -> usize {
    if cols == 0 { 0 } else { stride }
}
