//! The result of a subcommand.

use std::error::Error;
use std::fmt;

/// The result of a subcommand. `main` prints the error with all its sources.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Arguments that are each valid but contradict each other. The exit code is 2, as for clap's
/// errors.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for UsageError {}
