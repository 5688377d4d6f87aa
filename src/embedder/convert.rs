//! Writing a converted model.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

use super::builder::LoadedModel;
use super::{Builder, Embedder};
use crate::checkpoint::{CONVERTED_VERSION, Checkpoint};
use crate::error::{ContentError, Error, Result};
use crate::files::{ModelFiles, resolve_inside};
use crate::model_folder::{CONVERTED_WEIGHTS, file_in, size_limit};
use crate::output_file::OutputFile;
use crate::static_embedding::StaticFolder;
use crate::tensor_file::TensorFile;

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
        let mut file = TensorFile::new();
        file.set_metadata("format", "likewise");
        file.set_metadata("version", CONVERTED_VERSION);
        file.set_metadata("level", embedder.level().name());
        file.set_metadata("precision", embedder.precision().name());
        add_packed_tensors(&mut file, &embedder);
        let packed = file.tensor_bytes();
        for (name, tensor) in &unpacked {
            file.add_bytes(name, tensor.file_dtype(), tensor.shape(), tensor.as_bytes());
        }
        // The converted weights replace the originals, which may be in a subfolder.
        let weights = checkpoint.file_names().first();
        let subfolder = weights.and_then(|name| name.rsplit_once('/')).map_or("", |(subfolder, _)| subfolder);
        // The weights are last: an unfinished folder has none and cannot be opened.
        let name = file_in(subfolder, CONVERTED_WEIGHTS);
        folder.write(&name, |out| file.write(out))?;
        folder.commit()?;
        Ok(Converted {
            level: embedder.level(),
            precision: embedder.precision(),
            packed,
            tables: file.tensor_bytes() - packed,
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

/// Adds the matrices in the order in which a pass reads them, and then their scales and sums.
fn add_packed_tensors<'a>(file: &mut TensorFile<'a>, embedder: &'a Embedder) {
    let Some(backbone) = embedder.token_vectors.backbone() else { return };
    let encoder = backbone.encoder();
    let matrices = || encoder.spec().linears().zip(encoder.packed_matrices());
    for (linear, (shape, weights)) in matrices() {
        let words: &[u32] = bytemuck::cast_slice(weights.packed);
        file.add_u32(format!("{}.words", linear.name()), &shape, words);
    }
    for (linear, (_, weights)) in matrices().filter(|(_, (_, weights))| !weights.scales.is_empty()) {
        file.add_f32(format!("{}.scales", linear.name()), &[weights.scales.len()], weights.scales);
        file.add_i32(format!("{}.sums", linear.name()), &[weights.sums.len()], weights.sums);
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, action, source }
}
