//! NumPy's file format (`numpy.lib.format`): magic, version, length of the header, a Python dict,
//! the elements.
//!
//! The crate `npyz` reads more types than are needed here, and its parser of Python literals
//! compiles assembly with a C compiler (`psm`), which no build of this project may need.

use std::ops::Range;

use crate::error::{Error, Result};

/// The first bytes of every `.npy` file.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// The data of a file starts at a multiple of this many bytes.
const ALIGNMENT: usize = 64;

/// The shape of an array of floats, and where its data is.
pub(super) struct NpyArray {
    pub(super) rows: usize,
    pub(super) width: usize,
    /// Bytes of an element: 2, 4 or 8.
    pub(super) element_size: usize,
    pub(super) data: Range<usize>,
}

/// Parses the header of a two-dimensional array of floats.
///
/// # Errors
/// If the header is damaged or describes another kind of array, or the length of the data does not
/// match the shape.
pub(super) fn parse(file: &str, bytes: &[u8]) -> Result<NpyArray> {
    const BEGINNING: &str = "the beginning of a NumPy file";
    let wrong = |expected, found: &str| {
        let found = found.chars().take(80).collect();
        Error::Vectors { file: file.to_owned(), expected, found }
    };
    let (length, start) = match bytes[MAGIC.len()..] {
        [1, _, a, b, ..] => (usize::from(u16::from_le_bytes([a, b])), MAGIC.len() + 4),
        [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([a, b, c, d]) as usize, MAGIC.len() + 6),
        _ => return Err(wrong(BEGINNING, "another version, or the end")),
    };
    let header = start.checked_add(length).and_then(|end| bytes.get(start..end));
    let header = header.and_then(|header| std::str::from_utf8(header).ok()).ok_or_else(|| wrong(BEGINNING, "less"))?;
    let value = |key: &str| header.split_once(&format!("'{key}':")).map_or("", |(_, rest)| rest.trim_start());
    if !value("fortran_order").starts_with("False") {
        return Err(wrong("an array in C order", header));
    }
    let shape = value("shape").strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or("", |(shape, _)| shape);
    let sizes: Option<Vec<usize>> = shape.split(',').map(|size| size.trim().parse().ok()).collect();
    let Some(&[rows, width]) = sizes.as_deref() else { return Err(wrong("an array of two dimensions", header)) };
    let element_size = match value("descr").get(..5) {
        Some("'<f2'") => 2,
        Some("'<f4'") => 4,
        Some("'<f8'") => 8,
        _ => return Err(wrong("floats in little-endian order: <f2, <f4 or <f8", header)),
    };
    let data = start + length..bytes.len();
    if rows.checked_mul(width).and_then(|count| count.checked_mul(element_size)) != Some(data.len()) {
        return Err(wrong("as many bytes as the shape says", &format!("{} for {shape}", data.len())));
    }
    Ok(NpyArray { rows, width, element_size, data })
}

/// Returns everything that precedes the data of an array `[rows, width]` in a file of version 1.0.
///
/// `descr` is NumPy's name of the element type.
pub(super) fn header(descr: &str, rows: usize, width: usize) -> Vec<u8> {
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    let prefix = MAGIC.len() + 4;
    let total = (prefix + dict.len() + 1).next_multiple_of(ALIGNMENT);
    // The dict has at most some hundred bytes: two integers vary in length.
    let length = (total - prefix) as u16;
    let mut header = MAGIC.to_vec();
    header.extend([1, 0]);
    header.extend(length.to_le_bytes());
    header.extend(dict.as_bytes());
    header.resize(total - 1, b' ');
    header.push(b'\n');
    header
}
