//! Panics of the `tokenizers` crate that this library catches.

use std::panic::PanicHookInfo;

/// Whether the library catches this panic and returns an [`Error`](crate::Error) for it.
///
/// The `tokenizers` crate panics on some damaged files. Rust still calls the panic hook of the
/// process, which by default prints a message that looks like a crash. A program can install a hook
/// that ignores these panics:
///
/// ```
/// let default_hook = std::panic::take_hook();
/// std::panic::set_hook(Box::new(move |panic| {
///     if !likewise::is_caught_panic(panic) {
///         default_hook(panic);
///     }
/// }));
/// ```
pub fn is_caught_panic(panic: &PanicHookInfo<'_>) -> bool {
    // The folder of a package in cargo's registry is its name and version.
    const PACKAGES: [&str; 2] = ["tokenizers-", "spm_precompiled-"];
    let file = panic.location().map_or("", |location| location.file());
    PACKAGES.iter().any(|package| file.contains(package))
}
