//! The instruction sets: one file per level, which implements `Simd` for its proof type, and the
//! dot-product extensions.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod dot_product;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
