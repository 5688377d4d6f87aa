//! What failed, and whether to try it again.

use std::time::Duration;

use super::settings::{Progress, Settings, Tell};
use crate::error::{Error, Result};

/// How often in a row something may fail that gets no further.
const TRIES: u32 = 6;

/// Something failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) retry: Retry,
}

/// Whether it may succeed another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    Never,
    Soon,
    /// After the time that the hub asks for.
    After(Duration),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, retry: Retry::Never }
    }
}

/// Failures in a row.
pub(super) struct Patience<'a> {
    settings: &'a Settings,
    failures: u32,
    tries: u32,
}

impl<'a> Patience<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        Self { settings, failures: 0, tries: TRIES }
    }

    /// That of one who can do without: one attempt.
    pub(super) fn impatient(settings: &'a Settings) -> Self {
        Self { tries: 1, ..Self::new(settings) }
    }

    /// Does something until it succeeds or fails for good.
    pub(super) fn until_done<T>(
        mut self,
        tell: Tell<'_>,
        mut what: impl FnMut() -> std::result::Result<T, Failure>,
    ) -> Result<T> {
        loop {
            match what() {
                Ok(value) => return Ok(value),
                Err(failure) => self.wait(failure, tell)?,
            }
        }
    }

    /// Something has come: what fails from here on is another matter.
    pub(super) fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// The failure, if there is to be no other attempt.
    pub(super) fn wait(&mut self, failure: Failure, tell: Tell<'_>) -> Result<()> {
        self.failures += 1;
        let Settings { pause, longest_pause, .. } = *self.settings;
        let asked = match failure.retry {
            Retry::Never => None,
            Retry::Soon => Some(Duration::ZERO),
            // To come back earlier than one was told would only be refused again.
            Retry::After(asked) => Some(asked).filter(|asked| *asked <= longest_pause),
        };
        let Some(asked) = asked.filter(|_| self.failures < self.tries) else {
            return Err(match failure.error {
                Error::HubUnreachable { url, source, .. } => {
                    Error::HubUnreachable { url, tries: self.failures, source }
                }
                Error::HubRefused { url, refusal, status, message } => match failure.retry {
                    Retry::After(asked) if asked > longest_pause => {
                        let message = format!("{message} (it asks to be left alone for {} s)", asked.as_secs());
                        Error::HubRefused { url, refusal, status, message: message.trim_start().to_owned() }
                    }
                    _ => Error::HubRefused { url, refusal, status, message },
                },
                other => other,
            });
        };
        let pause = asked.max(pause * 2_u32.pow((self.failures - 1).min(3)));
        tell(Progress::Again { error: &failure.error, pause });
        std::thread::sleep(pause);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { pause: Duration::ZERO, longest_pause: Duration::from_millis(5), ..Settings::new("cache") }
    }

    fn cut() -> Error {
        Error::HubUnreachable { url: "u".to_owned(), tries: 1, source: "cut".into() }
    }

    #[test]
    fn failures_in_a_row_are_counted() {
        let settings = settings();
        let mut told = 0;
        let mut tell = |_: Progress<'_>| told += 1;
        let mut attempts = 0;
        let outcome: Result<()> = Patience::new(&settings).until_done(&mut tell, || {
            attempts += 1;
            Err(Failure { error: cut(), retry: Retry::Soon })
        });
        assert!(matches!(outcome, Err(Error::HubUnreachable { tries: TRIES, .. })), "{outcome:?}");
        assert_eq!((attempts, told), (TRIES, TRIES - 1));
    }

    #[test]
    fn progress_forgives_and_some_failures_are_final() {
        let settings = settings();
        let mut patience = Patience::new(&settings);
        for _ in 0..3 * TRIES {
            patience.progressed();
            patience.wait(Failure { error: cut(), retry: Retry::Soon }, &mut |_| {}).expect("another attempt");
        }
        patience.progressed();
        let short = Retry::After(Duration::from_millis(1));
        patience.wait(Failure { error: cut(), retry: short }, &mut |_| {}).expect("another attempt");
        for retry in [Retry::Never, Retry::After(Duration::from_secs(3600))] {
            patience.progressed();
            assert!(patience.wait(Failure { error: cut(), retry }, &mut |_| {}).is_err(), "{retry:?}");
        }
    }
}
