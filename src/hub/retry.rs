//! What failed, and whether to try it again.

use std::time::Duration;

use super::settings::{Progress, ProgressCallback, Settings};
use crate::error::{Error, Result};

/// How often in a row something may fail that gets no further.
const MAX_ATTEMPTS: u32 = 6;

/// Something failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) retry: RetryHint,
}

/// Whether it may succeed another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryHint {
    Never,
    Soon,
    /// After the time that the hub asks for.
    After(Duration),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, retry: RetryHint::Never }
    }
}

/// Failures in a row.
pub(super) struct RetryPolicy<'a> {
    settings: &'a Settings,
    failures: u32,
    attempts: u32,
}

impl<'a> RetryPolicy<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        Self { settings, failures: 0, attempts: MAX_ATTEMPTS }
    }

    /// That of one who can do without: one attempt.
    pub(super) fn single_attempt(settings: &'a Settings) -> Self {
        Self { attempts: 1, ..Self::new(settings) }
    }

    /// Does something until it succeeds or fails for good.
    pub(super) fn run<T>(
        mut self,
        on_progress: ProgressCallback<'_>,
        mut what: impl FnMut() -> std::result::Result<T, Failure>,
    ) -> Result<T> {
        loop {
            match what() {
                Ok(value) => return Ok(value),
                Err(failure) => self.wait(failure, on_progress)?,
            }
        }
    }

    /// Something has come: what fails from here on is another matter.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// The failure, if there is to be no other attempt.
    pub(super) fn wait(&mut self, failure: Failure, on_progress: ProgressCallback<'_>) -> Result<()> {
        self.failures += 1;
        let Settings { retry_delay, max_retry_delay, .. } = *self.settings;
        let asked = match failure.retry {
            RetryHint::Never => None,
            RetryHint::Soon => Some(Duration::ZERO),
            // To come back earlier than one was told would only be refused again.
            RetryHint::After(asked) => Some(asked).filter(|asked| *asked <= max_retry_delay),
        };
        let Some(asked) = asked.filter(|_| self.failures < self.attempts) else {
            return Err(match failure.error {
                Error::HubUnreachable { url, source, .. } => {
                    Error::HubUnreachable { url, attempts: self.failures, source }
                }
                Error::HubStatus { url, kind, status, message } => match failure.retry {
                    RetryHint::After(asked) if asked > max_retry_delay => {
                        let message = format!("{message} (it asks to be left alone for {} s)", asked.as_secs());
                        Error::HubStatus { url, kind, status, message: message.trim_start().to_owned() }
                    }
                    _ => Error::HubStatus { url, kind, status, message },
                },
                other => other,
            });
        };
        let delay = asked.max(retry_delay * 2_u32.pow((self.failures - 1).min(3)));
        on_progress(Progress::Retrying { error: &failure.error, delay });
        std::thread::sleep(delay);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { retry_delay: Duration::ZERO, max_retry_delay: Duration::from_millis(5), ..Settings::new("cache") }
    }

    fn cut() -> Error {
        Error::HubUnreachable { url: "u".to_owned(), attempts: 1, source: "cut".into() }
    }

    #[test]
    fn failures_in_a_row_are_counted() {
        let settings = settings();
        let mut told = 0;
        let mut on_progress = |_: Progress<'_>| told += 1;
        let mut attempts = 0;
        let outcome: Result<()> = RetryPolicy::new(&settings).run(&mut on_progress, || {
            attempts += 1;
            Err(Failure { error: cut(), retry: RetryHint::Soon })
        });
        assert!(matches!(outcome, Err(Error::HubUnreachable { attempts: MAX_ATTEMPTS, .. })), "{outcome:?}");
        assert_eq!((attempts, told), (MAX_ATTEMPTS, MAX_ATTEMPTS - 1));
    }

    #[test]
    fn progress_forgives_and_some_failures_are_final() {
        let settings = settings();
        let mut policy = RetryPolicy::new(&settings);
        for _ in 0..3 * MAX_ATTEMPTS {
            policy.reset();
            policy.wait(Failure { error: cut(), retry: RetryHint::Soon }, &mut |_| {}).expect("another attempt");
        }
        policy.reset();
        let short = RetryHint::After(Duration::from_millis(1));
        policy.wait(Failure { error: cut(), retry: short }, &mut |_| {}).expect("another attempt");
        for retry in [RetryHint::Never, RetryHint::After(Duration::from_secs(3600))] {
            policy.reset();
            assert!(policy.wait(Failure { error: cut(), retry }, &mut |_| {}).is_err(), "{retry:?}");
        }
    }
}
