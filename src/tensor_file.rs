//! Writing safetensors files.

use std::borrow::Cow;
use std::io::{Result, Write};

use bytemuck::NoUninit;
use likewise_kernels::memory::CACHE_LINE_BYTES;
use safetensors::Dtype;
use serde_json::{Map, Value, json};

/// Tensors to write to a safetensors file, in their order. The bytes of the file depend on nothing
/// else.
///
/// ```
/// let mut file = likewise::TensorFile::new();
/// file.set_metadata("letters", "[S, E]");
/// file.add_f32("vectors", &[2, 1], &[0.5, 1.0]);
/// let mut bytes = Vec::new();
/// file.write(&mut bytes)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct TensorFile<'a> {
    metadata: Map<String, Value>,
    tensors: Vec<TensorEntry<'a>>,
}

#[derive(Debug)]
struct TensorEntry<'a> {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl<'a> TensorFile<'a> {
    /// Makes a file without tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an entry of the metadata.
    pub fn set_metadata(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.metadata.insert(key.into(), Value::String(value.into()));
    }

    /// Adds a tensor of 32-bit floats.
    ///
    /// # Panics
    /// If the shape does not have as many elements.
    pub fn add_f32(&mut self, name: impl Into<String>, shape: &[usize], elements: impl Into<Cow<'a, [f32]>>) {
        self.add_elements(name.into(), Dtype::F32, shape, elements.into());
    }

    /// Adds a tensor of 64-bit integers.
    ///
    /// # Panics
    /// See [`Self::add_f32`].
    pub fn add_i64(&mut self, name: impl Into<String>, shape: &[usize], elements: impl Into<Cow<'a, [i64]>>) {
        self.add_elements(name.into(), Dtype::I64, shape, elements.into());
    }

    /// Adds a tensor of 32-bit integers without a sign.
    ///
    /// # Panics
    /// See [`Self::add_f32`].
    pub fn add_u32(&mut self, name: impl Into<String>, shape: &[usize], elements: impl Into<Cow<'a, [u32]>>) {
        self.add_elements(name.into(), Dtype::U32, shape, elements.into());
    }

    /// Adds a tensor of 32-bit integers.
    ///
    /// # Panics
    /// See [`Self::add_f32`].
    pub fn add_i32(&mut self, name: impl Into<String>, shape: &[usize], elements: impl Into<Cow<'a, [i32]>>) {
        self.add_elements(name.into(), Dtype::I32, shape, elements.into());
    }

    /// Adds a tensor with its bytes, as another file has them.
    pub(crate) fn add_bytes(&mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: &'a [u8]) {
        let (name, bytes) = (name.to_owned(), Cow::Borrowed(bytes));
        self.tensors.push(TensorEntry { name, dtype, shape: shape.to_vec(), bytes });
    }

    fn add_elements<T: NoUninit>(&mut self, name: String, dtype: Dtype, shape: &[usize], elements: Cow<'a, [T]>) {
        let count: usize = shape.iter().product();
        assert_eq!(elements.len(), count, "elements of the tensor {name} of shape {shape:?}");
        let bytes = match elements {
            Cow::Borrowed(elements) => Cow::Borrowed(bytemuck::cast_slice(elements)),
            Cow::Owned(elements) => Cow::Owned(bytemuck::cast_slice(&elements).to_vec()),
        };
        self.tensors.push(TensorEntry { name, dtype, shape: shape.to_vec(), bytes });
    }

    /// Returns the bytes of all tensors.
    pub(crate) fn tensor_bytes(&self) -> usize {
        self.tensors.iter().map(|tensor| tensor.bytes.len()).sum()
    }

    /// Writes the format: the length of the header, the header in JSON, the tensors. The header is
    /// padded with spaces so that the first tensor starts at a cache line. (The format's own
    /// libraries pad to eight bytes.)
    ///
    /// # Errors
    /// If `out` fails.
    pub fn write(&self, mut out: impl Write) -> Result<()> {
        let mut header = Map::new();
        if !self.metadata.is_empty() {
            header.insert("__metadata__".to_owned(), Value::Object(self.metadata.clone()));
        }
        let mut end = 0;
        for tensor in &self.tensors {
            let start = end;
            end += tensor.bytes.len();
            let value = json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, end] });
            header.insert(tensor.name.clone(), value);
        }
        let mut header = Value::Object(header).to_string();
        let unpadded = size_of::<u64>() + header.len();
        header.push_str(&" ".repeat(unpadded.next_multiple_of(CACHE_LINE_BYTES) - unpadded));
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        self.tensors.iter().try_for_each(|tensor| out.write_all(&tensor.bytes))
    }
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    #[test]
    fn written_tensors_and_metadata_are_read_back() {
        let mut file = TensorFile::new();
        file.set_metadata("key", "value");
        file.add_f32("b", &[1, 2], &[0.5, -1.0][..]);
        file.add_i64("a", &[1], vec![-7]);
        let mut bytes = Vec::new();
        file.write(&mut bytes).expect("written");
        let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
        assert_eq!(tensors.tensor("a").expect("a tensor").data(), (-7_i64).to_le_bytes());
        assert_eq!(tensors.tensor("b").expect("a tensor").shape(), [1, 2]);
        let (header_bytes, header) = SafeTensors::read_metadata(&bytes).expect("a header");
        assert!((header_bytes + 8).is_multiple_of(CACHE_LINE_BYTES));
        assert_eq!(header.metadata().as_ref().and_then(|metadata| metadata.get("key")).expect("a value"), "value");
    }
}
