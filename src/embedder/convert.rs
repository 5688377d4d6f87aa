//! Writing a converted model.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;
use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::{Builder, Embedder};
use crate::checkpoint::{CONVERTED_VERSION, Checkpoint, Tensor};
use crate::encoder::Encoder;
use crate::error::{Error, Result};
use crate::files::{ModelFiles, resolve_inside};
use crate::model_folder::{CONVERTED_WEIGHTS, Manifest, size_limit};

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
    /// If the model cannot be opened or is converted already, or the folder is not empty or cannot
    /// be written.
    pub fn convert(self, files: &ModelFiles, folder: impl AsRef<Path>) -> Result<Converted> {
        let folder = folder.as_ref();
        reject_nonempty(folder)?;
        let (embedder, checkpoint, mut manifest) = self.load(files)?;
        reject_converted(&checkpoint)?;
        manifest.insert_license_and_readme_files(files)?;
        let mut new_files = NewFiles::default();
        new_files.create_folder(folder)?;
        copy_files(files, &manifest, folder, &mut new_files)?;
        let packed = matrices(&embedder);
        let tensors = others(&embedder, &checkpoint)?;
        let rest: Vec<Part<'_>> = tensors.iter().map(Part::of).collect();
        // The converted weights replace the originals, which may be in a subfolder.
        let weights = checkpoint.file_names().first();
        let weights_folder = weights.and_then(|name| Path::new(name).parent()).unwrap_or(Path::new(""));
        let path = folder.join(weights_folder).join(CONVERTED_WEIGHTS);
        // Rename the complete file at the end. An unfinished folder has no weights and cannot be
        // opened.
        let partial = path.with_extension("partial");
        let mut out = BufWriter::new(new_files.create_file(&partial)?);
        let mut write = || -> io::Result<()> {
            write(&mut out, &metadata(&embedder), packed.iter().chain(&rest))?;
            out.flush()?;
            out.get_ref().sync_all()?;
            std::fs::rename(&partial, &path)
        };
        write().map_err(io_error("write", &path))?;
        new_files.keep();
        let bytes = |parts: &[Part<'_>]| parts.iter().map(|part| part.bytes.len()).sum();
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
    if checkpoint.packing().is_none() {
        return Ok(());
    }
    Err(Error::Converted {
        file: checkpoint.label().to_owned(),
        key: "format".to_owned(),
        expected: "model.safetensors, the weights of an original model".to_owned(),
        found: "those of one that was converted before".to_owned(),
    })
}

/// Copies the files of a manifest to a folder.
fn copy_files(files: &ModelFiles, manifest: &Manifest, folder: &Path, new_files: &mut NewFiles) -> Result<()> {
    for name in manifest.iter() {
        let Some(bytes) = files.read_up_to(name, size_limit(name))? else { continue };
        let path = resolve_inside(folder, name)?;
        if let Some(parent) = path.parent() {
            new_files.create_folder(parent)?;
        }
        new_files.create_file(&path)?.write_all(&bytes).map_err(io_error("write", &path))?;
    }
    Ok(())
}

/// New files and folders. Dropping this removes them, unless [`Self::keep`] was called.
#[derive(Default)]
struct NewFiles {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl NewFiles {
    /// Creates a folder and its missing parents.
    fn create_folder(&mut self, path: &Path) -> Result<()> {
        let missing = path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let missing: Vec<_> = missing.map(Path::to_owned).collect();
        self.folders.extend(missing.into_iter().rev());
        std::fs::create_dir_all(path).map_err(io_error("create", path))
    }

    /// Creates a file. Another process could have created the same file since the check: never
    /// overwrite.
    fn create_file(&mut self, path: &Path) -> Result<File> {
        let file = File::create_new(path).map_err(io_error("write", path))?;
        self.files.push(path.to_owned());
        Ok(file)
    }

    fn keep(mut self) {
        self.files.clear();
        self.folders.clear();
    }
}

impl Drop for NewFiles {
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
struct Part<'a> {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Part<'a> {
    /// A tensor as it lies in the file that it comes from.
    fn of((name, tensor): &'a (String, Tensor)) -> Self {
        let (dtype, shape) = (tensor.file_dtype(), tensor.shape().to_vec());
        Self { name: name.clone(), dtype, shape, bytes: Cow::Borrowed(tensor.as_bytes()) }
    }
}

/// The matrices in the order in which a pass reads them; then their scales and sums.
fn matrices(embedder: &Embedder) -> Vec<Part<'_>> {
    let (mut words, mut rest) = (Vec::new(), Vec::new());
    let encoder: &Encoder = embedder.encoder();
    for linear in encoder.linears() {
        let (name, n) = (linear.name(), linear.scales().len());
        let bytes = Cow::Borrowed(bytemuck::cast_slice(linear.words(encoder.weights())));
        words.push(Part { name: format!("{name}.words"), dtype: Dtype::U32, shape: linear.shape().to_vec(), bytes });
        if n > 0 {
            let (scales, sums) = (bytemuck::cast_slice(linear.scales()), bytemuck::cast_slice(linear.sums()));
            let part = |leaf, dtype, bytes| Part { name: format!("{name}.{leaf}"), dtype, shape: vec![n], bytes };
            rest.push(part("scales", Dtype::F32, Cow::Borrowed(scales)));
            rest.push(part("sums", Dtype::I32, Cow::Borrowed(sums)));
        }
    }
    words.append(&mut rest);
    words
}

/// All tensors that are used and not packed.
fn others(embedder: &Embedder, checkpoint: &Checkpoint) -> Result<Vec<(String, Tensor)>> {
    let packed: HashSet<String> = embedder.encoder().linears().flat_map(|linear| linear.sources()).collect();
    Ok(checkpoint.asked()?.into_iter().filter(|(name, _)| !packed.contains(name)).collect())
}

fn metadata(embedder: &Embedder) -> Value {
    json!({
        "format": "likewise", "version": CONVERTED_VERSION, "level": embedder.level().name(), "precision": embedder.precision().name(),
    })
}

/// The safetensors format: the length of the header, the header in JSON, the tensors. The header is
/// filled up with spaces so that the first tensor begins at a cache line (the format's own
/// libraries fill up to eight bytes).
fn write<'a>(
    out: &mut impl Write,
    metadata: &Value,
    parts: impl Iterator<Item = &'a Part<'a>> + Clone,
) -> io::Result<()> {
    const LINE: usize = 64;
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), metadata.clone());
    let mut end = 0;
    for part in parts.clone() {
        let start = end;
        end += part.bytes.len();
        let value = json!({ "dtype": part.dtype, "shape": part.shape, "data_offsets": [start, end] });
        header.insert(part.name.clone(), value);
    }
    let mut header = Value::Object(header).to_string();
    let before = size_of::<u64>() + header.len();
    header.push_str(&" ".repeat(before.next_multiple_of(LINE) - before));
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for part in parts {
        out.write_all(&part.bytes)?;
    }
    Ok(())
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, action, source }
}
