//! Weights of PyTorch: `pytorch_model.bin`, and any other file that `torch.save` wrote.
//!
//! Such a file is a zip archive. Its entry `data.pkl` is a pickle, which is a program, and each
//! entry `data/N` contains the elements of one storage. Loading a pickle in Python can run any
//! code. This reader runs none:
//!
//! * `zip` finds the entries. It reads archives without compression, and nothing twice.
//! * `opcode` and `globals` list the instructions and names that a dict of tensors needs. Any other
//!   one is an error that names it.
//! * `machine` executes these instructions. It makes no Python objects, and limits the number of
//!   instructions.
//! * `tensor` turns the views of storages to ranges of the file, which is mapped as safetensors
//!   are.

mod globals;
mod machine;
mod opcode;
mod problem;
mod tensor;
mod zip;

use std::collections::BTreeMap;

use super::stored_tensor::StoredTensor;
use crate::error::{Error, Result};
use crate::files::explain_pytorch;
use problem::{DAMAGED, MAY_RUN_CODE, Problem, SAVE_AGAIN, TORCH_SCRIPT, quoted};
use zip::Archive;

/// Limits the pickle, which takes about 200 bytes for a tensor.
const MAX_PICKLE_BYTES: usize = 64 << 20;

/// The newest version of the archive's layout.
const MAX_VERSION: u64 = 10;

/// Reads the names of the tensors of a file that `torch.save` wrote, and where their elements are.
///
/// # Errors
/// If the file is damaged or is not such an archive, or contains anything else than a dict of
/// tensors.
pub(super) fn read_tensors(file: &str, bytes: &[u8]) -> Result<BTreeMap<String, StoredTensor>> {
    if let Some(error) = explain_pytorch(file, bytes) {
        return Err(error);
    }
    read_archive(bytes).map_err(|problem| problem.into_error(file))
}

/// Makes the error that a tensor is not stored in row-major order.
pub(super) fn not_contiguous(file: &str, name: &str) -> Error {
    let expected = "elements in row-major order";
    Problem::new(expected, "a view with other strides", SAVE_AGAIN).at(|| quoted(name)).into_error(file)
}

fn read_archive(bytes: &[u8]) -> problem::Result<BTreeMap<String, StoredTensor>> {
    let archive = Archive::read(bytes)?;
    reject_other_entries(&archive)?;
    let entry = |name: &str| archive.range(name).map(|range| &bytes[range]);
    let Some(pickle) = entry("data.pkl") else {
        let expected = "the entry `data.pkl`, which torch.save writes";
        return Err(Problem::new(expected, "none", SAVE_AGAIN).at(|| "the zip archive".to_owned()));
    };
    // Versions before 2.1 did not write the byte order, and existed for little-endian CPUs.
    match entry("byteorder") {
        None | Some(b"little") => {}
        Some(order) => {
            let found = quoted(&String::from_utf8_lossy(order));
            return Err(Problem::new("`little`", found, SAVE_AGAIN).at(|| "byteorder".to_owned()));
        }
    }
    let version = entry("version").map(|text| String::from_utf8_lossy(text).trim().to_owned());
    let is_known = |text: &String| text.parse().is_ok_and(|version: u64| (1..=MAX_VERSION).contains(&version));
    if let Some(version) = version.filter(|version| !is_known(version)) {
        let expected = format!("a version from 1 to {MAX_VERSION}");
        return Err(Problem::new(expected, quoted(&version), SAVE_AGAIN).at(|| "version".to_owned()));
    }
    if pickle.len() > MAX_PICKLE_BYTES {
        let expected = format!("at most {MAX_PICKLE_BYTES} bytes");
        return Err(Problem::new(expected, pickle.len().to_string(), MAY_RUN_CODE).at(|| "data.pkl".to_owned()));
    }
    let tensors = machine::read_state_dict(pickle, &archive)?;
    Ok(tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect())
}

/// Rejects archives of other kinds. Entries that start with a dot describe the archive and are not
/// read.
fn reject_other_entries(archive: &Archive<'_>) -> problem::Result<()> {
    let is_script = |name: &str| name == "constants.pkl" || name.starts_with("code/");
    if archive.names().any(is_script) {
        return Err(Problem::new("a dict of tensors", TORCH_SCRIPT, MAY_RUN_CODE).at(|| "the zip archive".to_owned()));
    }
    let is_known = |name: &str| {
        let is_storage = name.strip_prefix("data/").is_some_and(|key| key.bytes().all(|byte| byte.is_ascii_digit()));
        is_storage || name.starts_with('.') || ["data.pkl", "version", "byteorder"].contains(&name)
    };
    match archive.names().find(|name| !is_known(name)) {
        Some(name) => {
            let expected = "the entries of torch.save: `data.pkl`, `version`, `byteorder`, `data/N`";
            Err(Problem::new(expected, quoted(name), DAMAGED).at(|| "the zip archive".to_owned()))
        }
        None => Ok(()),
    }
}
