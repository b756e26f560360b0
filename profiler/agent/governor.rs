//! Keeps what the agent costs within its budget, by its sampling rate.
//!
//! What a window may cost is paid into a purse, and what it did cost is taken out of it. The purse
//! holds a minute's worth at most, so that the tables of a new program, or a commit, are paid from
//! what was saved before; it begins with more, since the start is the dearest. When it is empty the
//! rate goes down, at once and by as much as the excess; when the last minute left room it goes up
//! again, by little; and to a rate that proved too much before, the more seldom the more often.

use std::{collections::VecDeque, time::Duration};

/// What the purse holds at most, and at the start, as time of which the budget is a share.
const SAVED_MAX: Duration = Duration::from_secs(60);
const SAVED_AT_START: Duration = Duration::from_secs(300);
/// How long the cost must leave room before the rate goes up.
const CALM: Duration = Duration::from_secs(60);
/// The same before it goes up to what proved too much, where that happens over and over.
const PATIENCE_MAX: Duration = Duration::from_secs(3600);
/// A rate that was kept for this time is not too much.
const PROVING: Duration = Duration::from_secs(300);
/// The rate goes up by this factor, if the cost that is then to be expected, all of it taken to grow
/// with the rate, is at most this part of the budget.
const UP: f64 = 1.3;
const ROOM: f64 = 0.8;
/// The rate goes down by one of these factors, and by at least the second.
const DOWN_MOST: f64 = 0.25;
const DOWN_LEAST: f64 = 0.85;

/// Decides on the rate.
#[derive(Clone, Debug)]
pub struct Governor {
    /// Share of one CPU.
    budget: f64,
    /// Hz that were asked for.
    full: u64,
    /// Hz now.
    rate: u64,
    /// CPU time that may still be spent, s.
    purse: f64,
    /// The last windows at this rate: how long they were, and what share of a CPU they cost.
    windows: VecDeque<(Duration, f64)>,
    /// Time at this rate.
    kept: Duration,
    /// A rate that proved too much, and how long to wait before it is tried again.
    too_much: Option<(u64, Duration)>,
}

impl Governor {
    /// Begins at `rate` Hz, with a budget that is a share of one CPU.
    pub fn new(budget: f64, rate: u64) -> Self {
        Self {
            budget,
            full: rate,
            rate,
            purse: budget * SAVED_AT_START.as_secs_f64(),
            windows: VecDeque::new(),
            kept: Duration::ZERO,
            too_much: None,
        }
    }

    /// The rate that is in force, Hz.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// True if nothing is left to spend and the rate can go no lower.
    pub fn is_spent(&self) -> bool {
        self.rate == 1 && self.purse <= 0.0
    }

    /// Takes note of a window that used `cost` of CPU time, BPF programs included. The new rate, if
    /// it is to change.
    pub fn judge(&mut self, window: Duration, cost: Duration) -> Option<u64> {
        let seconds = window.as_secs_f64().max(f64::MIN_POSITIVE);
        let share = cost.as_secs_f64() / seconds;
        let most = self.budget * SAVED_MAX.as_secs_f64();
        let paid = self.purse + self.budget * seconds - cost.as_secs_f64();
        // What was there at the start stays until it is spent.
        self.purse = paid.min(self.purse.max(most));
        self.windows.push_back((window, share));
        while self.windows.len() > 1 && self.windows_time() > CALM {
            self.windows.pop_front();
        }
        self.kept += window;
        let rate = if self.purse < 0.0 { self.lower(share) } else { self.raise() };
        (rate != self.rate).then(|| {
            self.rate = rate;
            self.windows.clear();
            self.kept = Duration::ZERO;
            rate
        })
    }

    fn lower(&mut self, share: f64) -> u64 {
        // The next window is judged by itself.
        self.purse = 0.0;
        let lower =
            even_paced(self.rate as f64 * (self.budget / share).clamp(DOWN_MOST, DOWN_LEAST));
        let patience = match self.too_much {
            Some((rate, patience)) if rate <= self.rate => (2 * patience).min(PATIENCE_MAX),
            _ => CALM,
        };
        self.too_much = Some((self.rate, patience));
        lower.min(self.rate)
    }

    fn raise(&mut self) -> u64 {
        if self.kept >= PROVING && self.too_much.is_some_and(|(rate, _)| rate <= self.rate) {
            self.too_much = None;
        }
        if self.rate == self.full || self.kept < CALM {
            return self.rate;
        }
        let spent: f64 = self.windows.iter().map(|(time, share)| time.as_secs_f64() * share).sum();
        let mean = spent / self.windows_time().as_secs_f64();
        let higher = (self.rate + 1..).find(|&rate| is_even_paced(rate)).unwrap_or(self.full);
        let higher = even_paced(self.rate as f64 * UP).max(higher).min(self.full);
        let patience =
            self.too_much.filter(|(rate, _)| *rate <= higher).map(|(_, patience)| patience);
        let has_room = mean * higher as f64 / self.rate as f64 <= ROOM * self.budget;
        if has_room && self.kept >= patience.unwrap_or_default() { higher } else { self.rate }
    }

    fn windows_time(&self) -> Duration {
        self.windows.iter().map(|(time, _)| *time).sum()
    }
}

/// The rate at or below `rate`, and at least 1 Hz, that keeps no step with timers: those of others
/// mostly fire 10, 100 or 1000 times a second, and samples in step with them would always meet them
/// in the same state.
fn even_paced(rate: f64) -> u64 {
    (1..=rate as u64).rev().find(|&rate| is_even_paced(rate)).unwrap_or(1)
}

fn is_even_paced(rate: u64) -> bool {
    !rate.is_multiple_of(2) && !rate.is_multiple_of(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);
    const NONE: [u64; 0] = [];

    /// Runs windows whose cost is `fixed` and `each` a Hz, as shares of a CPU; gives the rates.
    fn run(governor: &mut Governor, windows: usize, fixed: f64, each: f64) -> Vec<u64> {
        (0..windows)
            .filter_map(|_| {
                let share = fixed + each * governor.rate() as f64;
                governor.judge(WINDOW, WINDOW.mul_f64(share))
            })
            .collect()
    }

    #[test]
    fn within_its_budget_the_rate_stays() {
        let mut governor = Governor::new(0.01, 19);
        assert_eq!(run(&mut governor, 1000, 0.001, 0.0004), NONE);
        // A burst is paid from what was saved.
        assert_eq!(governor.judge(WINDOW, Duration::from_millis(600)), None);
        assert_eq!(run(&mut governor, 1000, 0.001, 0.0004), NONE);
    }

    #[test]
    fn the_dear_start_is_paid_from_what_is_there_for_it() {
        let mut governor = Governor::new(0.01, 19);
        assert_eq!(governor.judge(WINDOW, Duration::from_millis(2500)), None);
        assert_eq!(run(&mut governor, 100, 0.001, 0.0002), NONE);
    }

    #[test]
    fn over_its_budget_it_goes_down_until_it_is_within() {
        let mut governor = Governor::new(0.01, 99);
        let rates = run(&mut governor, 100, 0.001, 0.001);
        assert!(rates.is_sorted_by(|a, b| a > b) && !rates.is_empty(), "{rates:?}");
        assert!(0.001 + 0.001 * governor.rate() as f64 <= 0.010001, "{rates:?}");
        assert!(governor.rate() >= 3, "{rates:?}");
    }

    #[test]
    fn it_goes_up_again_when_there_is_room() {
        let mut governor = Governor::new(0.01, 19);
        run(&mut governor, 60, 0.0, 0.01);
        assert_eq!(governor.rate(), 1);
        let rates = run(&mut governor, 500, 0.0, 0.0001);
        assert!(rates.is_sorted() && rates.last() == Some(&19), "{rates:?}");
    }

    #[test]
    fn it_does_not_swing() {
        // The full rate is just too much, and the one below just cheap enough.
        let mut governor = Governor::new(0.01, 19);
        let hours = 24;
        let rates = run(&mut governor, hours * 360, 0.0, 0.01 / 18.0);
        assert!(rates.len() <= 4, "{rates:?}");
        // And where it proves too much each time, it is tried ever more seldom.
        let mut governor = Governor::new(0.01, 19);
        let mut changes = 0;
        for number in 0..hours * 360 {
            let share = if governor.rate() == 19 { 0.03 } else { 0.001 };
            let burst = if number == 0 { 400.0 } else { 1.0 };
            changes += usize::from(governor.judge(WINDOW, WINDOW.mul_f64(share * burst)).is_some());
        }
        // Down in two steps at most, and up in six.
        assert!(changes <= 8 * (hours + 6), "{changes}");
    }

    #[test]
    fn it_never_stops_sampling() {
        let mut governor = Governor::new(0.0001, 99);
        run(&mut governor, 100, 0.5, 0.0);
        assert_eq!(governor.rate(), 1);
    }

    #[test]
    fn rates_keep_no_step_with_timers() {
        for (rate, paced) in [(19.9, 19), (10.0, 9), (16.0, 13), (8.5, 7), (2.0, 1), (0.3, 1)] {
            assert_eq!(even_paced(rate), paced);
        }
    }
}
