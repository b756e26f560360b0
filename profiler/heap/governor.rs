//! Keeps probes within a budget: a share of the CPU time that their target takes for itself.
//!
//! Each call of an allocator costs a trap as long as it is probed, sampled or not. Where that would
//! be more than the budget, probes are set for short windows only, and what is sampled in one stands
//! for the time since the one before too. Time is CPU time of the target, less what the traps took
//! of it: on the wall clock a window would seem longer than it is, since it slows its target.

use std::collections::VecDeque;

/// What may be spent before any of it was earned, ns: enough to see that there is little to spend.
const CREDIT: f64 = 50e6;
/// The target's own time in a window, ns.
const WINDOW: f64 = 20e6;
/// What a window may cost, ns, if that is less: a target that does nothing but allocate has next to
/// no time of its own while it is probed.
const WINDOW_COST: f64 = 10e6;
/// Own time that is believed in for each ns of traps. Where a target does little but allocate, what
/// is left of its time after the traps is less than the error of what they take: sums are then no
/// more than this allows for, and too small.
const OWN_LEAST: f64 = 0.1;
/// Windows whose scale is remembered.
const WINDOWS_MAX: usize = 64 << 10;

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// Nothing.
    Stay,
    /// Set the probes.
    On,
    /// Take them off.
    Off,
}

/// The state of the budget.
#[derive(Debug)]
pub struct Governor {
    /// Share of the target's time; infinite: no budget.
    budget: f64,
    on: bool,
    /// Ever taken off.
    governed: bool,
    /// The target's own time when the window began, ns, and what was spent until then.
    began: (f64, f64),
    /// The own time that samples stand for, up to the start of the window.
    covered: f64,
    /// Own time of a window, and what one costs, ns: of late.
    window: f64,
    cost: f64,
    /// Own time in windows, and the part of it that is only believed in.
    seen: f64,
    floored: f64,
    /// The target's own time so far, and what it is made of, ns.
    own: f64,
    taken: (f64, f64),
    /// Start of each window, ns, CLOCK_MONOTONIC, and what its samples are to be multiplied with.
    scales: VecDeque<(u64, f64)>,
}

impl Governor {
    /// Probes are set, and may cost this share of the target's time (0.05 is 5 %).
    pub fn new(budget: f64) -> Self {
        Self {
            budget,
            on: true,
            governed: false,
            began: (0.0, 0.0),
            covered: 0.0,
            window: WINDOW,
            cost: 0.0,
            seen: 0.0,
            floored: 0.0,
            own: 0.0,
            taken: (0.0, 0.0),
            scales: VecDeque::from([(0, 1.0)]),
        }
    }

    /// Looks at what was spent at `time` (ns, CLOCK_MONOTONIC): the target has taken `cpu` ns in
    /// all since the start, `spent` ns of it for traps.
    pub fn judge(&mut self, time: u64, cpu: f64, spent: f64) -> Order {
        self.pass(cpu, spent);
        let left = self.budget * self.own + CREDIT - spent;
        if self.on {
            let (window, cost) = (self.own - self.began.0, spent - self.began.1);
            let whole = self.governed && (window >= WINDOW || cost >= WINDOW_COST);
            if left >= 0.0 && !whole {
                return Order::Stay;
            }
            self.end_window(spent);
        }
        match (self.on, left >= self.cost) {
            (true, false) => {
                self.on = false;
                // It takes a while until probes are off: what they still see is part of no window.
                self.scale_from(time, 0.0);
                Order::Off
            }
            (false, false) => Order::Stay,
            (true, true) => {
                self.begin_window(time, spent);
                Order::Stay
            }
            (false, true) => Order::On,
        }
    }

    /// Probes were set, as [`Order::On`] said, and are by `time`; see [`Governor::judge`].
    pub fn set(&mut self, time: u64, cpu: f64, spent: f64) {
        self.pass(cpu, spent);
        self.begin_window(time, spent);
    }

    fn pass(&mut self, cpu: f64, spent: f64) {
        let (before, spent_before) = std::mem::replace(&mut self.taken, (cpu, spent));
        let least = OWN_LEAST * (spent - spent_before);
        let own = (cpu - before) - (spent - spent_before);
        if own < least {
            self.floored += least;
        }
        self.own += own.max(least);
    }

    /// True if so little is left of the target's time besides traps that sums are too small.
    pub fn is_floored(&self) -> bool {
        self.governed && self.floored > 0.5 * self.seen
    }

    /// What is sampled in the window stands for all since the one before, too.
    fn begin_window(&mut self, time: u64, spent: f64) {
        self.on = true;
        self.began = (self.own, spent);
        let scale = ((self.own - self.covered) / self.window + 1.0).max(0.1);
        self.scale_from(time, scale);
    }

    fn scale_from(&mut self, time: u64, scale: f64) {
        if self.scales.len() >= WINDOWS_MAX {
            self.scales.pop_front();
        }
        self.scales.push_back((time, scale));
    }

    fn end_window(&mut self, spent: f64) {
        let window = (self.own - self.began.0).max(1.0);
        let cost = spent - self.began.1;
        let scale = self.scales.back().map_or(1.0, |last| last.1);
        // Where a window was longer or shorter than thought, the next makes up for it.
        self.covered += window * scale;
        self.seen += window;
        if self.governed {
            self.window += (window - self.window) / 8.0;
            self.cost += (cost - self.cost) / 8.0;
        } else {
            // The first was as long as it took to see that it costs too much.
            let part = (WINDOW / window).min(WINDOW_COST / cost).min(1.0);
            (self.window, self.cost) = (window * part, cost * part);
            self.governed = true;
        }
    }

    /// What a sample taken at `time` is to be multiplied with; 0: it is part of no window.
    pub fn scale(&self, time: u64) -> f64 {
        let after = self.scales.partition_point(|(start, _)| *start <= time);
        self.scales.get(after.saturating_sub(1)).map_or(1.0, |window| window.1)
    }

    /// The share of the target's time in which probes were set, if not all of it.
    pub fn share(&self) -> Option<f64> {
        let now = if self.on { self.own - self.began.0 } else { 0.0 };
        (self.governed && self.own > 0.0).then(|| ((self.seen + now) / self.own).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target that takes a CPU all the time and makes a call each `gap` ns of its own time, for
    /// `steps` of 10 ms; each call costs 1 us. Returns the governor, what was spent and the sum of
    /// scales of all calls that were seen, by the calls there were.
    fn run(budget: f64, gap: f64, steps: u64) -> (f64, f64, Governor) {
        let mut governor = Governor::new(budget);
        let (mut own, mut spent, mut seen, mut on) = (0.0, 0.0, 0.0, true);
        for step in 0..steps {
            let time = step * 10_000_000;
            let slowed = if on { 1.0 + 1000.0 / gap } else { 1.0 };
            let work = 10e6 / slowed;
            own += work;
            if on {
                spent += work / gap * 1000.0;
                seen += work / gap * governor.scale(time);
            }
            match governor.judge(time, own + spent, spent) {
                Order::On => {
                    on = true;
                    governor.set(time, own + spent, spent);
                }
                Order::Off => on = false,
                Order::Stay => {}
            }
        }
        (spent / own, seen / (own / gap), governor)
    }

    #[test]
    fn a_target_that_allocates_little_is_watched_all_the_time() {
        let (cost, sum, governor) = run(0.05, 100_000.0, 6_000);
        assert!(cost < 0.011 && (sum - 1.0).abs() < 1e-9, "{cost} {sum}");
        assert!(governor.share().is_none());
    }

    #[test]
    fn one_that_allocates_much_is_watched_within_the_budget() {
        for gap in [300.0, 1_000.0, 15_000.0] {
            let (cost, sum, governor) = run(0.05, gap, 60_000);
            assert!(cost < 0.055, "{gap}: {cost}");
            assert!((sum - 1.0).abs() < 0.05, "{gap}: {sum}");
            let share = governor.share().unwrap();
            assert!((share - 0.05 * gap / 1000.0).abs() < 0.02, "{gap}: {share}");
        }
    }

    #[test]
    fn one_that_does_nothing_else_has_sums_that_are_too_small() {
        // 10 ns between two calls that cost 1 us each.
        let (cost, sum, governor) = run(0.05, 10.0, 60_000);
        assert!(cost < 0.055, "{cost}");
        assert!(sum < 0.2 && governor.is_floored(), "{sum}");
    }

    #[test]
    fn without_a_budget_nothing_is_taken_off() {
        let (_, sum, governor) = run(f64::INFINITY, 100.0, 1_000);
        assert!((sum - 1.0).abs() < 1e-9 && governor.share().is_none());
    }
}
