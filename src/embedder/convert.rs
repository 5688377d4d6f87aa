//! Writing a converted model.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytemuck::NoUninit;
use likewise_kernels::Level;
use likewise_kernels::memory::CACHE_LINE_BYTES;
use likewise_kernels::quant::Precision;
use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::builder::LoadedModel;
use super::{Builder, Embedder};
use crate::checkpoint::{CONVERTED_VERSION, Checkpoint, Tensor};
use crate::error::{ContentError, Error, Result};
use crate::files::{ModelFiles, resolve_inside};
use crate::model_folder::{CONVERTED_WEIGHTS, file_in, size_limit};
use crate::output_file::OutputFile;
use crate::static_embedding::StaticFolder;

/// A summary of a conversion with [`Builder::convert`].
#[derive(Clone, Copy, Debug)]
pub struct Converted {
    /// The level for which the weights are packed.
    pub level: Level,
    /// The type of the packed weights.
    pub precision: Precision,
    /// The size of the packed matrices in bytes, with scales and sums.
    pub packed: usize,
    /// The size of all other tensors in bytes.
    pub tables: usize,
    /// The number of files in addition to `likewise.safetensors`.
    pub files: usize,
}

impl Builder {
    /// Writes a model to a new folder, with the weights packed for this builder's level and
    /// precision.
    ///
    /// Opening the new folder maps the weights without computing or copying them. Processes that
    /// open the same folder share the memory.
    ///
    /// The folder works only with this level and precision, and with versions of this package that
    /// pack weights alike. Any other combination is an error. Of the builder's other settings, only
    /// the number of threads applies.
    ///
    /// # Errors
    /// If the model cannot be opened, is converted already or has no encoder, or the folder is not
    /// empty or cannot be written.
    pub fn convert(self, files: &ModelFiles, folder: impl AsRef<Path>) -> Result<Converted> {
        let mut folder = NewFolder::prepare(folder.as_ref())?;
        reject_table(files)?;
        let LoadedModel { embedder, checkpoint, mut manifest, unpacked } = self.load(files)?;
        reject_converted(&checkpoint)?;
        manifest.insert_license_and_readme_files(files)?;
        for name in manifest.iter() {
            let Some(bytes) = files.read_up_to(name, size_limit(name))? else { continue };
            folder.write(name, |out| out.write_all(&bytes))?;
        }
        let packed = packed_tensors(&embedder);
        let rest: Vec<TensorEntry<'_>> = unpacked.iter().map(TensorEntry::unchanged).collect();
        // The converted weights replace the originals, which may be in a subfolder.
        let weights = checkpoint.file_names().first();
        let subfolder = weights.and_then(|name| name.rsplit_once('/')).map_or("", |(subfolder, _)| subfolder);
        // The weights are last: an unfinished folder has none and cannot be opened.
        let name = file_in(subfolder, CONVERTED_WEIGHTS);
        folder.write(&name, |out| write(out, &metadata(&embedder), packed.iter().chain(&rest)))?;
        folder.commit()?;
        let bytes = |tensors: &[TensorEntry<'_>]| tensors.iter().map(|tensor| tensor.bytes.len()).sum();
        Ok(Converted {
            level: embedder.level(),
            precision: embedder.precision(),
            packed: bytes(&packed),
            tables: bytes(&rest),
            files: manifest.len(),
        })
    }
}

/// Rejects a folder with files in it, which a conversion could overwrite.
fn reject_nonempty(folder: &Path) -> Result<()> {
    match std::fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(io_error("convert to", folder)(io::Error::other("the folder is not empty"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error("list", folder)(error)),
    }
}

/// Rejects a converted model, whose weights are packed already.
fn reject_converted(checkpoint: &Checkpoint) -> Result<()> {
    if checkpoint.converted_format().is_none() {
        return Ok(());
    }
    Err(Error::Converted {
        file: checkpoint.label().to_owned(),
        key: "format".to_owned(),
        expected: "model.safetensors, the weights of an original model".to_owned(),
        found: "those of one that was converted before".to_owned(),
    })
}

/// Rejects static embeddings, which have no matrices to pack.
fn reject_table(files: &ModelFiles) -> Result<()> {
    if StaticFolder::detect(files)?.is_none() {
        return Ok(());
    }
    Err(Error::Content(Box::new(ContentError {
        file: files.origin(),
        place: None,
        expected: "a model with an encoder, whose weights can be packed".to_owned(),
        found: "static embeddings".to_owned(),
        advice: "open this folder as it is: its table is memory-mapped without being computed or copied",
    })))
}

/// A folder to create, with its files. Nothing exists before [`Self::commit`], so that a process
/// that is ended leaves nothing.
struct NewFolder {
    path: PathBuf,
    /// The folder itself, or the nearest parent that exists.
    existing: PathBuf,
    files: Vec<(PathBuf, OutputFile)>,
}

impl NewFolder {
    /// Checks that the folder is empty or does not exist, and that it can be written.
    fn prepare(path: &Path) -> Result<Self> {
        reject_nonempty(path)?;
        let existing = path.ancestors().find(|path| path.exists()).filter(|path| !path.as_os_str().is_empty());
        let existing = existing.unwrap_or(Path::new(".")).to_owned();
        OutputFile::staged_in(&existing, path.to_owned(), false)?;
        Ok(Self { path: path.to_owned(), existing, files: Vec::new() })
    }

    /// Writes a file by its name in the folder.
    fn write(&mut self, name: &str, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        let path = resolve_inside(&self.path, name)?;
        // Another process could have created the same file since the check: never overwrite.
        let mut file = OutputFile::staged_in(&self.existing, path.clone(), false)?;
        file.write(write)?;
        self.files.push((path, file));
        Ok(())
    }

    /// Creates the folder and its files, in the order in which they were written.
    fn commit(self) -> Result<()> {
        let mut created = Created::default();
        created.create_folder(&self.path)?;
        for (path, file) in self.files {
            if let Some(parent) = path.parent() {
                created.create_folder(parent)?;
            }
            file.commit()?;
            created.files.push(path);
        }
        created.keep();
        Ok(())
    }
}

/// New files and folders. Dropping this removes them, unless [`Self::keep`] was called.
#[derive(Default)]
struct Created {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Created {
    /// Creates a folder and its missing parents.
    fn create_folder(&mut self, path: &Path) -> Result<()> {
        let missing = path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let missing: Vec<_> = missing.map(Path::to_owned).collect();
        self.folders.extend(missing.into_iter().rev());
        std::fs::create_dir_all(path).map_err(io_error("create", path))
    }

    fn keep(mut self) {
        self.files.clear();
        self.folders.clear();
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        // Ignore failures here: the error that stopped the conversion is the one to report.
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
    /// Makes the entry of a tensor with the bytes of the file that it comes from.
    fn unchanged((name, tensor): (&'a String, &'a Tensor)) -> Self {
        let bytes = Cow::Borrowed(tensor.as_bytes());
        Self { name: name.clone(), dtype: tensor.file_dtype(), shape: tensor.shape().to_vec(), bytes }
    }

    fn new(name: String, dtype: Dtype, shape: &[usize], elements: &'a [impl NoUninit]) -> Self {
        Self { name, dtype, shape: shape.to_vec(), bytes: Cow::Borrowed(bytemuck::cast_slice(elements)) }
    }
}

/// Returns the matrices in the order in which a pass reads them, and then their scales and sums.
fn packed_tensors(embedder: &Embedder) -> Vec<TensorEntry<'_>> {
    let Some(backbone) = embedder.token_vectors.backbone() else { return Vec::new() };
    let encoder = backbone.encoder();
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
    out: &mut dyn Write,
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

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, action, source }
}
