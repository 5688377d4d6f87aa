//! Vectors in fewer bits, for indexes that store many.
//!
//! | form | numbers become | bytes for D numbers |
//! |---|---|---|
//! | `uint8` | ⌊255 (x − minima) / (maxima − minima)⌋, from 0 to 255 | D |
//! | `int8` | the same less 128 | D |
//! | `ubinary` | 1 where x > 0, else 0; the first of eight is the highest bit of a byte | ⌈D/8⌉ |
//! | `binary` | the same byte less 128 | ⌈D/8⌉ |
//!
//! `minima` and `maxima` are found for each dimension in many vectors ([`Ranges`]); vectors that are compared with one another must
//! have the same. All is computed in f32, operation by operation as the reference does it, so that the bytes are the same.
//! Follows sentence-transformers 6.2.0, `util/quantization.py`, `quantize_embeddings`.

use std::str::FromStr;

use crate::error::{Error, Result};

/// What a vector's numbers are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// Bytes from −128 to 127.
    Int8,
    /// Bytes from 0 to 255.
    Uint8,
    /// A bit for each number, in bytes from −128 to 127.
    Binary,
    /// A bit for each number, in bytes from 0 to 255.
    Ubinary,
}

impl Quantization {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Int8, Self::Uint8, Self::Binary, Self::Ubinary];

    /// Its name: "int8", "uint8", "binary", "ubinary".
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Uint8 => "uint8",
            Self::Binary => "binary",
            Self::Ubinary => "ubinary",
        }
    }

    /// Whether its bytes are signed.
    pub fn is_signed(self) -> bool {
        matches!(self, Self::Int8 | Self::Binary)
    }

    /// Whether it needs [`Ranges`].
    pub fn needs_ranges(self) -> bool {
        matches!(self, Self::Int8 | Self::Uint8)
    }

    /// Bytes of a vector of so many numbers.
    pub fn width(self, numbers: usize) -> usize {
        if self.needs_ranges() { numbers } else { numbers.div_ceil(8) }
    }
}

impl FromStr for Quantization {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let find = Self::ALL.into_iter().find(|form| form.name() == name);
        find.ok_or_else(|| "expected int8, uint8, binary or ubinary".to_owned())
    }
}

/// The minima and the largest number of each dimension.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranges {
    minima: Vec<f32>,
    maxima: Vec<f32>,
}

impl Ranges {
    /// Those of some vectors of one width, at minima two. With fewer than a hundred they say little about other vectors.
    ///
    /// # Errors
    /// If there are fewer than two, they differ in width, or a number is not finite.
    pub fn from_vectors<'a>(vectors: impl IntoIterator<Item = &'a [f32]>) -> Result<Self> {
        let mut vectors = vectors.into_iter();
        let (first, second) = (vectors.next(), vectors.next());
        let (Some(first), Some(second)) = (first, second) else { return Err(Error::TooFewVectors) };
        let mut ranges = Self { minima: first.to_vec(), maxima: first.to_vec() };
        for vector in [first, second].into_iter().chain(vectors) {
            if vector.len() != ranges.minima.len() {
                return Err(Error::WidthMismatch { left: ranges.minima.len(), right: vector.len() });
            }
            if !vector.iter().all(|x| x.is_finite()) {
                return Err(Error::InvalidRanges("a number that is not finite".to_owned()));
            }
            for (i, &x) in vector.iter().enumerate() {
                ranges.minima[i] = ranges.minima[i].min(x);
                ranges.maxima[i] = ranges.maxima[i].max(x);
            }
        }
        Ok(ranges)
    }

    /// Given ones `[D]` each, as the rows of the array that the reference takes.
    ///
    /// # Errors
    /// If they differ in width, or a number is not finite.
    pub fn new(minima: Vec<f32>, maxima: Vec<f32>) -> Result<Self> {
        if minima.len() != maxima.len() {
            return Err(Error::WidthMismatch { left: minima.len(), right: maxima.len() });
        }
        match minima.iter().chain(&maxima).all(|x| x.is_finite()) {
            true => Ok(Self { minima, maxima }),
            false => Err(Error::InvalidRanges("a number that is not finite".to_owned())),
        }
    }

    /// Appends a vector's bytes, from 0 to 255.
    fn append(&self, vector: &[f32], bytes: &mut Vec<u8>) {
        for ((&x, &minima), &maxima) in vector.iter().zip(&self.minima).zip(&self.maxima) {
            let step = (maxima - minima) / 255.0;
            let step = if step == 0.0 { 1.0 } else { step };
            // The conversion saturates, as clipping does.
            bytes.push(((x - minima) / step).floor() as u8);
        }
    }
}

/// Quantized vectors `[n, width]`, row after row. Bytes of a signed form are in two's complement.
///
/// # Errors
/// If the form needs ranges and there are none, or a vector has another width than they.
pub fn quantize<'a>(
    form: Quantization,
    vectors: impl IntoIterator<Item = &'a [f32]>,
    ranges: Option<&Ranges>,
) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for vector in vectors {
        let first = bytes.len();
        if form.needs_ranges() {
            let ranges = ranges.ok_or_else(|| Error::InvalidRanges(format!("{} needs ranges", form.name())))?;
            if ranges.minima.len() != vector.len() {
                return Err(Error::WidthMismatch { left: ranges.minima.len(), right: vector.len() });
            }
            ranges.append(vector, &mut bytes);
        } else {
            let bit = |byte: u8, &x: &f32| byte << 1 | u8::from(x > 0.0);
            let eight = |part: &[f32]| part.iter().fold(0, bit) << (8 - part.len());
            bytes.extend(vector.chunks(8).map(eight));
        }
        if form.is_signed() {
            bytes[first..].iter_mut().for_each(|byte| *byte = byte.wrapping_sub(128));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_known_numbers() {
        let ranges = Ranges::from_vectors([[0.0, -1.0, 5.0].as_slice(), &[255.0, 1.0, 5.0]]).expect("ranges");
        let vector = [[1.999, 0.0, 7.5].as_slice(), &[-3.0, 9.0, 4.0]];
        let unsigned = quantize(Quantization::Uint8, vector, Some(&ranges)).expect("bytes");
        // A dimension that never changes has steps of 1.
        assert_eq!(unsigned, [1, 127, 2, 0, 255, 0]);
        let signed = quantize(Quantization::Int8, vector, Some(&ranges)).expect("bytes");
        assert_eq!(signed, unsigned.iter().map(|byte| byte.wrapping_sub(128)).collect::<Vec<_>>());
        let nine = [1.0, 0.0, -0.0, 2.0, -1.0, 0.1, 0.0, 1e-30, 3.0];
        assert_eq!(
            quantize(Quantization::Ubinary, [nine.as_slice()], None).expect("bytes"),
            [0b1001_0101, 0b1000_0000]
        );
        assert_eq!(quantize(Quantization::Binary, [nine.as_slice()], None).expect("bytes"), [0b0001_0101, 0]);
        assert_eq!((Quantization::Binary.width(9), Quantization::Int8.width(9)), (2, 9));
    }

    #[test]
    fn what_cannot_be_quantized() {
        let one = [1.0, 2.0];
        assert!(matches!(Ranges::from_vectors([one.as_slice()]), Err(Error::TooFewVectors)));
        assert!(matches!(
            Ranges::from_vectors([one.as_slice(), &[1.0]]),
            Err(Error::WidthMismatch { left: 2, right: 1 })
        ));
        assert!(
            Ranges::from_vectors([one.as_slice(), &[1.0, f32::NAN]]).is_err()
                && Ranges::new(vec![f32::NAN], vec![1.0]).is_err()
        );
        assert!(quantize(Quantization::Int8, [one.as_slice()], None).is_err());
        let ranges = Ranges::new(vec![0.0], vec![1.0]).expect("ranges");
        assert!(matches!(
            quantize(Quantization::Uint8, [one.as_slice()], Some(&ranges)),
            Err(Error::WidthMismatch { left: 1, right: 2 })
        ));
        assert!("float32".parse::<Quantization>().is_err() && "int8".parse() == Ok(Quantization::Int8));
    }
}
