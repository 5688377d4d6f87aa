//! The library, through its public API.
//!
//! All of it is one test program: each program is linked with the embedded model and takes as long
//! to build as the tests of a file take to run.

#[path = "../common/mod.rs"]
mod common;

mod api;
mod convert;
mod embedding_outputs;
mod goldens;
mod invariance;
mod malformed;
mod model_matrix;
mod mutants;
mod precision;
mod tokenizers;
