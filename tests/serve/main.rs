//! `likewise serve`, asked as its clients ask.

#![cfg(all(unix, feature = "cli", feature = "serve"))]

#[path = "../common/mod.rs"]
mod common;

mod ending;
mod families;
mod hostile;
mod inference;
mod load;
mod operating;
mod server;
