//! Weights of PyTorch: what is read, and what is rejected without running anything.

mod archives;
mod models;
mod pickles;

use std::path::PathBuf;

use crate::common::root;
use crate::common::torch_archive::{Tensor, int, save, storage, text, view, zip};
use likewise::{Checkpoint, Error};

/// The storage `data/0` of the archives that the tests write: six numbers.
fn numbers() -> Vec<u8> {
    (0_u8..6).flat_map(|x| f32::from(x).to_le_bytes()).collect()
}

/// Writes an archive around a pickle.
fn archive(pickle: &[u8]) -> Vec<u8> {
    zip(&[("archive/data.pkl", pickle), ("archive/byteorder", b"little"), ("archive/data/0", &numbers())])
}

/// Writes a pickle of protocol 2.
fn pickle(parts: &[&[u8]]) -> Vec<u8> {
    [&b"\x80\x02"[..], &parts.concat(), b"."].concat()
}

/// Writes the pickle of a tensor `[2, 3]`.
fn matrix() -> Vec<u8> {
    view("FloatStorage", "0", 6, &[2, 3])
}

/// Returns the path of a file that PyTorch wrote.
fn fixture(name: &str) -> PathBuf {
    root().join("fixtures/pytorch").join(name)
}

fn read_fixture(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).expect("a file of torch.save")
}

/// Returns the message of the error that a file must give.
fn rejection(what: &str, bytes: Vec<u8>) -> String {
    match Checkpoint::from_pytorch_bytes(bytes) {
        Ok(file) => panic!("{what} is accepted: {:?}", file.tensors()),
        Err(Error::Content(error)) => error.to_string(),
        Err(error) => panic!("{what}: {error:?}"),
    }
}

/// Checks that a file is rejected with all parts of a message.
fn rejects(what: &str, bytes: Vec<u8>, parts: &[&str]) {
    let message = rejection(what, bytes);
    for part in ["pytorch_model.bin", "expected", "found", ";"].iter().chain(parts) {
        assert!(message.contains(part), "{what}: `{part}` is not in the message: {message}");
    }
}
