//! `likewise serve`, asked as its clients ask.

#![cfg(all(unix, feature = "serve"))]

#[path = "../../../tests/common/mod.rs"]
mod common;

mod inference;
mod load;
mod malformed;
mod operations;
mod server;
mod shutdown;
mod tei_and_openai_api;
