//! The files that one model consists of.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::known_files::{Condition, Folder, KNOWN_FILES, Role, is_license_or_readme, size_limit};
use crate::config::JsonObject;
use crate::error::{Error, Result};
use crate::files::ModelFiles;

/// The files that a model was read from, by their names in its folder, without the encoder's
/// weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    names: BTreeSet<String>,
}

impl Manifest {
    /// Reads a file and adds it. Returns None if the file does not exist.
    pub(crate) fn read<'f>(&mut self, files: &'f ModelFiles, name: &str) -> Result<Option<Cow<'f, [u8]>>> {
        let bytes = files.read_up_to(name, size_limit(name))?;
        if bytes.is_some() {
            self.names.insert(files.full_name(name));
        }
        Ok(bytes)
    }

    /// Reads and adds a file that must exist. `why` says what the file is needed for.
    pub(crate) fn require<'f>(
        &mut self,
        files: &'f ModelFiles,
        name: &str,
        why: &'static str,
    ) -> Result<Cow<'f, [u8]>> {
        self.read(files, name)?.ok_or_else(|| files.missing_file(name, why))
    }

    /// Reads and adds a file that contains a JSON object. Returns None if the file does not exist.
    pub(crate) fn json(&mut self, files: &ModelFiles, name: &str) -> Result<Option<JsonObject>> {
        self.read(files, name)?.map(|bytes| JsonObject::parse(&files.label(name), &bytes)).transpose()
    }

    /// Adds a file by its name in the model's folder.
    pub(crate) fn insert(&mut self, full_name: String) {
        self.names.insert(full_name);
    }

    /// Adds the files of another manifest.
    pub(crate) fn merge(&mut self, other: Self) {
        self.names.extend(other.names);
    }

    /// Adds the licenses and READMEs in the model's folder.
    pub(crate) fn insert_license_and_readme_files(&mut self, files: &ModelFiles) -> Result<()> {
        self.names.extend(files.list()?.into_iter().filter(|name| is_license_or_readme(name)));
        Ok(())
    }

    /// Returns the number of files.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Returns the names in alphabetical order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

/// Rejects a model with files that change the vectors in a way that is not supported.
pub(crate) fn reject_unsupported_files(
    files: &ModelFiles,
    encoder_files: &ModelFiles,
    has_modules: bool,
) -> Result<()> {
    for file in &KNOWN_FILES {
        let Role::Unsupported { expected, found } = file.role else { continue };
        let files = match file.folder {
            Folder::Model => files,
            Folder::Encoder => encoder_files,
        };
        let applies = file.condition == Condition::Always || !has_modules;
        if applies && files.read(file.name)?.is_some() {
            return Err(Error::config(&files.label(file.name), "(the whole file)", expected, found));
        }
    }
    Ok(())
}
