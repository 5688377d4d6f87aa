//! One file a level, each nothing but [`Simd`](crate::simd::Simd) for that level's token; and the instructions for whole words.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod dot_product;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
