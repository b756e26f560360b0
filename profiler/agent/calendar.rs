//! When a recording has to end and another to begin, by the clock.

use std::time::Duration;

use crate::machine;

const DAY_NS: u64 = 86_400 * 1_000_000_000;
/// How far the wall clock and the monotonic one may part before times in a recording are wrong.
const JUMP_NS: i128 = 2_000_000_000;

/// The clock on the wall. A test has its own.
pub trait Clock {
    /// Now, ns since the Unix epoch.
    fn unix_ns(&self) -> u64;
}

/// CLOCK_REALTIME.
pub struct WallClock;

impl Clock for WallClock {
    fn unix_ns(&self) -> u64 {
        machine::unix_ns()
    }
}

/// Why a recording begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// The agent was started.
    Start,
    /// It is another day, in UTC.
    Midnight,
    /// The wall clock was set, or the machine slept.
    ClockJump,
    /// The tables of the last one took too much memory.
    Memory,
    /// The last one took too large a part of the store.
    Size,
    /// The agent was asked to, by SIGHUP.
    Asked,
    /// The last one could not be written any more.
    Failure,
}

impl Why {
    /// In words, as the recording says it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Start => "agent start",
            Self::Midnight => "midnight",
            Self::ClockJump => "clock jump",
            Self::Memory => "memory",
            Self::Size => "size",
            Self::Asked => "SIGHUP",
            Self::Failure => "write failure",
        }
    }
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// ns since the Unix epoch.
    pub unix: u64,
    /// ns, CLOCK_MONOTONIC.
    pub monotonic: u64,
}

impl Moment {
    /// Now.
    pub fn now(clock: &dyn Clock) -> Self {
        Self { unix: clock.unix_ns(), monotonic: machine::monotonic_ns() }
    }

    /// Why a recording that began at this moment has to end by `now`; none if it does not.
    pub fn ends_by(&self, now: &Self) -> Option<Why> {
        let passed = |now: u64, then: u64| i128::from(now) - i128::from(then);
        let apart = passed(now.unix, self.unix) - passed(now.monotonic, self.monotonic);
        if apart.abs() > JUMP_NS {
            Some(Why::ClockJump)
        } else if now.unix / DAY_NS > self.unix / DAY_NS {
            Some(Why::Midnight)
        } else {
            None
        }
    }

    /// Time until the next day begins, in UTC.
    pub fn until_midnight(&self) -> Duration {
        Duration::from_nanos(DAY_NS - self.unix % DAY_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_recording_ends_at_midnight_and_when_the_clock_jumps() {
        // 23:59:50 of some day.
        let start = Moment { unix: 20_000 * DAY_NS - 10 * SECOND, monotonic: 77 * SECOND };
        let after = |unix: i64, monotonic: u64| {
            let unix = start.unix.saturating_add_signed(unix * SECOND as i64);
            start.ends_by(&Moment { unix, monotonic: start.monotonic + monotonic * SECOND })
        };
        assert_eq!(start.until_midnight(), Duration::from_secs(10));
        assert_eq!(after(9, 9), None);
        assert_eq!(after(10, 10), Some(Why::Midnight));
        // The clocks are read one after the other, and one is steered: no jump.
        assert_eq!(after(7, 9), None);
        assert_eq!(after(9, 5), Some(Why::ClockJump));
        assert_eq!(after(-3600, 5), Some(Why::ClockJump));
        assert_eq!(after(3600, 5), Some(Why::ClockJump));
        // A few seconds back over midnight are no new day.
        let start = Moment { unix: 20_000 * DAY_NS, monotonic: 0 };
        assert_eq!(start.ends_by(&Moment { unix: start.unix - SECOND, monotonic: 0 }), None);
    }
}
