//! The SIMD kernels of `likewise`: the arithmetic of a transformer encoder on one thread.
//!
//! Every public function is safe. It takes a [`Level`] (the instruction set to use) and slices or
//! matrix views, and computes one operator. There are no threads, no files and no global state.
//!
//! # Reading order
//!
//! 1. [`reference`](mod@reference): every operator in its simplest form, with sums in f64. All
//!    tests compare with it.
//! 2. [`Level`]: which instruction sets exist, how one is detected, and how a value of the type
//!    proves that the CPU has it.
//! 3. `simd`: the trait with the vector operations that all levels share. **A vector is always
//!    sixteen f32**, whatever the width of a register, so a sum of lanes is the same tree on every
//!    level and gives the same bits.
//! 4. [`view`]: matrices as borrowed rows with a stride, and how one is split into disjoint parts.
//! 5. [`math`]: exp, GELU and the other activations on lanes; how each is computed, and its largest
//!    error.
//! 6. [`softmax`], [`layer_norm`], [`rotary`], [`gated`], [`reduce`], [`distance`],
//!    [`elementwise`]: operators on rows and vectors.
//! 7. [`gemm`]: the matrix product, which takes most of the time.
//! 8. [`quant`]: quantization to bf16 and int8 and how both are packed. `dot_kernel`: how the
//!    microkernel multiplies packed elements, by one instruction if the CPU has it, in two phases
//!    otherwise.
//! 9. [`peak`]: the peak rate of the machine, to compare with.
//!
//! # Order of the modules
//!
//! A module imports only modules of earlier lines, so there are no cycles:
//!
//! ```text
//! memory, activation, precision, simd
//! view, dot_kernel
//! level, reference
//! arch, reduce, elementwise, rotary, math, quant
//! distance, layer_norm, gated, softmax, peak, gemm
//! ```
//!
//! and in `gemm`:
//!
//! ```text
//! transpose, accumulation, epilogue
//! panels
//! pack, microkernel
//! driver
//! quantized
//! ```
//!
//! # Example
//!
//! ```
//! use likewise_kernels::{Level, gemm::{Epilogue, PackedMatrix, gemm}, view::{MatMut, MatRef}};
//!
//! let level = Level::best();
//! // y = x · Wᵀ + b, with W [N, K] stored row by row as checkpoints store it.
//! let w = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
//! let packed = PackedMatrix::pack(level, MatRef::new(&w, 2, 3));
//! let x = [1.0, 0.0, -1.0];
//! let mut y = [0.0; 2];
//! gemm(
//!     level,
//!     MatRef::new(&x, 1, 3),
//!     packed.panels(),
//!     Some(&[0.5, 0.5]),
//!     Epilogue::Store,
//!     MatMut::new(&mut y, 1, 2),
//! );
//! assert_eq!(y, [-1.5, -1.5]);
//! ```

mod activation;
mod arch;
pub mod distance;
mod dot_kernel;
pub mod elementwise;
pub mod gated;
pub mod gemm;
pub mod layer_norm;
mod level;
pub mod math;
pub mod memory;
pub mod peak;
mod precision;
pub mod quant;
pub mod reduce;
pub mod reference;
pub mod rotary;
mod simd;
pub mod softmax;
pub mod view;

pub use level::{Level, UnavailableLevel};
