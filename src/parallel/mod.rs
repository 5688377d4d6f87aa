//! The threads of the computation.
//!
//! There are two ways to share work.
//!
//! **Many texts**: [`Pool::map`]. Each thread takes the next batch and runs the whole network on
//! it. Threads do not wait for each other, so this is faster.
//!
//! **Few texts**: [`Pool::team`]. All threads run the network on the same batch, as a [`Team`].
//! Every member executes the same steps; in each step it computes its part of the step's output
//! (some columns of a matrix product, some rows, some heads) and then waits until all have done
//! theirs. A pass enters the pool once, not once per step, and waiting is spinning for a moment and
//! then yielding: a pass over a short text has dozens of steps of some ten microseconds, and
//! putting a thread to sleep and waking it costs as much as one step.
//!
//! No sum is divided among members, so the result does not depend on their number.

mod shared;
mod team;

pub(crate) use shared::{StepReader, TeamBuffers, TeamMatrix, TeamMember};

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, TryLockError};
use std::thread::JoinHandle;

use crate::error::{Error, Result};
use team::{PoisonOnPanic, Team};

/// The threads of one embedder.
pub(crate) struct Pool {
    /// None for a single thread: the caller's own.
    threads: Option<rayon::ThreadPool>,
    /// The number of threads that were requested.
    requested: usize,
    /// Locked while a team runs. Its members wait for one another, so two teams on the same threads
    /// could each hold the thread that the other waits for.
    team: Mutex<()>,
    /// The running calls of [`Pool::map`]. Each holds every thread until all of its tasks are done.
    maps: AtomicUsize,
}

impl Pool {
    /// Starts threads, or fewer if the operating system does not allow as many. The number of
    /// threads changes no bit of a result, so fewer are better than an error.
    pub(crate) fn new(threads: usize) -> Result<Self> {
        let requested = threads;
        let mut waiting = if requested > 1 { WaitingThread::spawn(requested) } else { Vec::new() };
        if waiting.len() < requested {
            // A process at its limit also needs threads for other purposes.
            let kept = waiting.len().div_ceil(2);
            waiting.drain(kept..).for_each(WaitingThread::end);
        }
        let threads = if waiting.len() > 1 { Some(build(&waiting)?) } else { None };
        Ok(Self { threads, requested, team: Mutex::new(()), maps: AtomicUsize::new(0) })
    }

    /// Returns the number of threads that this process may use: the CPUs of its affinity mask, or
    /// fewer if a cgroup limits its CPU time.
    pub(crate) fn default_threads() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// Returns the number of threads.
    pub(crate) fn size(&self) -> usize {
        self.threads.as_ref().map_or(1, rayon::ThreadPool::current_num_threads)
    }

    /// Returns the number of threads that were requested. It is larger than [`Self::size`] if the
    /// operating system did not allow as many.
    pub(crate) fn requested_size(&self) -> usize {
        self.requested
    }

    /// Returns `task(0)`, `task(1)`, … `task(n - 1)`, each run on whichever thread is free, started
    /// in this order.
    pub(crate) fn map<T: Send>(&self, n: usize, task: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let Some(threads) = self.threads.as_ref().filter(|_| n > 1) else { return (0..n).map(task).collect() };
        let next = AtomicUsize::new(0);
        let _at_work = CountWhileAlive::new(&self.maps);
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

    /// Runs `work` once on every thread, as members of one team that fills the workspace together.
    /// All members must return the same; the result of one of them is returned.
    ///
    /// If the threads are busy with another team or with [`Self::map`], the caller runs `work` as a
    /// team of one. That changes how long it takes and no bit of the result. The caller does not
    /// wait for the threads, because one text must not wait for another caller's hundred thousand.
    /// Waiting could also deadlock: if the caller is itself a thread of a pool, that pool may give
    /// it another task that ends up here.
    pub(crate) fn team<W: TeamBuffers, R: Send>(
        &self,
        workspace: &mut W,
        work: impl Fn(&mut TeamMember<'_>, &W) -> R + Sync,
    ) -> R {
        let Some(threads) = &self.threads else { return TeamMember::solo(workspace, work) };
        let _one_team = match self.team.try_lock() {
            Ok(guard) => guard,
            // The lock guards nothing that a panic could leave half-done.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return TeamMember::solo(workspace, work),
        };
        if self.maps.load(Ordering::Relaxed) > 0 {
            return TeamMember::solo(workspace, work);
        }
        let team = Team::new(threads.current_num_threads());
        workspace.bind(team.id);
        let workspace = &*workspace;
        let mut results = threads.broadcast(|context| {
            let mut member = TeamMember::new(context.index(), &team);
            let guard = PoisonOnPanic(&team);
            let result = work(&mut member, workspace);
            std::mem::forget(guard);
            result
        });
        results.swap_remove(0)
    }
}

/// A thread that waits for its task in a pool.
///
/// rayon itself starts all threads of a pool or none, so it cannot tell how many are possible.
struct WaitingThread {
    sender: Sender<rayon::ThreadBuilder>,
    handle: JoinHandle<()>,
}

impl WaitingThread {
    /// Starts up to `count` threads, fewer if the operating system refuses one.
    fn spawn(count: usize) -> Vec<Self> {
        let spawn = |i| {
            let (sender, receiver) = channel::<rayon::ThreadBuilder>();
            let thread = std::thread::Builder::new().name(format!("likewise-{i}"));
            let work = move || receiver.into_iter().take(1).for_each(rayon::ThreadBuilder::run);
            thread.spawn(work).ok().map(|handle| Self { sender, handle })
        };
        (0..count).map_while(spawn).collect()
    }

    /// Ends the thread and waits until it has ended.
    fn end(self) {
        drop(self.sender);
        // A thread without a task does not panic.
        _ = self.handle.join();
    }
}

/// Builds a pool of the waiting threads.
fn build(waiting: &[WaitingThread]) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(waiting.len())
        .spawn_handler(|thread| {
            let ended = |_| std::io::Error::other("the thread has ended");
            waiting[thread.index()].sender.send(thread).map_err(ended)
        })
        .build()
        .map_err(|source| Error::Threads { threads: waiting.len(), source: Box::new(source) })
}

/// Adds one to a count for as long as it lives.
struct CountWhileAlive<'a>(&'a AtomicUsize);

impl<'a> CountWhileAlive<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for CountWhileAlive<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Two(TeamMatrix, TeamMatrix);

    impl Two {
        fn new(rows: usize, cols: usize) -> Self {
            let mut two = Self(TeamMatrix::new(cols), TeamMatrix::new(cols));
            two.0.resize(rows);
            two.1.resize(rows);
            two
        }
    }

    impl TeamBuffers for Two {
        fn bind(&mut self, team: u64) {
            self.0.bind(team);
            self.1.bind(team);
        }
    }

    /// Fills a matrix three ways and reads it back, with every size of team.
    #[test]
    fn team_steps_of_every_kind_cover_the_matrix_once() {
        for threads in [1, 2, 3, 7] {
            let pool = Pool::new(threads).expect("threads");
            let mut two = Two::new(13, 37);
            pool.team(&mut two, |member, two| {
                member.fill_columns(&two.0, 0..two.0.cols(), 16, |columns, mut view, _| {
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
            TeamMember::solo(&mut two, |member, two| {
                member.with_reader(|reader| {
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
    fn step_that_reads_its_output_panics() {
        TeamMember::solo(&mut Two::new(2, 2), |member, two| {
            member.fill_rows(&two.0, |_, _, reader| {
                reader.read(&two.0);
            });
        });
    }

    #[test]
    #[should_panic(expected = "panicked")]
    fn panic_of_one_member_ends_the_team() {
        let pool = Pool::new(3).expect("threads");
        pool.team(&mut Two::new(3, 1), |member, two| {
            member.fill_rows(&two.0, |rows, _, _| assert_ne!(rows.start, 0, "panicked"));
        });
    }

    #[test]
    fn team_during_a_map_runs_without_waiting() {
        let pool = Pool::new(2).expect("threads");
        let started = AtomicUsize::new(0);
        let done = AtomicUsize::new(0);
        let long_ago = std::time::Duration::from_secs(20);
        std::thread::scope(|scope| {
            // The tasks end after the team, or after a long time.
            let mapping = scope.spawn(|| {
                pool.map(2, |_| {
                    started.fetch_add(1, Ordering::SeqCst);
                    let start = std::time::Instant::now();
                    while done.load(Ordering::SeqCst) == 0 && start.elapsed() < long_ago {
                        std::thread::yield_now();
                    }
                    done.load(Ordering::SeqCst)
                })
            });
            while started.load(Ordering::SeqCst) < 2 {
                std::thread::yield_now();
            }
            pool.team(&mut Two::new(3, 1), |member, two| {
                member.fill_rows(&two.0, |_, mut view, _| view.row_mut(0)[0] = 1.0);
            });
            done.store(1, Ordering::SeqCst);
            assert_eq!(mapping.join().expect("a map"), [1, 1], "the map ended first");
        });
    }

    #[test]
    fn map_results_keep_their_order() {
        let pool = Pool::new(3).expect("threads");
        assert_eq!(pool.map(100, |i| i * i), (0..100).map(|i| i * i).collect::<Vec<_>>());
    }
}
