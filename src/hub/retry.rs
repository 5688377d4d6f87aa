//! Which failures are retried, and after which delay.

use std::time::Duration;

use super::progress::{Progress, ProgressCallback};
use super::settings::Settings;
use crate::error::{Error, Result};

/// The maximum number of consecutive attempts that make no progress.
const MAX_ATTEMPTS: u32 = 6;
/// The delay doubles at most this often.
const MAX_DOUBLINGS: u32 = 3;

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) retry: RetryHint,
}

/// Whether another attempt may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryHint {
    Never,
    Soon,
    /// After the delay that the server requested.
    After(Duration),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, retry: RetryHint::Never }
    }
}

/// Counts consecutive failures and waits between attempts.
pub(super) struct RetryPolicy<'a> {
    settings: &'a Settings,
    failures: u32,
    max_attempts: u32,
}

impl<'a> RetryPolicy<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        Self { settings, failures: 0, max_attempts: MAX_ATTEMPTS }
    }

    /// Returns a policy with a single attempt, for optional requests.
    pub(super) fn single_attempt(settings: &'a Settings) -> Self {
        Self { max_attempts: 1, ..Self::new(settings) }
    }

    /// Repeats an operation until it succeeds or fails permanently.
    pub(super) fn run<T>(
        mut self,
        on_progress: ProgressCallback<'_>,
        mut operation: impl FnMut() -> std::result::Result<T, Failure>,
    ) -> Result<T> {
        loop {
            match operation() {
                Ok(value) => return Ok(value),
                Err(failure) => self.wait(failure, on_progress)?,
            }
        }
    }

    /// Resets the count of failures after progress.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// The failure, if no other attempt follows.
    pub(super) fn wait(&mut self, failure: Failure, on_progress: ProgressCallback<'_>) -> Result<()> {
        self.failures += 1;
        let requested = self.requested_delay(failure.retry);
        let Some(requested) = requested.filter(|_| self.failures < self.max_attempts) else {
            return Err(self.final_error(failure));
        };
        let doublings = (self.failures - 1).min(MAX_DOUBLINGS);
        let delay = requested.max(self.settings.retry_delay * 2_u32.pow(doublings));
        on_progress(Progress::Retrying { error: &failure.error, delay });
        std::thread::sleep(delay);
        Ok(())
    }

    /// Returns the minimum delay before a retry, or `None` if a retry is useless.
    fn requested_delay(&self, hint: RetryHint) -> Option<Duration> {
        match hint {
            RetryHint::Never => None,
            RetryHint::Soon => Some(Duration::ZERO),
            // The server would reject an earlier request.
            RetryHint::After(delay) => Some(delay).filter(|delay| *delay <= self.settings.max_retry_delay),
        }
    }

    /// Adds the number of attempts or the server's requested delay to the error.
    fn final_error(&self, failure: Failure) -> Error {
        match (failure.error, failure.retry) {
            (Error::HubUnreachable { url, source, .. }, _) => {
                Error::HubUnreachable { url, attempts: self.failures, source }
            }
            (Error::HubStatus { url, kind, status, message }, RetryHint::After(delay))
                if delay > self.settings.max_retry_delay =>
            {
                let message = format!("{message} (the server asked to retry after {} s)", delay.as_secs());
                Error::HubStatus { url, kind, status, message: message.trim_start().to_owned() }
            }
            (other, _) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let mut settings = Settings::new("cache");
        settings.retry_delay = Duration::ZERO;
        settings.max_retry_delay = Duration::from_millis(5);
        settings
    }

    fn failure(retry: RetryHint) -> Failure {
        let error = Error::HubUnreachable { url: "u".to_owned(), attempts: 1, source: "interrupted".into() };
        Failure { error, retry }
    }

    #[test]
    fn consecutive_failures_end_after_the_maximum_number_of_attempts() {
        let settings = settings();
        let mut events = 0;
        let mut attempts = 0;
        let result: Result<()> = RetryPolicy::new(&settings).run(&mut |_| events += 1, || {
            attempts += 1;
            Err(failure(RetryHint::Soon))
        });
        assert!(matches!(result, Err(Error::HubUnreachable { attempts: MAX_ATTEMPTS, .. })), "{result:?}");
        assert_eq!(attempts, MAX_ATTEMPTS);
        assert_eq!(events, MAX_ATTEMPTS - 1);
    }

    #[test]
    fn failures_after_progress_are_counted_from_zero() {
        let settings = settings();
        let mut policy = RetryPolicy::new(&settings);
        for _ in 0..3 * MAX_ATTEMPTS {
            policy.reset();
            policy.wait(failure(RetryHint::Soon), &mut |_| {}).expect("another attempt");
        }
    }

    #[test]
    fn permanent_failures_and_long_requested_delays_are_final() {
        let settings = settings();
        let short = RetryHint::After(Duration::from_millis(1));
        RetryPolicy::new(&settings).wait(failure(short), &mut |_| {}).expect("another attempt");
        for retry in [RetryHint::Never, RetryHint::After(Duration::from_secs(3600))] {
            let result = RetryPolicy::new(&settings).wait(failure(retry), &mut |_| {});
            assert!(result.is_err(), "{retry:?}");
        }
    }
}
