//! Writing a converted model.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use bytemuck::NoUninit;
use likewise_kernels::Level;
use likewise_kernels::quant::Precision;
use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::builder::LoadedModel;
use super::{Builder, Embedder};
use crate::bytes::CACHE_LINE_BYTES;
use crate::checkpoint::{CONVERTED, CONVERTED_VERSION, Tensor};
use crate::error::{Error, Result};
use crate::files::{ModelFiles, inside};

/// What [`Builder::convert`] has written.
#[derive(Clone, Copy, Debug)]
pub struct Converted {
    /// What for.
    pub level: Level,
    /// In what type of numbers.
    pub precision: Precision,
    /// Bytes of the packed matrices, with their scales and sums.
    pub packed: usize,
    /// Bytes of all other tensors.
    pub tables: usize,
    /// Files beside `likewise.safetensors`.
    pub files: usize,
}

impl Builder {
    /// Writes a model to a new folder, its matrices packed for this builder's level and precision.
    /// Opening that folder maps them as they lie, none is computed or copied, and processes that
    /// open the same folder share their memory.
    ///
    /// The folder holds for this level and precision, and for versions of this package that pack
    /// alike; others refuse it by name. Of the other settings of the builder only the number of
    /// threads has a meaning here.
    ///
    /// # Errors
    /// If the model cannot be opened, was converted before, or the folder is not empty or cannot be
    /// written.
    pub fn convert(self, files: &ModelFiles, folder: impl AsRef<Path>) -> Result<Converted> {
        let folder = folder.as_ref();
        // Before the work, and so that nothing of anybody's is replaced.
        match std::fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Ok(false) => return Err(cannot("convert to", folder)(io::Error::other("the folder is not empty"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot("list", folder)(error)),
        }
        // What opening it reads, and not what an earlier opening of the same files read.
        let files = &files.anew();
        let LoadedModel { embedder, checkpoint, unpacked } = self.load(files)?;
        if checkpoint.converted_format().is_some() {
            let expected = "model.safetensors, the weights of an original model".to_owned();
            let found = "those of one that was converted before".to_owned();
            return Err(Error::Converted {
                file: checkpoint.label().to_owned(),
                key: "format".to_owned(),
                expected,
                found,
            });
        }
        let mut begun = Begun::default();
        begun.folder(folder)?;
        let weights = checkpoint.file_names();
        // A set, because what says whose the model is may be among what was read.
        let mut names: BTreeSet<String> = files.used().into_iter().filter(|name| !weights.contains(name)).collect();
        names.extend(files.notices()?);
        for name in &names {
            let Some(bytes) = files.read(name)? else { continue };
            let path = inside(folder, name)?;
            if let Some(parent) = path.parent() {
                begun.folder(parent)?;
            }
            begun.file(&path)?.write_all(&bytes).map_err(cannot("write", &path))?;
        }
        let packed = packed_tensors(&embedder);
        let rest: Vec<TensorEntry<'_>> = unpacked.iter().map(TensorEntry::unchanged).collect();
        // Last, and under its name when it is whole: a folder that was not finished has no weights,
        // and is refused.
        let beside = weights.first().and_then(|name| Path::new(name).parent()).unwrap_or(Path::new(""));
        let path = folder.join(beside).join(CONVERTED);
        let partial = path.with_extension("partial");
        let mut out = BufWriter::new(begun.file(&partial)?);
        let mut write = || -> io::Result<()> {
            write(&mut out, &metadata(&embedder), packed.iter().chain(&rest))?;
            out.flush()?;
            out.get_ref().sync_all()?;
            std::fs::rename(&partial, &path)
        };
        write().map_err(cannot("write", &path))?;
        begun.finish();
        let bytes = |tensors: &[TensorEntry<'_>]| tensors.iter().map(|tensor| tensor.bytes.len()).sum();
        let (level, precision) = (embedder.level(), embedder.precision());
        Ok(Converted { level, precision, packed: bytes(&packed), tables: bytes(&rest), files: names.len() })
    }
}

/// Files and folders that have been made, in their order. Unless all is finished they are removed
/// again.
#[derive(Default)]
struct Begun {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Begun {
    /// Makes a folder, and those that it lies in, unless they are there.
    fn folder(&mut self, path: &Path) -> Result<()> {
        let missing = path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let missing: Vec<_> = missing.map(Path::to_owned).collect();
        self.folders.extend(missing.into_iter().rev());
        std::fs::create_dir_all(path).map_err(cannot("create", path))
    }

    /// A new file: nothing of anybody's is replaced, whatever has come to stand there since.
    fn file(&mut self, path: &Path) -> Result<File> {
        let file = File::create_new(path).map_err(cannot("write", path))?;
        self.files.push(path.to_owned());
        Ok(file)
    }

    fn finish(mut self) {
        (self.files, self.folders) = Default::default();
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        // What cannot be removed stays: the error that ended the work is the one to report.
        for file in &self.files {
            drop(std::fs::remove_file(file));
        }
        for folder in self.folders.iter().rev() {
            drop(std::fs::remove_dir(folder));
        }
    }
}

/// A tensor to write.
struct TensorEntry<'a> {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl<'a> TensorEntry<'a> {
    /// A tensor with the bytes of the file that it comes from.
    fn unchanged((name, tensor): (&'a String, &'a Tensor)) -> Self {
        let bytes = Cow::Borrowed(tensor.as_bytes());
        Self { name: name.clone(), dtype: tensor.file_dtype(), shape: tensor.shape().to_vec(), bytes }
    }

    fn new(name: String, dtype: Dtype, shape: &[usize], elements: &'a [impl NoUninit]) -> Self {
        Self { name, dtype, shape: shape.to_vec(), bytes: Cow::Borrowed(bytemuck::cast_slice(elements)) }
    }
}

/// The matrices in the order in which a pass reads them; then their scales and sums.
fn packed_tensors(embedder: &Embedder) -> Vec<TensorEntry<'_>> {
    let encoder = embedder.encoder();
    let mut matrices = Vec::new();
    let mut scales_and_sums = Vec::new();
    for (linear, (shape, weights)) in encoder.spec().linears().zip(encoder.packed_matrices()) {
        let name = linear.name();
        matrices.push(TensorEntry::new(format!("{name}.words"), Dtype::U32, &shape, weights.packed));
        let outputs = weights.scales.len();
        if outputs > 0 {
            let scales = TensorEntry::new(format!("{name}.scales"), Dtype::F32, &[outputs], weights.scales);
            let sums = TensorEntry::new(format!("{name}.sums"), Dtype::I32, &[outputs], weights.sums);
            scales_and_sums.extend([scales, sums]);
        }
    }
    matrices.append(&mut scales_and_sums);
    matrices
}

fn metadata(embedder: &Embedder) -> Value {
    json!({
        "format": "likewise", "version": CONVERTED_VERSION, "level": embedder.level().name(), "precision": embedder.precision().name(),
    })
}

/// Writes the safetensors format: the length of the header, the header in JSON, the tensors. The
/// header is padded with spaces so that the first tensor starts at a cache line. (The format's own
/// libraries pad to eight bytes.)
fn write<'a>(
    out: &mut impl Write,
    metadata: &Value,
    tensors: impl Iterator<Item = &'a TensorEntry<'a>> + Clone,
) -> io::Result<()> {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), metadata.clone());
    let mut end = 0;
    for tensor in tensors.clone() {
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
    for tensor in tensors {
        out.write_all(&tensor.bytes)?;
    }
    Ok(())
}

fn cannot(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, action, source }
}
