//! Quantization of sentence vectors, for indexes that store many of them.
//!
//! | quantization | element or byte | bytes of E elements |
//! |---|---|---|
//! | `uint8` | ⌊255 (x − min) / (max − min)⌋, clamped to 0..=255 | E |
//! | `int8` | the `uint8` value − 128 | E |
//! | `ubinary` | bit 1 if x > 0, otherwise 0; the first of 8 elements is the highest bit | ⌈E/8⌉ |
//! | `binary` | the `ubinary` byte − 128 | ⌈E/8⌉ |
//!
//! The minimum and maximum of each dimension come from a sample of vectors ([`Ranges`]). Vectors
//! can be compared only if they were quantized with the same ranges. All operations are in f32 and
//! in the order of sentence-transformers, so that the bytes are equal. Follows
//! sentence-transformers 6.2.0, `util/quantization.py`, `quantize_embeddings`.

use std::str::FromStr;

use crate::error::{Error, Result};

/// The type that the elements of a vector are quantized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quantization {
    /// Bytes from −128 to 127, one an element.
    Int8,
    /// Bytes from 0 to 255, one an element.
    Uint8,
    /// Bits, one an element, in bytes from −128 to 127.
    Binary,
    /// Bits, one an element, in bytes from 0 to 255.
    Ubinary,
}

impl Quantization {
    /// All quantizations.
    pub const ALL: [Self; 4] = [Self::Int8, Self::Uint8, Self::Binary, Self::Ubinary];

    /// Returns the name: "int8", "uint8", "binary" or "ubinary".
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Uint8 => "uint8",
            Self::Binary => "binary",
            Self::Ubinary => "ubinary",
        }
    }

    /// Returns whether the bytes are signed, in two's complement.
    pub fn is_signed(self) -> bool {
        matches!(self, Self::Int8 | Self::Binary)
    }

    /// Returns whether [`quantize`] needs [`Ranges`].
    pub fn needs_ranges(self) -> bool {
        matches!(self, Self::Int8 | Self::Uint8)
    }

    /// Returns the number of bytes of a quantized vector of `width` elements.
    pub fn bytes_per_vector(self, width: usize) -> usize {
        if self.needs_ranges() { width } else { width.div_ceil(8) }
    }
}

impl FromStr for Quantization {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let find = Self::ALL.into_iter().find(|quantization| quantization.name() == name);
        find.ok_or_else(|| "expected int8, uint8, binary or ubinary".to_owned())
    }
}

/// The minimum and the maximum of each dimension.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranges {
    min: Vec<f32>,
    max: Vec<f32>,
}

impl Ranges {
    /// Computes the ranges of a sample of vectors of equal length.
    ///
    /// The sample needs at least two vectors. Fewer than a hundred represent other vectors badly.
    ///
    /// # Errors
    /// If there are fewer than two vectors, they differ in length, all of them are equal, or an
    /// element is not finite.
    pub fn from_vectors<'a>(vectors: impl IntoIterator<Item = &'a [f32]>) -> Result<Self> {
        let mut vectors = vectors.into_iter();
        let too_few =
            || Error::InvalidRanges("expected at least 2 vectors to derive them from, or given ranges".to_owned());
        let first = vectors.next().ok_or_else(too_few)?;
        let second = vectors.next().ok_or_else(too_few)?;
        let mut ranges = Self { min: first.to_vec(), max: first.to_vec() };
        for vector in [first, second].into_iter().chain(vectors) {
            ranges.check_width(vector)?;
            check_finite(vector)?;
            for (i, &x) in vector.iter().enumerate() {
                ranges.min[i] = ranges.min[i].min(x);
                ranges.max[i] = ranges.max[i].max(x);
            }
        }
        // Each vector would become the same bytes, whatever it is.
        if ranges.min == ranges.max && !ranges.min.is_empty() {
            return Err(Error::InvalidRanges("expected different vectors, found copies of one".to_owned()));
        }
        Ok(ranges)
    }

    /// Returns ranges of the given minima `[E]` and maxima `[E]`, the rows of
    /// sentence-transformers' `ranges` array.
    ///
    /// # Errors
    /// If the two differ in length, an element is not finite, or a maximum is below its minimum.
    pub fn new(min: Vec<f32>, max: Vec<f32>) -> Result<Self> {
        let ranges = Self { min, max };
        ranges.check_width(&ranges.max)?;
        check_finite(&ranges.min)?;
        check_finite(&ranges.max)?;
        if let Some(i) = ranges.min.iter().zip(&ranges.max).position(|(min, max)| min > max) {
            let (min, max) = (ranges.min[i], ranges.max[i]);
            let what = format!("dimension {i}: expected a maximum of at least the minimum {min}, found {max}");
            return Err(Error::InvalidRanges(what));
        }
        Ok(ranges)
    }

    /// Rejects a vector of another length.
    fn check_width(&self, vector: &[f32]) -> Result<()> {
        if vector.len() == self.min.len() {
            Ok(())
        } else {
            Err(Error::WidthMismatch { left: self.min.len(), right: vector.len() })
        }
    }

    /// Appends the `uint8` bytes of a vector.
    fn append_quantized(&self, vector: &[f32], bytes: &mut Vec<u8>) {
        for ((&x, &min), &max) in vector.iter().zip(&self.min).zip(&self.max) {
            let step = (max - min) / 255.0;
            let step = if step == 0.0 { 1.0 } else { step };
            // The conversion to u8 saturates, which clamps.
            bytes.push(((x - min) / step).floor() as u8);
        }
    }
}

/// Rejects a vector with an infinite element or NaN.
fn check_finite(vector: &[f32]) -> Result<()> {
    if vector.iter().all(|x| x.is_finite()) {
        Ok(())
    } else {
        Err(Error::InvalidRanges("an element is not finite".to_owned()))
    }
}

/// Quantizes vectors `[S, E]` to bytes `[S, bytes_per_vector]`, row after row.
///
/// Signed bytes are in two's complement.
///
/// # Errors
/// If the quantization needs ranges and there are none, a vector differs from the ranges in length,
/// or an element is not finite.
pub fn quantize<'a>(
    quantization: Quantization,
    vectors: impl IntoIterator<Item = &'a [f32]>,
    ranges: Option<&Ranges>,
) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (text, vector) in vectors.into_iter().enumerate() {
        // NaN would become the byte 0.
        check_finite(vector).map_err(|_| Error::NotFinite { text })?;
        let first = bytes.len();
        if quantization.needs_ranges() {
            let missing = || Error::InvalidRanges(format!("{} needs ranges", quantization.name()));
            let ranges = ranges.ok_or_else(missing)?;
            ranges.check_width(vector)?;
            ranges.append_quantized(vector, &mut bytes);
        } else {
            bytes.extend(vector.chunks(8).map(pack_signs));
        }
        if quantization.is_signed() {
            bytes[first..].iter_mut().for_each(|byte| *byte = byte.wrapping_sub(128));
        }
    }
    Ok(bytes)
}

/// Packs whether each of up to eight elements is positive, the first as the highest bit.
fn pack_signs(elements: &[f32]) -> u8 {
    let append_bit = |byte: u8, &x: &f32| byte << 1 | u8::from(x > 0.0);
    elements.iter().fold(0, append_bit) << (8 - elements.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_elements_quantize_to_known_bytes() {
        let ranges = Ranges::from_vectors([[0.0, -1.0, 5.0].as_slice(), &[255.0, 1.0, 5.0]]).expect("ranges");
        let vector = [[1.999, 0.0, 7.5].as_slice(), &[-3.0, 9.0, 4.0]];
        let unsigned = quantize(Quantization::Uint8, vector, Some(&ranges)).expect("bytes");
        // A constant dimension has a step of 1.
        assert_eq!(unsigned, [1, 127, 2, 0, 255, 0]);
        let signed = quantize(Quantization::Int8, vector, Some(&ranges)).expect("bytes");
        assert_eq!(signed, unsigned.iter().map(|byte| byte.wrapping_sub(128)).collect::<Vec<_>>());
        let nine = [1.0, 0.0, -0.0, 2.0, -1.0, 0.1, 0.0, 1e-30, 3.0];
        assert_eq!(
            quantize(Quantization::Ubinary, [nine.as_slice()], None).expect("bytes"),
            [0b1001_0101, 0b1000_0000]
        );
        assert_eq!(quantize(Quantization::Binary, [nine.as_slice()], None).expect("bytes"), [0b0001_0101, 0]);
        assert_eq!((Quantization::Binary.bytes_per_vector(9), Quantization::Int8.bytes_per_vector(9)), (2, 9));
    }

    /// Ranges of width 0 would turn every vector into the same bytes.
    #[test]
    fn ranges_of_equal_vectors_are_rejected() {
        let vectors = [[1.0, -2.0]; 3];
        let error = Ranges::from_vectors(vectors.iter().map(|vector| vector.as_slice()));
        assert!(matches!(error, Err(Error::InvalidRanges(_))), "{error:?}");
        // One constant dimension is no error.
        assert!(Ranges::from_vectors([[1.0, -2.0].as_slice(), &[1.0, 3.0]]).is_ok());
    }

    #[test]
    fn invalid_ranges_and_widths_are_rejected() {
        let one = [1.0, 2.0];
        assert!(matches!(Ranges::from_vectors([one.as_slice()]), Err(Error::InvalidRanges(_))));
        assert!(matches!(
            Ranges::from_vectors([one.as_slice(), &[1.0]]),
            Err(Error::WidthMismatch { left: 2, right: 1 })
        ));
        assert!(
            Ranges::from_vectors([one.as_slice(), &[1.0, f32::NAN]]).is_err()
                && Ranges::new(vec![f32::NAN], vec![1.0]).is_err()
        );
        assert!(quantize(Quantization::Int8, [one.as_slice()], None).is_err());
        assert!(matches!(Ranges::new(vec![0.0, 2.0], vec![1.0, 1.5]), Err(Error::InvalidRanges(_))));
        let ranges = Ranges::new(vec![0.0], vec![1.0]).expect("ranges");
        assert!(matches!(
            quantize(Quantization::Uint8, [one.as_slice()], Some(&ranges)),
            Err(Error::WidthMismatch { left: 1, right: 2 })
        ));
        for quantization in [Quantization::Uint8, Quantization::Ubinary] {
            for special in [f32::NAN, f32::INFINITY] {
                let vectors = [[1.0].as_slice(), &[special]];
                let result = quantize(quantization, vectors, Some(&ranges));
                assert!(matches!(result, Err(Error::NotFinite { text: 1 })), "{special}");
            }
        }
        assert!("float32".parse::<Quantization>().is_err() && "int8".parse() == Ok(Quantization::Int8));
    }
}
