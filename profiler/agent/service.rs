//! What a service tells its manager: systemd, or whatever else speaks sd_notify(3). Without one,
//! nothing is told.

use std::time::{Duration, Instant};

use sd_notify::{NotifyState, notify, watchdog_enabled};

/// The manager that started us, if any.
pub struct Service {
    /// How often it wants to hear from us.
    watchdog: Option<Duration>,
    told: Instant,
}

impl Service {
    /// Finds out who started us.
    pub fn new() -> Self {
        // Twice as often as asked, as sd_watchdog_enabled(3) advises.
        Self { watchdog: watchdog_enabled().map(|period| period / 2), told: Instant::now() }
    }

    /// How long it may take at most until [`Service::alive`] is called again.
    pub fn patience(&self) -> Duration {
        self.watchdog.unwrap_or(Duration::MAX)
    }

    /// Sampling is on.
    pub fn ready(&self, status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// How things are, in a line.
    pub fn status(&self, status: &str) {
        tell(&[NotifyState::Status(status)]);
    }

    /// Still at work.
    pub fn alive(&mut self) {
        // Whoever wakes us more often must not make us tell it each time.
        if self.watchdog.is_some_and(|period| self.told.elapsed() >= period / 2) {
            self.told = Instant::now();
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// About to end.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        tracing::debug!("the service manager does not listen: {error}");
    }
}
