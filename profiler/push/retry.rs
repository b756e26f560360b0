//! When to try again, and what an answer's status means for that.

use std::time::{Duration, SystemTime};

use super::Refusal;

/// The longest that a receiver may have us wait.
const AFTER_MAX: Duration = Duration::from_secs(600);
/// The longest wait otherwise.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Waits that grow from failure to failure.
#[derive(Debug)]
pub struct BackOff {
    first: Duration,
    next: Duration,
    /// Failures since something succeeded.
    pub failures: u64,
}

impl BackOff {
    /// The first wait is this long.
    pub fn new(first: Duration) -> Self {
        Self { first, next: first, failures: 0 }
    }

    /// It succeeded.
    pub fn reset(&mut self) {
        (self.next, self.failures) = (self.first, 0);
    }

    /// How long to wait after a failure, where the receiver asks for `after`. Between half and the
    /// whole of what is due, so that those that failed together do not come back together.
    pub fn wait(&mut self, after: Option<Duration>) -> Duration {
        use std::hash::BuildHasher;
        self.failures += 1;
        let due = self.next;
        self.next = (2 * due).min(WAIT_MAX.max(self.first));
        let chance = foldhash::quality::RandomState::default().hash_one(self.failures) >> 11;
        let jitter = due.mul_f64(0.5 + 0.5 * (chance as f64 / (1u64 << 53) as f64));
        jitter.max(after.unwrap_or_default().min(AFTER_MAX))
    }
}

/// What a status of HTTP other than 2xx means; `said` is the beginning of the answer.
pub fn of_status(status: u16, said: &str, after: Option<Duration>) -> Refusal {
    let why = match said.trim() {
        "" => format!("status {status}"),
        said => format!("status {status}: {said}"),
    };
    match status {
        408 | 425 | 429 | 500 | 502..=504 | 506..=599 => Refusal::Later(why, after),
        // Who follows a redirect takes credentials to where nobody has sent them.
        300..=399 | 401 | 403 | 404 | 405 | 407 | 501 | 505 => Refusal::Setup(why),
        _ => Refusal::Never(why),
    }
}

/// What a Retry-After header asks for: seconds, or a date (RFC 9110, 10.2.3).
pub fn after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(SystemTime::from(at).duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_a_success() {
        let mut back_off = BackOff::new(Duration::from_secs(1));
        let waits: Vec<f64> = (0..9).map(|_| back_off.wait(None).as_secs_f64()).collect();
        for (wait, due) in waits.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]) {
            assert!((due / 2.0..=due).contains(wait), "{waits:?}");
        }
        back_off.reset();
        assert!(back_off.wait(None) <= Duration::from_secs(1));
        assert_eq!(back_off.wait(Some(Duration::from_secs(100))), Duration::from_secs(100));
        assert_eq!(back_off.wait(Some(Duration::from_secs(1 << 40))), AFTER_MAX);
    }

    #[test]
    fn what_a_status_means() {
        for status in [408, 429, 500, 502, 503, 504, 599] {
            assert!(matches!(of_status(status, "", None), Refusal::Later(..)), "{status}");
        }
        for status in [301, 302, 401, 403, 404, 407] {
            assert!(matches!(of_status(status, "", None), Refusal::Setup(_)), "{status}");
        }
        for status in [400, 409, 413, 415, 422] {
            assert!(matches!(of_status(status, "", None), Refusal::Never(_)), "{status}");
        }
        assert_eq!(
            of_status(400, " no such label\n", None).to_string(),
            "status 400: no such label"
        );
    }

    #[test]
    fn a_wait_is_asked_for_in_seconds_or_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 30);
        assert_eq!(after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(after("soon", now), None);
    }
}
