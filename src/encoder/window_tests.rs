//! The bits of attention in a window do not depend on where its range of keys starts, if that is
//! a whole run of the matrix product's sums.

use std::ops::Range;

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, F32_K_RUN, Panels, gemm};
use likewise_kernels::memory::AlignedScratch;
use likewise_kernels::softmax::{ScoreTransform, softmax};
use likewise_kernels::view::{MatMut, MatRef};

use super::spec::Window;

const TOKENS: usize = 400;
const HEAD_SIZE: usize = 32;

/// Returns pseudo-random numbers from −1 to 1.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

/// Computes the context `[d]` of one query, which is multiplied with the keys `seen` and sees some
/// of them.
fn context(level: Level, query: usize, seen: Range<usize>, window: Window) -> Vec<f32> {
    let [q, k, v] = [1, 2, 3].map(|seed| numbers(seed, TOKENS * HEAD_SIZE));
    let [q, k, v] = [&q, &k, &v].map(|x| MatRef::new(x, TOKENS, HEAD_SIZE));
    let (mut key_memory, mut value_memory) = (AlignedScratch::default(), AlignedScratch::default());
    let keys = Panels::transposed(level, k, &mut key_memory);
    let values = Panels::copied(level, v, &mut value_memory);
    let mut scores = vec![0.0; seen.len()];
    let columns = seen.len();
    let out = MatMut::new(&mut scores, 1, columns);
    gemm(level, q.rows_in(query..query + 1), keys.columns(seen.clone()), None, Epilogue::Store, out);
    let keys = window.keys(query, TOKENS);
    let visible = |_| keys.start - seen.start..keys.end - seen.start;
    softmax(level, MatMut::new(&mut scores, 1, columns), visible, ScoreTransform { scale: 0.3, bias: &[], start: 0 });
    let mut context = vec![0.0; HEAD_SIZE];
    let probabilities = MatRef::new(&scores, 1, columns);
    let out = MatMut::new(&mut context, 1, HEAD_SIZE);
    gemm(level, probabilities, values.rows(seen.clone()), None, Epilogue::Store, out);
    context
}

#[test]
fn context_of_a_window_that_starts_at_a_run_has_the_bits_of_the_full_product() {
    let window = Window::symmetric(64);
    for level in Level::available().into_iter().filter(|level| level.is_fused()) {
        let mut mistaken = 0;
        for query in 0..TOKENS {
            let keys = window.keys(query, TOKENS);
            let full = context(level, query, 0..TOKENS, window);
            let run = keys.start / F32_K_RUN * F32_K_RUN;
            let panel = level.panel_width();
            for end in [keys.end.next_multiple_of(panel).min(TOKENS), TOKENS] {
                assert_eq!(context(level, query, run..end, window), full, "{level}: query {query}, {run}..{end}");
            }
            // The mistake is to start at a panel.
            mistaken += usize::from(context(level, query, keys.start / panel * panel..TOKENS, window) != full);
        }
        assert!(mistaken > TOKENS / 4, "{level}: a range that starts at a panel is not noticed ({mistaken})");
    }
}
