//! Matrices that a team fills, each member its part, and reads in later steps.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use likewise_kernels::memory::AlignedScratch;
use likewise_kernels::view::{MatMut, MatRef, padded_stride};

use super::team::Team;

/// The matrices that a team fills.
pub(crate) trait TeamBuffers: Sync {
    /// Calls [`TeamMatrix::bind`] on each of them.
    fn bind(&mut self, team: u64);
}

/// One thread of a team, and how far it has come.
pub(crate) struct TeamMember<'t> {
    index: usize,
    team: &'t Team,
    /// The number of the present step. All members take the same steps, so they agree on it.
    step: u64,
}

impl<'t> TeamMember<'t> {
    /// Makes a member of a team, before its first step.
    pub(super) fn new(index: usize, team: &'t Team) -> Self {
        Self { index, team, step: 1 }
    }

    /// Runs `work` on this thread, as a team of one.
    pub(crate) fn solo<W: TeamBuffers, R>(workspace: &mut W, work: impl FnOnce(&mut TeamMember<'_>, &W) -> R) -> R {
        let team = Team::new(1);
        workspace.bind(team.id);
        work(&mut TeamMember::new(0, &team), workspace)
    }

    /// Returns the number of members of the team.
    pub(crate) fn team_size(&self) -> usize {
        self.team.size
    }

    /// Runs a step that fills the columns `range` of `out` `[rows, cols]`, each member some of
    /// them: a multiple of `unit`, except at the right edge. `fill` gets the range of columns,
    /// their view `[rows, columns]`, and access to the matrices of earlier steps.
    pub(crate) fn fill_columns<T: Copy>(
        &mut self,
        out: &TeamMatrix<T>,
        range: Range<usize>,
        unit: usize,
        fill: impl FnOnce(Range<usize>, MatMut<'_, T>, &StepReader),
    ) {
        assert!(range.start <= range.end && range.end <= out.cols, "columns {range:?} of {}", out.cols);
        let part = self.part(range.len().div_ceil(unit), unit, range.len());
        let columns = range.start + part.start..range.start + part.end;
        out.claim(self, Split::Columns(unit, range));
        // SAFETY: `claim` has made sure that this step fills `out`, by columns of `range` in parts
        // of `unit`, and that nothing else reads or writes it until the step ends. Members have
        // different indices, so their parts are disjoint; all are among the columns of `out`, by
        // the assertion. `fill` runs within the step, and its view cannot outlive the call.
        let view = unsafe { out.view(0..out.rows, columns.clone()) };
        if !columns.is_empty() {
            fill(columns, view, &self.reader());
        }
        self.finish();
    }

    /// Runs a step that fills `out` `[rows, cols]`, each member some of its rows. `fill` gets the
    /// range of rows and their view `[rows, cols]`.
    pub(crate) fn fill_rows<T: Copy>(
        &mut self,
        out: &TeamMatrix<T>,
        fill: impl FnOnce(Range<usize>, MatMut<'_, T>, &StepReader),
    ) {
        let rows = self.part(out.rows, 1, out.rows);
        out.claim(self, Split::Rows);
        // SAFETY: as in `fill_columns`, with rows for columns.
        let view = unsafe { out.view(rows.clone(), 0..out.cols) };
        if !rows.is_empty() {
            fill(rows, view, &self.reader());
        }
        self.finish();
    }

    /// Runs a step that fills two matrices of as many rows, each member the same rows of both.
    pub(crate) fn fill_rows_of_two<A: Copy, B: Copy>(
        &mut self,
        a: &TeamMatrix<A>,
        b: &TeamMatrix<B>,
        fill: impl FnOnce(Range<usize>, MatMut<'_, A>, MatMut<'_, B>, &StepReader),
    ) {
        // `claim` would not detect one matrix that is claimed twice in the same way.
        assert!(a.rows == b.rows && !std::ptr::addr_eq(a, b), "two matrices of as many rows");
        let rows = self.part(a.rows, 1, a.rows);
        a.claim(self, Split::Rows);
        b.claim(self, Split::Rows);
        // SAFETY: as in `fill_rows`, for each of the two.
        let (of_a, of_b) = unsafe { (a.view(rows.clone(), 0..a.cols), b.view(rows.clone(), 0..b.cols)) };
        if !rows.is_empty() {
            fill(rows, of_a, of_b, &self.reader());
        }
        self.finish();
    }

    /// Runs a step that fills `out` block by block: the rows `offsets[i]..offsets[i + 1]` and
    /// `width` columns each. `fill` gets the indices of the group of rows and of the group of
    /// columns, and the view `[rows of the group, width]`.
    pub(crate) fn fill_blocks(
        &mut self,
        out: &TeamMatrix,
        offsets: &[usize],
        width: usize,
        mut fill: impl FnMut(usize, usize, MatMut<'_>, &StepReader),
    ) {
        let groups = out.cols / width;
        assert!(
            offsets.is_sorted() && offsets.last().is_none_or(|&end| end <= out.rows),
            "groups of rows follow one another"
        );
        out.claim(self, Split::Blocks(width, offsets));
        let blocks = offsets.len().saturating_sub(1) * groups;
        for block in (self.index..blocks).step_by(self.team.size) {
            let rows = block / groups;
            let columns = block % groups;
            // SAFETY: as in `fill_columns`. Each block is taken by one member; blocks are disjoint
            // because the offsets do not decrease and columns are cut at multiples of `width`.
            let view = unsafe { out.view(offsets[rows]..offsets[rows + 1], columns * width..(columns + 1) * width) };
            fill(rows, columns, view, &self.reader());
        }
        self.finish();
    }

    /// Gives `read` access to the matrices of earlier steps. This is not a step: all members may
    /// call it, or one.
    pub(crate) fn with_reader<R>(&self, read: impl FnOnce(&StepReader) -> R) -> R {
        read(&self.reader())
    }

    /// Runs a step that reads the matrices of earlier steps and fills none. The next step may fill
    /// what this one has read.
    pub(crate) fn read_step<R>(&mut self, read: impl FnOnce(&StepReader) -> R) -> R {
        let result = read(&self.reader());
        self.finish();
        result
    }

    /// Returns this member's part of `units` units, as a range that ends at `end` for the last
    /// member.
    fn part(&self, units: usize, unit: usize, end: usize) -> Range<usize> {
        let bound = |index: usize| (index * units / self.team.size * unit).min(end);
        bound(self.index)..bound(self.index + 1)
    }

    fn reader(&self) -> StepReader {
        StepReader { team: self.team.id, step: self.step }
    }

    fn finish(&mut self) {
        self.team.wait();
        self.step += 1;
    }
}

/// Access to matrices that the present step does not fill.
///
/// It is only ever lent to a closure that runs within the step, so nothing that is read through it
/// outlives that.
pub(crate) struct StepReader {
    team: u64,
    step: u64,
}

impl StepReader {
    /// Returns a matrix, to read for the rest of the step.
    ///
    /// # Panics
    /// If the present step fills it, which would be a bug in the forward pass.
    pub(crate) fn read<'a, T: Copy>(&'a self, matrix: &'a TeamMatrix<T>) -> MatRef<'a, T> {
        matrix.note_reader(self);
        // SAFETY: `note_reader` has made sure that no member fills the matrix in this step, and any
        // that tries to will see the record and panic. The view cannot outlive the reader, which
        // does not outlive the step.
        let data = unsafe { std::slice::from_raw_parts(matrix.first, matrix.extent()) };
        MatRef::with_stride(data, matrix.rows, matrix.cols, matrix.stride)
    }
}

/// The way in which a step divides its output among the members.
#[derive(Clone)]
enum Split<'a> {
    Columns(usize, Range<usize>),
    Rows,
    Blocks(usize, &'a [usize]),
}

impl Split<'_> {
    /// Returns a code that differs between ways to split.
    fn code(&self) -> u64 {
        // 31 bits, below the number of the step.
        let short = |code: u64| (code ^ code >> 29) & 0x1fff_ffff;
        match self {
            Self::Columns(unit, range) => {
                let hash = |hash: u64, &bound: &usize| (hash ^ bound as u64).wrapping_mul(0x0000_0100_0000_01b3);
                short([range.start, range.end].iter().fold(*unit as u64, hash)) << 2
            }
            Self::Rows => 1,
            Self::Blocks(width, offsets) => {
                let hash = |hash: u64, &offset: &usize| (hash ^ offset as u64).wrapping_mul(0x0000_0100_0000_01b3);
                short(offsets.iter().fold(*width as u64, hash)) << 2 | 2
            }
        }
    }
}

/// A matrix that a team fills and reads, in different steps: of f32, or of quantized elements in
/// 32-bit words.
///
/// It is to a team what `RefCell` is to one thread. It checks at run time that no step both fills
/// and reads it: a step that does panics. There is one step per matrix product, so the checks cost
/// nothing.
pub(crate) struct TeamMatrix<T = f32> {
    /// The memory, which is accessed through `first` only.
    storage: AlignedScratch<T>,
    first: *mut T,
    rows: usize,
    cols: usize,
    stride: usize,
    /// The team that may use it.
    team: u64,
    /// The last step that filled it, and how: step · 2³² + code.
    filled: AtomicU64,
    /// The last step that read it.
    read: AtomicU64,
}

// SAFETY: the memory is reached through views that `TeamMember` and `StepReader` hand out, which
// are disjoint or read-only in each step (see there), and steps are separated by a barrier that
// orders memory.
unsafe impl<T: Send + Sync> Sync for TeamMatrix<T> {}
// SAFETY: `first` points into `storage`, which moves with it and keeps its address on the heap.
unsafe impl<T: Send + Sync> Send for TeamMatrix<T> {}

impl<T: Copy + Default> TeamMatrix<T> {
    /// Makes a matrix of `cols` columns without rows.
    pub(crate) fn new(cols: usize) -> Self {
        Self {
            storage: AlignedScratch::default(),
            first: NonNull::dangling().as_ptr(),
            rows: 0,
            cols,
            stride: padded_stride(cols),
            team: 0,
            filled: AtomicU64::new(0),
            read: AtomicU64::new(0),
        }
    }

    /// Sets the number of rows, whose contents are then unspecified.
    pub(crate) fn resize(&mut self, rows: usize) {
        self.first = self.storage.slice_mut(rows * self.stride).as_mut_ptr();
        self.rows = rows;
    }
}

impl<T: Copy> TeamMatrix<T> {
    /// Returns the number of rows that fit in the memory.
    pub(crate) fn capacity_rows(&self) -> usize {
        self.storage.capacity() / self.stride.max(1)
    }

    /// Returns the elements of a row.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Returns the bytes of a row, with its padding.
    pub(crate) fn row_bytes(&self) -> usize {
        self.stride * size_of::<T>()
    }

    /// Lets a team use it. Exclusive access proves that no other team does.
    pub(crate) fn bind(&mut self, team: u64) {
        self.team = team;
        self.filled = AtomicU64::new(0);
        self.read = AtomicU64::new(0);
    }

    /// Returns the number of elements from the first of the first row to the last of the last row,
    /// with the gaps between rows.
    fn extent(&self) -> usize {
        if self.rows == 0 { 0 } else { (self.rows - 1) * self.stride + self.cols }
    }

    /// Records that the present step fills this matrix, split in one way by all members.
    fn claim(&self, member: &TeamMember<'_>, split: Split<'_>) {
        assert_eq!(self.team, member.team.id, "a matrix of another team");
        let note = member.step << 32 | split.code();
        let before = self.filled.swap(note, Ordering::SeqCst);
        assert!(before >> 32 < member.step || before == note, "a step fills a matrix in two ways");
        assert!(self.read.load(Ordering::SeqCst) < member.step, "a step fills a matrix that it reads");
    }

    /// Records that the present step reads this matrix.
    fn note_reader(&self, reader: &StepReader) {
        assert_eq!(self.team, reader.team, "a matrix of another team");
        self.read.store(reader.step, Ordering::SeqCst);
        assert!(self.filled.load(Ordering::SeqCst) >> 32 < reader.step, "a step reads a matrix that it fills");
    }

    /// Returns some rows and columns, to write.
    ///
    /// # Safety
    /// Until the view is dropped, nothing else may reach these rows and columns.
    unsafe fn view(&self, rows: Range<usize>, columns: Range<usize>) -> MatMut<'_, T> {
        assert!(rows.end <= self.rows && columns.end <= self.cols, "a part of the matrix");
        let skip = if rows.is_empty() { 0 } else { rows.start * self.stride + columns.start };
        // SAFETY: `storage` holds `rows` rows of `stride` initialised elements from `first` on, and
        // the assertion proves that the part is inside them. Exclusive access is the caller's
        // promise.
        unsafe { MatMut::from_raw(self.first.add(skip), rows.len(), columns.len(), self.stride) }
    }
}
