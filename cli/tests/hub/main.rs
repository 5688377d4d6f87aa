//! The hub's client, against a hub on this machine that plays the real one and breaks as one asks it to.

#![cfg(all(unix, feature = "hub"))]

#[path = "../../../tests/common/mod.rs"]
mod common;

mod command;
mod credentials;
mod download;
mod faults;
mod repository;
mod server;
mod shared_cache;
