//! Storages, which are entries of the archive, and the tensors that are views of them.

use std::collections::HashMap;
use std::ops::Range;

use safetensors::Dtype;

use super::problem::{DAMAGED, Problem, Result, SAVE_AGAIN, quoted};
use super::zip::Archive;
use crate::checkpoint::stored_tensor::StoredTensor;

/// More axes than any weight has.
pub(super) const MAX_AXES: usize = 8;

/// More digits than the number of an entry has.
const MAX_KEY_DIGITS: usize = 20;

/// The elements of a storage, from the class that the pickle names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StorageClass {
    Typed(Dtype),
    /// Bytes. The tensors say what they are.
    Untyped,
}

impl StorageClass {
    fn name(self) -> String {
        match self {
            Self::Typed(dtype) => format!("{dtype:?}"),
            Self::Untyped => "bytes".to_owned(),
        }
    }

    fn element_bytes(self) -> usize {
        match self {
            Self::Typed(dtype) => dtype.bitsize() / 8,
            Self::Untyped => 1,
        }
    }
}

/// A storage: an entry of the archive.
#[derive(Clone)]
struct Storage {
    class: StorageClass,
    range: Range<usize>,
}

/// A view as the pickle describes it: numbers that nothing has checked yet.
pub(super) struct View<'v> {
    pub(super) storage: usize,
    /// The type of the elements, if the storage has none.
    pub(super) dtype: Option<Dtype>,
    pub(super) offset: i64,
    pub(super) shape: &'v [i64],
    pub(super) strides: &'v [i64],
}

/// The storages that a pickle has named.
pub(super) struct Storages<'a> {
    archive: &'a Archive<'a>,
    storages: Vec<Storage>,
    by_key: HashMap<&'a str, usize>,
}

impl<'a> Storages<'a> {
    pub(super) fn new(archive: &'a Archive<'a>) -> Self {
        Self { archive, storages: Vec::new(), by_key: HashMap::new() }
    }

    /// Returns the index of the storage `data/{key}`, which has `elements` of a class.
    ///
    /// # Errors
    /// If the archive has no such entry, its size differs, or the key had another class before.
    pub(super) fn find(&mut self, key: &'a str, class: StorageClass, elements: i64) -> Result<usize> {
        // The archive is searched by exact names, so no key can lead out of it. A long key is not
        // copied: a pickle may use it many times.
        let is_number = (1..=MAX_KEY_DIGITS).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_digit());
        let range = if is_number { self.archive.range(&format!("data/{key}")) } else { None };
        let Some(range) = range else {
            let found = format!("no entry for the key {}", quoted(key));
            return Err(Problem::new("a storage in the archive", found, DAMAGED));
        };
        let name = || quoted(&format!("data/{key}"));
        let bytes = usize::try_from(elements).ok().and_then(|n| n.checked_mul(class.element_bytes()));
        if bytes != Some(range.len()) {
            let found = format!("{elements} of {} bytes each", class.element_bytes());
            let expected = format!("as many elements as {} has bytes ({})", name(), range.len());
            return Err(Problem::new(expected, found, DAMAGED));
        }
        let next = self.storages.len();
        let index = *self.by_key.entry(key).or_insert(next);
        match self.storages.get(index) {
            None => self.storages.push(Storage { class, range }),
            Some(known) if known.class == class => {}
            Some(known) => {
                let found = format!("{} after {}", class.name(), known.class.name());
                return Err(Problem::new(format!("one type of elements of {}", name()), found, DAMAGED));
            }
        }
        Ok(index)
    }

    /// Returns the tensor that is a view of a storage.
    ///
    /// # Errors
    /// If the view has more elements than the storage.
    pub(super) fn view(&self, view: &View<'_>) -> Result<StoredTensor> {
        let Some(storage) = self.storages.get(view.storage) else {
            return Err(Problem::new("a storage", "none", DAMAGED));
        };
        let dtype = match (storage.class, view.dtype) {
            (StorageClass::Typed(dtype), None) => dtype,
            (StorageClass::Untyped, Some(dtype)) => dtype,
            (class, dtype) => {
                let found = format!("a storage of {} and a tensor of type {dtype:?}", class.name());
                return Err(Problem::new("one type of elements", found, DAMAGED));
            }
        };
        if view.shape.len() > MAX_AXES || view.shape.len() != view.strides.len() {
            let found = format!("{} sizes and {} strides", view.shape.len(), view.strides.len());
            return Err(Problem::new(format!("a tensor of at most {MAX_AXES} axes"), found, SAVE_AGAIN));
        }
        let outside = || {
            let found = format!("shape {:?}, strides {:?} from element {}", view.shape, view.strides, view.offset);
            Problem::new(format!("a tensor inside of its storage ({} bytes)", storage.range.len()), found, DAMAGED)
        };
        let numbers = |all: &[i64]| all.iter().map(|x| usize::try_from(*x).ok()).collect::<Option<Vec<_>>>();
        let shape = numbers(view.shape).ok_or_else(outside)?;
        let strides = numbers(view.strides).ok_or_else(outside)?;
        let offset = usize::try_from(view.offset).ok().ok_or_else(outside)?;
        let span = span(&shape, &strides).ok_or_else(outside)?;
        let element = dtype.bitsize() / 8;
        let start = offset.checked_mul(element).and_then(|start| start.checked_add(storage.range.start));
        let end = start.zip(span.checked_mul(element)).and_then(|(start, bytes)| start.checked_add(bytes));
        let range = start.zip(end).filter(|(_, end)| *end <= storage.range.end).ok_or_else(outside)?;
        let is_contiguous = is_contiguous(&shape, &strides);
        Ok(StoredTensor { dtype, shape, range: range.0..range.1, is_contiguous })
    }
}

/// Returns the distance from a tensor's first element to its last, plus one. That is zero without
/// elements. Returns None if it does not fit a number.
fn span(shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    let steps = shape.iter().zip(strides).map(|(size, stride)| (size - 1).checked_mul(*stride));
    steps.into_iter().try_fold(1_usize, |sum, step| sum.checked_add(step?))
}

/// Whether elements are in row-major order without gaps. The stride of an axis of one element does
/// not matter.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1_usize;
    shape.contains(&0)
        || shape.iter().zip(strides).rev().all(|(size, stride)| {
            let fits = *size == 1 || *stride == expected;
            expected = expected.saturating_mul(*size);
            fits
        })
}
