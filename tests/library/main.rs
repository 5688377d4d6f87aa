//! Tests of the library through its public API.
//!
//! All files form one test program. Linking a program with the embedded model takes as long as
//! running the tests of one file, so a program for each file would double the time.

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
