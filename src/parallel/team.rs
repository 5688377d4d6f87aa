//! Threads that go through the same steps together, and the barrier between the steps.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Threads that go through the same steps together.
pub(super) struct Team {
    /// Different for every team of this process.
    pub(super) id: u64,
    pub(super) size: usize,
    /// Members that have finished the present step.
    arrived: AtomicUsize,
    /// Counts the steps that all have finished.
    generation: AtomicUsize,
    /// A member has panicked and will not arrive.
    poisoned: AtomicBool,
}

static TEAMS: AtomicU64 = AtomicU64::new(1);

impl Team {
    pub(super) fn new(size: usize) -> Self {
        Self {
            id: TEAMS.fetch_add(1, Ordering::Relaxed),
            size,
            arrived: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
            poisoned: AtomicBool::new(false),
        }
    }

    /// Waits until all members have called it.
    pub(super) fn wait(&self) {
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
                // The thread that this one waits for may need this CPU.
                std::thread::yield_now();
            }
        }
    }
}

/// Marks the team as poisoned when dropped, so that members do not wait for one that panicked.
/// Forget it if the work returns.
pub(super) struct PoisonOnPanic<'a>(pub(super) &'a Team);

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        self.0.poisoned.store(true, Ordering::Relaxed);
    }
}
