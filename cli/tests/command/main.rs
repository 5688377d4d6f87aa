//! The command, tested as its users run it.
//!
//! All of it is one test program: each program is linked with the built-in model, which takes
//! longer than most of the tests.

use likewise_tests as common;

mod compare;
#[cfg(all(target_os = "linux", feature = "quickstart"))]
mod few_threads;
#[cfg(all(target_os = "linux", feature = "hub", feature = "serve"))]
mod first_process;
#[cfg(all(unix, feature = "hub"))]
mod hub;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod memory;
#[cfg(feature = "quickstart")]
mod quickstart;
#[cfg(all(unix, feature = "serve"))]
mod server;
mod subcommands;
#[cfg(feature = "quickstart")]
mod tour;
