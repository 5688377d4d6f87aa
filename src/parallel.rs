//! Threads. Nothing else in the library starts or uses any.
//!
//! There are two ways to share work.
//!
//! **Many texts**: [`Pool::map`]. Each thread takes the next batch and runs the whole network on it alone. Nothing waits
//! for anything, so this is the fast way.
//!
//! **Few texts**: [`Pool::team`]. All threads run the network on the same batch, as a [`Team`]. Every member executes the
//! same steps; in each step it computes its part of the step's output (some columns of a matmul, some rows, some heads)
//! and then waits until all have done theirs. A pass enters the pool once, not once per step, and waiting is spinning for
//! a moment and then yielding: a pass over a short text has dozens of steps of some ten microseconds, and to put a
//! thread to sleep and wake it costs as much as one of them.
//!
//! The parts never depend on sums that another member holds (the k of a matmul is not split), so how many members there
//! are changes no bit of the result.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, TryLockError};

use likewise_kernels::view::{MatMut, MatRef, padded_stride};

use crate::error::{Error, Result};

/// The threads of one embedder.
pub(crate) struct Pool {
    /// None for a single thread: the caller's own.
    threads: Option<rayon::ThreadPool>,
    /// Held while a team is out. Its members wait for one another, so two teams at once on the same threads could each
    /// hold the thread that the other waits for.
    team: Mutex<()>,
}

impl Pool {
    /// Starts threads.
    pub(crate) fn new(threads: usize) -> Result<Self> {
        let build = |n| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(n)
                .thread_name(|i| format!("likewise-{i}"))
                .build()
                .map_err(|source| Error::Threads { threads, source: Box::new(source) })
        };
        let threads = if threads > 1 { Some(build(threads)?) } else { None };
        Ok(Self { threads, team: Mutex::new(()) })
    }

    /// As many threads as this process may use: the CPUs of its affinity mask, or less if a cgroup limits its CPU time.
    pub(crate) fn default_threads() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// How many threads there are.
    pub(crate) fn size(&self) -> usize {
        self.threads.as_ref().map_or(1, rayon::ThreadPool::current_num_threads)
    }

    /// `task(0)`, `task(1)`, … `task(n - 1)`, each on whichever thread is free, begun in this order.
    pub(crate) fn map<T: Send>(&self, n: usize, task: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let Some(threads) = self.threads.as_ref().filter(|_| n > 1) else { return (0..n).map(task).collect() };
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= n {
                    return done;
                }
                done.push((i, task(i)));
            }
        };
        let mut results: Vec<(usize, T)> = threads.broadcast(|_| work()).into_iter().flatten().collect();
        results.sort_unstable_by_key(|(i, _)| *i);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// Runs `work` once on every thread, as members of one team that fills the workspace together; or by the caller alone
    /// if another team is out, which changes how long it takes and no bit of the result.
    ///
    /// Alone and not later: a caller that is a thread of some pool itself may be taken, while it waits here, for another
    /// task that comes here, and would wait for itself.
    pub(crate) fn team<W: Workspace>(&self, workspace: &mut W, work: impl Fn(&mut Member<'_>, &W) + Sync) {
        let Some(threads) = &self.threads else { return Member::alone(workspace, work) };
        let _one_team = match self.team.try_lock() {
            Ok(guard) => guard,
            // The lock guards nothing that a panic could leave half-done.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Member::alone(workspace, work),
        };
        let team = Team::new(threads.current_num_threads());
        workspace.join(team.id);
        let workspace = &*workspace;
        threads.broadcast(|context| {
            let mut member = Member { index: context.index(), team: &team, step: 1 };
            let guard = PoisonOnPanic(&team);
            work(&mut member, workspace);
            std::mem::forget(guard);
        });
    }
}

/// The matrices that a team fills.
pub(crate) trait Workspace: Sync {
    /// Calls [`Shared::join`] on each of them.
    fn join(&mut self, team: u64);
}

/// Threads that go through the same steps together.
struct Team {
    /// Different for every team of this process.
    id: u64,
    size: usize,
    /// Members that have finished the present step.
    arrived: AtomicUsize,
    /// Counts the steps that all have finished.
    generation: AtomicUsize,
    /// A member has panicked and will not arrive.
    poisoned: AtomicBool,
}

static TEAMS: AtomicU64 = AtomicU64::new(1);

impl Team {
    fn new(size: usize) -> Self {
        Self {
            id: TEAMS.fetch_add(1, Ordering::Relaxed),
            size,
            arrived: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
            poisoned: AtomicBool::new(false),
        }
    }

    /// Returns when all members have called it.
    fn wait(&self) {
        if self.size == 1 {
            return;
        }
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.size {
            self.arrived.store(0, Ordering::Relaxed);
            self.generation.store(generation + 1, Ordering::Release);
            return;
        }
        let mut spins = 0_u32;
        while self.generation.load(Ordering::Acquire) == generation {
            assert!(!self.poisoned.load(Ordering::Relaxed), "another thread of the team panicked");
            spins += 1;
            if spins < 20_000 {
                std::hint::spin_loop();
            } else {
                // The other may need this CPU to get here.
                std::thread::yield_now();
            }
        }
    }
}

/// Tells the others, if this member panics, that it will not arrive.
struct PoisonOnPanic<'a>(&'a Team);

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        self.0.poisoned.store(true, Ordering::Relaxed);
    }
}

/// One thread's place in a team.
pub(crate) struct Member<'t> {
    index: usize,
    team: &'t Team,
    /// The number of the present step. All members take the same steps, so they agree on it.
    step: u64,
}

impl Member<'_> {
    /// Runs `work` on this thread alone, a team of one.
    pub(crate) fn alone<W: Workspace>(workspace: &mut W, work: impl FnOnce(&mut Member<'_>, &W)) {
        let team = Team::new(1);
        workspace.join(team.id);
        work(&mut Member { index: 0, team: &team, step: 1 }, workspace);
    }

    /// Members of the team.
    pub(crate) fn team_size(&self) -> usize {
        self.team.size
    }

    /// A step that fills `out`, each member some of its columns: a multiple of `unit` of them, save at the right edge.
    /// `fill` gets the columns, their view, and access to the matrices of earlier steps.
    pub(crate) fn fill_columns(
        &mut self,
        out: &Shared,
        unit: usize,
        fill: impl FnOnce(Range<usize>, MatMut<'_>, &Reader),
    ) {
        let units = out.cols.div_ceil(unit);
        let columns = self.part(units, unit, out.cols);
        out.claim(self, Split::Columns(unit));
        // SAFETY: `claim` has made sure that this step fills `out`, by columns in parts of `unit`, and that nothing else
        // reads or writes it until the step ends. Members have different indices, so their parts are disjoint. `fill`
        // runs within the step, and its view cannot outlive the call.
        let view = unsafe { out.view(0..out.rows, columns.clone()) };
        if !columns.is_empty() {
            fill(columns, view, &self.reader());
        }
        self.finish();
    }

    /// A step that fills `out`, each member some of its rows.
    pub(crate) fn fill_rows(&mut self, out: &Shared, fill: impl FnOnce(Range<usize>, MatMut<'_>, &Reader)) {
        let rows = self.part(out.rows, 1, out.rows);
        out.claim(self, Split::Rows);
        // SAFETY: as in `fill_columns`, with rows for columns.
        let view = unsafe { out.view(rows.clone(), 0..out.cols) };
        if !rows.is_empty() {
            fill(rows, view, &self.reader());
        }
        self.finish();
    }

    /// A step that fills `out` block by block: the rows `offsets[i]..offsets[i + 1]` and `width` columns each. `fill` gets
    /// the numbers of the group of rows and of the group of columns.
    pub(crate) fn fill_blocks(
        &mut self,
        out: &Shared,
        offsets: &[usize],
        width: usize,
        mut fill: impl FnMut(usize, usize, MatMut<'_>, &Reader),
    ) {
        let groups = out.cols / width;
        assert!(
            offsets.is_sorted() && offsets.last().is_none_or(|&end| end <= out.rows),
            "groups of rows follow one another"
        );
        out.claim(self, Split::Blocks(width, offsets));
        let blocks = offsets.len().saturating_sub(1) * groups;
        for block in (self.index..blocks).step_by(self.team.size) {
            let (rows, columns) = (block / groups, block % groups);
            // SAFETY: as in `fill_columns`. Each block is taken by one member; blocks are disjoint because the offsets do
            // not decrease and columns are cut at multiples of `width`.
            let view = unsafe { out.view(offsets[rows]..offsets[rows + 1], columns * width..(columns + 1) * width) };
            fill(rows, columns, view, &self.reader());
        }
        self.finish();
    }

    /// Looks at the matrices of earlier steps. Not a step: all members may do it, or one.
    pub(crate) fn look(&self, look: impl FnOnce(&Reader)) {
        look(&self.reader());
    }

    /// This member's part of `units` units, as a range of numbers that ends at `end` for the last.
    fn part(&self, units: usize, unit: usize, end: usize) -> Range<usize> {
        let bound = |index: usize| (index * units / self.team.size * unit).min(end);
        bound(self.index)..bound(self.index + 1)
    }

    fn reader(&self) -> Reader {
        Reader { team: self.team.id, step: self.step }
    }

    fn finish(&mut self) {
        self.team.wait();
        self.step += 1;
    }
}

/// Access to matrices that the present step does not fill.
///
/// It is only ever lent to a closure that runs within the step, so nothing that is read through it outlives that.
pub(crate) struct Reader {
    team: u64,
    step: u64,
}

impl Reader {
    /// A matrix, to read for the rest of the step.
    ///
    /// # Panics
    /// If the present step fills it: that would be a mistake in the forward pass.
    pub(crate) fn read<'a>(&'a self, matrix: &'a Shared) -> MatRef<'a> {
        matrix.note_reader(self);
        // SAFETY: `note_reader` has made sure that no member fills the matrix in this step, and any that tries to will see
        // the note and panic. The view cannot outlive the reader, which does not outlive the step.
        let data = unsafe { std::slice::from_raw_parts(matrix.first, matrix.extent()) };
        MatRef::with_stride(data, matrix.rows, matrix.cols, matrix.stride)
    }
}

/// How a step divides its output among the members.
#[derive(Clone, Copy)]
enum Split<'a> {
    Columns(usize),
    Rows,
    Blocks(usize, &'a [usize]),
}

impl Split<'_> {
    /// A number that differs between ways to split.
    fn code(self) -> u64 {
        // 31 bits, below the number of the step.
        let short = |code: u64| (code ^ code >> 29) & 0x1fff_ffff;
        match self {
            Self::Columns(unit) => short(unit as u64) << 2,
            Self::Rows => 1,
            Self::Blocks(width, offsets) => {
                let hash = |hash: u64, &offset: &usize| (hash ^ offset as u64).wrapping_mul(0x0000_0100_0000_01b3);
                short(offsets.iter().fold(width as u64, hash)) << 2 | 2
            }
        }
    }
}

/// A matrix that a team fills and reads, in different steps.
///
/// It is to a team what `RefCell` is to one thread: which steps fill it and which read it is noted, and a step that did
/// both would panic. A step is counted once per matmul, so the notes cost nothing.
pub(crate) struct Shared {
    /// The memory, through which nothing is accessed but by `first`.
    storage: Vec<f32>,
    first: *mut f32,
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

// SAFETY: the memory is reached through views that `Member` and `Reader` hand out, which are disjoint or read-only in each
// step (see there), and steps are separated by a barrier that orders memory.
unsafe impl Sync for Shared {}
// SAFETY: `first` points into `storage`, which moves with it and keeps its place on the heap.
unsafe impl Send for Shared {}

impl Shared {
    /// A matrix of no rows.
    pub(crate) fn new(cols: usize) -> Self {
        Self {
            storage: Vec::new(),
            first: NonNull::dangling().as_ptr(),
            rows: 0,
            cols,
            stride: padded_stride(cols),
            team: 0,
            filled: AtomicU64::new(0),
            read: AtomicU64::new(0),
        }
    }

    /// Gives it so many rows, whose contents are unspecified.
    pub(crate) fn resize(&mut self, rows: usize) {
        let line = 16;
        // Room to begin at a cache line.
        let numbers = rows * self.stride + line;
        if self.storage.len() < numbers {
            self.storage = vec![0.0; numbers];
        }
        let start = self.storage.as_ptr().align_offset(64).min(line);
        self.first = self.storage[start..].as_mut_ptr();
        self.rows = rows;
    }

    /// Numbers in a row.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Lets a team use it. Exclusive access proves that no other team does.
    pub(crate) fn join(&mut self, team: u64) {
        self.team = team;
        self.filled = AtomicU64::new(0);
        self.read = AtomicU64::new(0);
    }

    /// Numbers from the first of the first row to the last of the last, with the gaps between rows.
    fn extent(&self) -> usize {
        if self.rows == 0 { 0 } else { (self.rows - 1) * self.stride + self.cols }
    }

    /// Notes that the present step fills this matrix, split in one way by all members.
    fn claim(&self, member: &Member<'_>, split: Split<'_>) {
        assert_eq!(self.team, member.team.id, "a matrix of another team");
        let note = member.step << 32 | split.code();
        let before = self.filled.swap(note, Ordering::SeqCst);
        assert!(before >> 32 < member.step || before == note, "a step fills a matrix in two ways");
        assert!(self.read.load(Ordering::SeqCst) < member.step, "a step fills a matrix that it reads");
    }

    /// Notes that the present step reads this matrix.
    fn note_reader(&self, reader: &Reader) {
        assert_eq!(self.team, reader.team, "a matrix of another team");
        self.read.store(reader.step, Ordering::SeqCst);
        assert!(self.filled.load(Ordering::SeqCst) >> 32 < reader.step, "a step reads a matrix that it fills");
    }

    /// Some rows and columns, to write.
    ///
    /// # Safety
    /// Until the view is dropped, nothing else may reach these rows and columns.
    unsafe fn view(&self, rows: Range<usize>, columns: Range<usize>) -> MatMut<'_> {
        assert!(rows.end <= self.rows && columns.end <= self.cols, "a part of the matrix");
        let skip = if rows.is_empty() { 0 } else { rows.start * self.stride + columns.start };
        // SAFETY: `storage` holds `rows` rows of `stride` initialised numbers from `first` on, and the part lies in them
        // by the assertion. Exclusive access is the caller's promise.
        unsafe { MatMut::from_raw(self.first.add(skip), rows.len(), columns.len(), self.stride) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Two(Shared, Shared);

    impl Two {
        fn new(rows: usize, cols: usize) -> Self {
            let mut two = Self(Shared::new(cols), Shared::new(cols));
            two.0.resize(rows);
            two.1.resize(rows);
            two
        }
    }

    impl Workspace for Two {
        fn join(&mut self, team: u64) {
            self.0.join(team);
            self.1.join(team);
        }
    }

    /// Fills a matrix three ways and reads it back, with every size of team.
    #[test]
    fn parts_cover_the_whole_once() {
        for threads in [1, 2, 3, 7] {
            let pool = Pool::new(threads).expect("threads");
            let mut two = Two::new(13, 37);
            pool.team(&mut two, |member, two| {
                member.fill_columns(&two.0, 16, |columns, mut view, _| {
                    for i in 0..view.rows() {
                        for (x, j) in view.row_mut(i).iter_mut().zip(columns.clone()) {
                            *x = (i * 100 + j) as f32;
                        }
                    }
                });
                member.fill_rows(&two.1, |rows, mut view, reader| {
                    for (i, row) in rows.enumerate() {
                        view.row_mut(i).copy_from_slice(reader.read(&two.0).row(row));
                    }
                });
                member.fill_blocks(&two.0, &[0, 5, 5, 13], 37, |group, _, mut view, reader| {
                    let first = [0, 5, 5][group];
                    for i in 0..view.rows() {
                        view.row_mut(i).copy_from_slice(reader.read(&two.1).row(first + i));
                        view.row_mut(i)[0] += 0.5;
                    }
                });
            });
            Member::alone(&mut two, |member, two| {
                member.look(|reader| {
                    for i in 0..13 {
                        for j in 0..37 {
                            let expected = (i * 100 + j) as f32 + if j == 0 { 0.5 } else { 0.0 };
                            assert_eq!(
                                reader.read(&two.0).row(i)[j],
                                expected,
                                "{threads} threads, row {i}, column {j}"
                            );
                        }
                    }
                });
            });
        }
    }

    #[test]
    #[should_panic(expected = "reads a matrix that it fills")]
    fn a_step_cannot_read_what_it_fills() {
        Member::alone(&mut Two::new(2, 2), |member, two| {
            member.fill_rows(&two.0, |_, _, reader| {
                reader.read(&two.0);
            });
        });
    }

    #[test]
    #[should_panic(expected = "panicked")]
    fn a_panic_does_not_leave_the_others_waiting() {
        let pool = Pool::new(3).expect("threads");
        pool.team(&mut Two::new(3, 1), |member, two| {
            member.fill_rows(&two.0, |rows, _, _| assert_ne!(rows.start, 0, "panicked"));
        });
    }

    #[test]
    fn map_keeps_the_order() {
        let pool = Pool::new(3).expect("threads");
        assert_eq!(pool.map(100, |i| i * i), (0..100).map(|i| i * i).collect::<Vec<_>>());
    }
}
