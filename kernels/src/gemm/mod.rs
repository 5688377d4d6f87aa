//! The matrix product (GEMM) out = epilogue(bias + A · B), in which a transformer spends most of
//! its time: A `[M, K]`, B `[K, N]`, out `[M, N]`. (Panels and tiles: Goto and van de Geijn 2008,
//! <https://doi.org/10.1145/1356052.1356053>.)
//!
//! # The simplest form
//!
//! ```text
//! for m in 0..M                       rows of A: tokens
//!     for n in 0..N                   columns of B: output features
//!         out[m][n] = bias[n]
//!         for k in 0..K
//!             out[m][n] += A[m][k] * B[k][n]
//! ```
//!
//! # What makes it fast, and why the result is the same
//!
//! 1. **A tile in registers** (microkernel.rs). R rows by 16·C columns of `out` stay in registers
//!    for 128 steps of K at a time. Each step loads C vectors of B and R elements of A and performs
//!    R·C multiply-adds: 24 for 14 loads on AVX-512. So the arithmetic units are the limit, not the
//!    loads.
//! 2. **Packed panels** (pack.rs). B is stored in the order in which a tile reads it: 16·C columns
//!    together, all of K.
//! 3. **Rows split evenly.** 16 rows by tiles of at most 12 become 8 + 8, not 12 + 4: a tile of 4
//!    rows has too few multiply-adds in flight to hide their latency and other delays; a tile of 8
//!    rows has enough.
//! 4. **A panel at a time.** The loop over panels is the outer one: a panel (98 KB at K = 768)
//!    stays in the second-level cache while all rows pass over it.
//! 5. **The epilogue in the tile.** The bias starts each sum; the activation or the residual is
//!    applied while the tile's output is in the first-level cache.
//! 6. **Short sums.** K is summed in runs of 128, which are then added: a long chain of additions
//!    loses more digits.
//!
//! What is *not* done matters as much: the runs end at fixed steps whatever the number of rows or
//! threads, and one row takes the same path as a thousand. So an element's bits depend on its row
//! of A and its column of B alone, never on the batch around it or on the threads.
//!
//! # One driver for f32, bf16 and int8
//!
//! The loops exist once (driver.rs, microkernel.rs). Two traits cover what differs between the
//! precisions: `DotKernel` multiplies one step of K, and `Accumulation` (accumulation.rs) starts
//! the accumulators and converts them to f32.

mod accumulation;
mod driver;
mod epilogue;
mod microkernel;
mod pack;
mod panels;
mod quantized;
mod transpose;

pub use accumulation::F32_K_RUN;
pub use driver::{GemmOutput, gemm};
pub use epilogue::Epilogue;
pub use pack::{PackedLayout, PackedMatrix, PanelMut};
pub use panels::Panels;
pub use quantized::{PackedQuantizedMatrix, QuantizedMatrix, gemm_quantized};
