//! Instruction sets: detect one, prove it, enter it.
//!
//! The pattern has three parts.
//!
//! * **Detect.** Each level has a zero-sized token ([`Avx2`], [`Avx512`], ...) that only its `detect` can make, after
//!   asking the CPU.
//! * **Prove.** So a value of a token's type proves that the instructions exist, and `Simd` for that token may use them.
//! * **Enter.** [`Level::enter`] calls an operator through a function that carries the level's `#[target_feature]`. The
//!   bodies it calls are `#[inline(always)]` and carry none, so they are compiled anew inside it with its instructions.
//!   That happens once per operator (a matmul, a layer norm), never per vector.
//!
//! One macro row states the features of a level. Detection and `#[target_feature]` are both made from it, so they
//! cannot disagree.

use std::fmt;
use std::str::FromStr;

use crate::dot_kernel::{Plainly, WordOperator};
use crate::simd::Simd;

/// What the kernels compute with: an instruction set that this CPU is known to have.
///
/// A value can only be had from [`Level::best`], [`Level::available`] or by name, all of which ask the CPU first.
///
/// * `reference`: no SIMD, plainest loops, sums in f64. Slow and most accurate.
/// * `portable`: the `wide` crate on the target's baseline (SSE2 on x86-64, NEON on aarch64). Exists everywhere.
/// * `avx2`: AVX2 with FMA. `avx512`: AVX-512 F, BW and DQ. `neon`: NEON of 64-bit Arm.
///
/// All levels with fused multiply-add compute the same bits in f32. With bf16 and int8 weights the last three use the
/// instructions that a CPU has for them ([`Self::dot_extensions`]) or do without.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Level(Kind);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reference,
    Portable,
    // Each with the proof of its instructions for whole words, where the CPU has them.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2, Option<AvxVnni>),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512, Option<Avx512Dot>),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon, Option<NeonDotProd>),
}

/// Instructions for whole words beside AVX-512: of bytes alone (Cascade Lake, Ice Lake), or of bf16 and bytes.
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

/// An operator: its one body for all SIMD levels, and its plain form.
///
/// `run` must be `#[inline(always)]`, as must all that it calls with vectors: a function that is compiled on its own
/// has none of the level's instructions and passes vectors through memory.
pub(crate) trait Operator {
    type Output;
    fn run<S: Simd>(self, s: S) -> Self::Output;
    fn reference(self) -> Self::Output;
}

/// The proof of the portable level, which needs none.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// One row per level: token, entry function, detection macro, and its features, said once.
macro_rules! instruction_set {
    ($token:ident, $enter:ident, $detected:ident, [$($feature:tt),+], $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub(crate) struct $token(());

        impl $token {
            /// The token, if the CPU and the operating system support all of its features.
            fn detect() -> Option<Self> {
                ($(std::arch::$detected!($feature))&&+).then_some(Self(()))
            }
        }

        $(#[target_feature(enable = $feature)])+
        fn $enter<O: Operator>(token: $token, operator: O) -> O::Output {
            operator.run(token)
        }
    };
}

#[cfg(target_arch = "x86_64")]
instruction_set!(Avx2, enter_avx2, is_x86_feature_detected, ["avx", "avx2", "fma"], "AVX2 and FMA.");
#[cfg(target_arch = "x86_64")]
instruction_set!(
    Avx512,
    enter_avx512,
    is_x86_feature_detected,
    ["avx", "avx2", "fma", "avx512f", "avx512bw", "avx512dq"],
    "AVX-512 F, BW and DQ."
);

#[cfg(target_arch = "aarch64")]
instruction_set!(Neon, enter_neon, is_aarch64_feature_detected, ["neon"], "NEON.");

/// The same for instructions that multiply whole words, which some CPUs have besides those of a level.
macro_rules! dot_extensions {
    ($token:ident, $level:ident, $enter:ident, $detected:ident, [$($feature:tt),+], $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub(crate) struct $token(());

        impl $token {
            /// The token, if the CPU and the operating system support all of its features.
            fn detect() -> Option<Self> {
                ($(std::arch::$detected!($feature))&&+).then_some(Self(()))
            }
        }

        $(#[target_feature(enable = $feature)])+
        fn $enter<O: WordOperator>(level: $level, token: $token, operator: O) -> O::Output {
            operator.run(level, token)
        }
    };
}

#[cfg(target_arch = "x86_64")]
dot_extensions!(
    AvxVnni,
    Avx2,
    enter_avx_vnni,
    is_x86_feature_detected,
    ["avx", "avx2", "fma", "avxvnni"],
    "AVX2, FMA and AVX-VNNI."
);
#[cfg(target_arch = "x86_64")]
dot_extensions!(
    Avx512Vnni,
    Avx512,
    enter_avx512_vnni,
    is_x86_feature_detected,
    ["avx", "avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vnni"],
    "AVX-512 F, BW and DQ, and VNNI."
);
#[cfg(target_arch = "x86_64")]
dot_extensions!(
    Avx512VnniBf16,
    Avx512,
    enter_avx512_vnni_bf16,
    is_x86_feature_detected,
    ["avx", "avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512bf16", "avx512vnni"],
    "AVX-512 F, BW and DQ, BF16 and VNNI."
);
#[cfg(target_arch = "x86_64")]
impl Avx512VnniBf16 {
    /// The proof of VNNI, which is a part of this one.
    pub(crate) fn vnni(self) -> Avx512Vnni {
        Avx512Vnni(())
    }
}
#[cfg(target_arch = "aarch64")]
dot_extensions!(
    NeonDotProd,
    Neon,
    enter_neon_dotprod,
    is_aarch64_feature_detected,
    ["neon", "dotprod"],
    "NEON with SDOT."
);

impl Level {
    /// No SIMD: plain loops with sums in f64.
    pub const REFERENCE: Self = Self(Kind::Reference);

    /// The `wide` crate on the target's baseline.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// Every level that this CPU has, slowest first.
    pub fn available() -> Vec<Self> {
        let mut levels = vec![Self::REFERENCE, Self::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend(Avx2::detect().map(|token| Self(Kind::Avx2(token, AvxVnni::detect()))));
            levels.extend(Avx512::detect().map(|token| Self(Kind::Avx512(token, Avx512Dot::detect()))));
        }
        #[cfg(target_arch = "aarch64")]
        levels.extend(Neon::detect().map(|token| Self(Kind::Neon(token, NeonDotProd::detect()))));
        levels
    }

    /// The fastest level that this CPU has.
    pub fn best() -> Self {
        Self::available().pop().unwrap_or(Self::PORTABLE)
    }

    /// Its name, as [`FromStr`] reads it.
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

    /// Whether a multiply-add rounds once. Levels that fuse agree bit for bit.
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

    /// Columns in a panel of packed weights: the width of the matmul's tile.
    pub fn panel_width(self) -> usize {
        struct Width;
        impl Operator for Width {
            type Output = usize;
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> usize {
                S::NR_VECTORS * crate::simd::LANES
            }
            fn reference(self) -> usize {
                crate::simd::LANES
            }
        }
        self.enter(Width)
    }

    /// Rows in the matmul's tile: a block of at most this many rows is one pass over a panel.
    pub fn tile_rows(self) -> usize {
        struct Rows;
        impl Operator for Rows {
            type Output = usize;
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> usize {
                S::MR
            }
            fn reference(self) -> usize {
                1
            }
        }
        self.enter(Rows)
    }

    /// Runs an operator with this level's instructions.
    pub(crate) fn enter<O: Operator>(self, operator: O) -> O::Output {
        match self.0 {
            Kind::Reference => operator.reference(),
            Kind::Portable => operator.run(Portable),
            // SAFETY: the token was made by `Avx2::detect`, which found every feature that `enter_avx2` enables.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(token, _) => unsafe { enter_avx2(token, operator) },
            // SAFETY: the token was made by `Avx512::detect`, which found every feature that `enter_avx512` enables.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(token, _) => unsafe { enter_avx512(token, operator) },
            // SAFETY: the token was made by `Neon::detect`, which found every feature that `enter_neon` enables.
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(token, _) => unsafe { enter_neon(token, operator) },
        }
    }

    /// Runs an operator on words with this level's instructions, and with those for whole words where there are any.
    pub(crate) fn enter_words<O: WordOperator>(self, operator: O) -> O::Output {
        match self.0 {
            // SAFETY: the tokens were made by `detect`, which found every feature that the function enables.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(level, Some(token)) => unsafe { enter_avx_vnni(level, token, operator) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(level, Some(Avx512Dot::VnniBf16(token))) => unsafe {
                enter_avx512_vnni_bf16(level, token, operator)
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(level, Some(Avx512Dot::Vnni(token))) => unsafe { enter_avx512_vnni(level, token, operator) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(level, Some(token)) => unsafe { enter_neon_dotprod(level, token, operator) },
            _ => self.enter(Plainly(operator)),
        }
    }

    /// The instructions for whole words that it has besides, by name; none on many CPUs.
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

    /// The same level as on the next CPU with fewer instructions for whole words; None if there are none to do without.
    pub fn without_best_dot_extension(self) -> Option<Self> {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(level, Some(_)) => Some(Self(Kind::Avx2(level, None))),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(level, Some(Avx512Dot::VnniBf16(token))) => {
                Some(Self(Kind::Avx512(level, Some(Avx512Dot::Vnni(token.vnni())))))
            }
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(level, Some(Avx512Dot::Vnni(_))) => Some(Self(Kind::Avx512(level, None))),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(level, Some(_)) => Some(Self(Kind::Neon(level, None))),
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

/// A level was requested for by name that this CPU does not have, or that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnavailableLevel {
    /// The name as it was given.
    pub requested: String,
    /// The names that would have been accepted here.
    pub available: Vec<&'static str>,
}

impl fmt::Display for UnavailableLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = matches!(self.requested.as_str(), "avx2" | "avx512" | "neon");
        let why = if known { "this CPU does not have it" } else { "no level has that name" };
        write!(f, "level `{}`: {why} (available here: {})", self.requested, self.available.join(", "))
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
