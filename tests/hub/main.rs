//! The hub's client, against a hub on this machine that plays the real one and breaks as one asks it to.

#![cfg(all(unix, feature = "cli", feature = "hub"))]

#[path = "../common/mod.rs"]
mod common;

mod command;
mod faults;
mod pulling;
mod repository;
mod server;
mod sharing;
mod trust;
