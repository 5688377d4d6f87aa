//! Instruction sets: detection, and calling an operator with one.
//!
//! * **Detection.** Each instruction set has a zero-sized type ([`Avx2`], [`Avx512`], …) whose
//!   values only its `detect` constructs, after checking the CPU. Such a proof value shows that
//!   the instructions exist, so `Simd` for its type may use them.
//! * **Call.** [`Level::call`] calls an operator through a function that has the level's
//!   `#[target_feature]`. The bodies it calls are `#[inline(always)]` and have none, so the
//!   compiler inlines them and uses the level's instructions. That happens once per operator (a
//!   matrix product, a layer norm), never per vector.
//!
//! One macro invocation lists the features of an instruction set. Detection and `#[target_feature]`
//! are both generated from that list, so they cannot disagree.

use std::fmt;
use std::str::FromStr;

use crate::dot_kernel::{DotKernels, FallbackDots};
use crate::simd::{LANES, Simd};

/// A SIMD level that this CPU supports: the instruction set that the kernels use.
///
/// A value comes only from [`Level::best`], [`Level::available`] or [`FromStr`], which all check
/// the CPU first.
///
/// * `reference`: no SIMD, the simplest loops, sums in f64. Slow and most accurate.
/// * `portable`: the `wide` crate on the target's baseline (SSE2 on x86-64, NEON on aarch64).
///   Available everywhere.
/// * `avx2`: AVX2 with FMA. `avx512`: AVX-512 F, BW and DQ. `neon`: NEON of 64-bit Arm.
///
/// All levels with fused multiply-add compute the same bits in f32. With bf16 and int8 weights the
/// last three use the CPU's dot-product instructions ([`Self::dot_extensions`]) if it has any.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Level(Kind);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reference,
    Portable,
    // Each with the proof of its dot-product instructions, if the CPU has them.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2, Option<AvxVnni>),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512, Option<Avx512Dot>),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon, Option<NeonDotProd>),
}

/// Dot-product extensions of AVX-512: of bytes alone (Cascade Lake, Ice Lake), or of bf16 and
/// bytes.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, PartialEq, Eq)]
enum Avx512Dot {
    Vnni(Avx512Vnni),
    VnniBf16(Avx512VnniBf16),
}

#[cfg(target_arch = "x86_64")]
impl Avx512Dot {
    fn detect() -> Option<Self> {
        Avx512VnniBf16::detect().map(Self::VnniBf16).or_else(|| Avx512Vnni::detect().map(Self::Vnni))
    }
}

/// An operator: one body for all SIMD levels, and a reference form.
///
/// `run` must be `#[inline(always)]`, as must everything that it calls with vectors: a function
/// that is compiled on its own has none of the level's instructions and passes vectors through
/// memory.
pub(crate) trait Operator {
    type Output;
    /// Computes with a level's vectors and dot kernels. Operators on f32 ignore `dots`.
    fn run<S: Simd, D: DotKernels<S>>(self, s: S, dots: D) -> Self::Output;
    /// Computes in the simplest form.
    fn reference(self) -> Self::Output;
}

/// The portable level, whose instructions every CPU has.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// Defines an instruction set: its proof type, its detection, and the function that calls an
/// operator of a level (`$simd`) with it.
macro_rules! instruction_set {
    ($doc:literal, $proof:ident on $simd:ident, $call:ident, $detected:ident, [$($feature:tt),+]) => {
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub(crate) struct $proof(());

        impl $proof {
            /// Returns the proof if the CPU and the operating system support all of its features.
            fn detect() -> Option<Self> {
                ($(std::arch::$detected!($feature))&&+).then_some(Self(()))
            }
        }

        $(#[target_feature(enable = $feature)])+
        fn $call<D: DotKernels<$simd>, O: Operator>(simd: $simd, dots: D, operator: O) -> O::Output {
            operator.run(simd, dots)
        }
    };
}

#[cfg(target_arch = "x86_64")]
instruction_set!("AVX2 and FMA.", Avx2 on Avx2, call_avx2, is_x86_feature_detected, ["avx", "avx2", "fma"]);
#[cfg(target_arch = "x86_64")]
instruction_set!(
    "AVX2, FMA and AVX-VNNI.",
    AvxVnni on Avx2,
    call_avx_vnni,
    is_x86_feature_detected,
    ["avx", "avx2", "fma", "avxvnni"]
);
#[cfg(target_arch = "x86_64")]
instruction_set!(
    "AVX-512 F, BW and DQ.",
    Avx512 on Avx512,
    call_avx512,
    is_x86_feature_detected,
    ["avx", "avx2", "fma", "avx512f", "avx512bw", "avx512dq"]
);
#[cfg(target_arch = "x86_64")]
instruction_set!(
    "AVX-512 F, BW and DQ, and VNNI.",
    Avx512Vnni on Avx512,
    call_avx512_vnni,
    is_x86_feature_detected,
    ["avx", "avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vnni"]
);
#[cfg(target_arch = "x86_64")]
instruction_set!(
    "AVX-512 F, BW and DQ, BF16 and VNNI.",
    Avx512VnniBf16 on Avx512,
    call_avx512_vnni_bf16,
    is_x86_feature_detected,
    ["avx", "avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512bf16", "avx512vnni"]
);
#[cfg(target_arch = "x86_64")]
impl Avx512VnniBf16 {
    /// Returns the proof of VNNI, which this proof includes.
    pub(crate) fn vnni(self) -> Avx512Vnni {
        Avx512Vnni(())
    }
}
#[cfg(target_arch = "aarch64")]
instruction_set!("NEON.", Neon on Neon, call_neon, is_aarch64_feature_detected, ["neon"]);
#[cfg(target_arch = "aarch64")]
instruction_set!(
    "NEON with SDOT.",
    NeonDotProd on Neon,
    call_neon_dotprod,
    is_aarch64_feature_detected,
    ["neon", "dotprod"]
);

impl Level {
    /// No SIMD: the simplest loops, with sums in f64.
    pub const REFERENCE: Self = Self(Kind::Reference);

    /// The `wide` crate on the target's baseline.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// Returns every level that this CPU supports, slowest first.
    pub fn available() -> Vec<Self> {
        let mut levels = vec![Self::REFERENCE, Self::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend(Avx2::detect().map(|proof| Self(Kind::Avx2(proof, AvxVnni::detect()))));
            levels.extend(Avx512::detect().map(|proof| Self(Kind::Avx512(proof, Avx512Dot::detect()))));
        }
        #[cfg(target_arch = "aarch64")]
        levels.extend(Neon::detect().map(|proof| Self(Kind::Neon(proof, NeonDotProd::detect()))));
        levels
    }

    /// Returns the fastest level that this CPU supports.
    pub fn best() -> Self {
        Self::available().pop().unwrap_or(Self::PORTABLE)
    }

    /// Returns its name, as [`FromStr`] parses it.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Reference => "reference",
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(..) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(..) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(..) => "neon",
        }
    }

    /// Returns whether a multiply-add rounds once. Levels that fuse agree bit for bit.
    pub fn is_fused(self) -> bool {
        match self.0 {
            Kind::Reference => false,
            Kind::Portable => cfg!(any(target_feature = "fma", target_feature = "neon")),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(..) | Kind::Avx512(..) => true,
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(..) => true,
        }
    }

    /// Returns the number of columns in a panel of packed weights: the width of a tile.
    pub fn panel_width(self) -> usize {
        struct PanelWidth;
        impl Operator for PanelWidth {
            type Output = usize;
            #[inline(always)]
            fn run<S: Simd, D: DotKernels<S>>(self, _: S, _: D) -> usize {
                S::NR_VECTORS * LANES
            }
            fn reference(self) -> usize {
                LANES
            }
        }
        self.call(PanelWidth)
    }

    /// Returns the number of rows in a tile: a block of at most this many rows passes over a
    /// panel once.
    pub fn tile_rows(self) -> usize {
        struct TileRows;
        impl Operator for TileRows {
            type Output = usize;
            #[inline(always)]
            fn run<S: Simd, D: DotKernels<S>>(self, _: S, _: D) -> usize {
                S::MR
            }
            fn reference(self) -> usize {
                1
            }
        }
        self.call(TileRows)
    }

    /// Runs an operator with this level's instructions, without its dot-product extensions.
    pub(crate) fn call<O: Operator>(self, operator: O) -> O::Output {
        match self.0 {
            Kind::Reference => operator.reference(),
            Kind::Portable => operator.run(Portable, FallbackDots),
            // SAFETY: `Avx2::detect` made the proof, and it found every feature that `call_avx2`
            // enables.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(proof, _) => unsafe { call_avx2(proof, FallbackDots, operator) },
            // SAFETY: `Avx512::detect` made the proof, and it found every feature that
            // `call_avx512` enables.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(proof, _) => unsafe { call_avx512(proof, FallbackDots, operator) },
            // SAFETY: `Neon::detect` made the proof, and it found every feature that `call_neon`
            // enables.
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(proof, _) => unsafe { call_neon(proof, FallbackDots, operator) },
        }
    }

    /// Runs an operator with this level's instructions and its dot-product extension, if it has
    /// one.
    pub(crate) fn call_with_dots<O: Operator>(self, operator: O) -> O::Output {
        match self.0 {
            // SAFETY: `AvxVnni::detect` made `dots`, and it found every feature that the function
            // enables.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(simd, Some(dots)) => unsafe { call_avx_vnni(simd, dots, operator) },
            // SAFETY: `Avx512VnniBf16::detect` made `dots`, and it found every feature that the
            // function enables.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(simd, Some(Avx512Dot::VnniBf16(dots))) => unsafe {
                call_avx512_vnni_bf16(simd, dots, operator)
            },
            // SAFETY: `Avx512Vnni::detect` made `dots`, or `Avx512VnniBf16::vnni` did, whose own
            // detection checks the same features and more. So every feature that the function
            // enables was found.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(simd, Some(Avx512Dot::Vnni(dots))) => unsafe { call_avx512_vnni(simd, dots, operator) },
            // SAFETY: `NeonDotProd::detect` made `dots`, and it found every feature that the
            // function enables.
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(simd, Some(dots)) => unsafe { call_neon_dotprod(simd, dots, operator) },
            _ => self.call(operator),
        }
    }

    /// Returns the names of the dot-product extensions that it uses for bf16 and int8; None if the
    /// CPU has none.
    pub fn dot_extensions(self) -> Option<&'static str> {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_, Some(_)) => Some("AVX-VNNI"),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_, Some(Avx512Dot::VnniBf16(_))) => Some("AVX512-BF16, AVX512-VNNI"),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_, Some(Avx512Dot::Vnni(_))) => Some("AVX512-VNNI"),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(_, Some(_)) => Some("SDOT"),
            _ => None,
        }
    }

    /// Returns the same level as on a CPU that lacks the best of its dot-product extensions; None
    /// if it uses none. Tests run every path of a CPU this way.
    pub fn without_best_dot_extension(self) -> Option<Self> {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(simd, Some(_)) => Some(Self(Kind::Avx2(simd, None))),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(simd, Some(Avx512Dot::VnniBf16(dots))) => {
                Some(Self(Kind::Avx512(simd, Some(Avx512Dot::Vnni(dots.vnni())))))
            }
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(simd, Some(Avx512Dot::Vnni(_))) => Some(Self(Kind::Avx512(simd, None))),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(simd, Some(_)) => Some(Self(Kind::Neon(simd, None))),
            _ => None,
        }
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The error for a level name that is unknown, or that this CPU does not support.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnavailableLevel {
    /// The name that was requested.
    pub requested: String,
    /// The names that this CPU supports.
    pub available: Vec<&'static str>,
}

impl fmt::Display for UnavailableLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = matches!(self.requested.as_str(), "avx2" | "avx512" | "neon");
        let reason = if known { "this CPU does not support it" } else { "unknown name" };
        write!(f, "SIMD level `{}`: {reason}: expected one of {}", self.requested, self.available.join(", "))
    }
}

impl std::error::Error for UnavailableLevel {}

impl FromStr for Level {
    type Err = UnavailableLevel;

    fn from_str(name: &str) -> Result<Self, UnavailableLevel> {
        let available = Self::available();
        available.iter().copied().find(|level| level.name() == name).ok_or_else(|| UnavailableLevel {
            requested: name.to_owned(),
            available: available.iter().map(|level| level.name()).collect(),
        })
    }
}
