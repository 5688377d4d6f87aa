//! The f32 matrix product: exact if the sums are exact, otherwise within the error of a chain of
//! roundings, and the same bits for a row or a column whatever surrounds it.

#[path = "../common/mod.rs"]
mod common;

mod independence;
mod matrix;
mod panels;
mod rejections;
mod values;
