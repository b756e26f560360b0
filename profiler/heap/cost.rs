//! What a probe costs on this machine, and what a target takes.

use std::{collections::HashMap, hint::black_box};

use nix::{sys::time::TimeSpec, time::ClockId, unistd::Pid};

/// Pairs of calls that are timed.
const PAIRS: u32 = 4_000;

/// CPU time of a pair of malloc and free in this process, ns.
pub fn pair() -> f64 {
    let time = || ClockId::CLOCK_THREAD_CPUTIME_ID.now().map_or(0, ns);
    let start = time();
    for number in 0..PAIRS {
        drop(black_box(Box::new(number)));
    }
    (time() - start) as f64 / f64::from(PAIRS)
}

fn ns(time: TimeSpec) -> u64 {
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

/// CPU time of processes.
#[derive(Debug, Default)]
pub struct CpuTime {
    /// What each had taken when it was first seen, and when it was last looked at, ns.
    processes: HashMap<u32, (u64, u64)>,
    /// Of those that have ended.
    ended: u64,
}

impl CpuTime {
    /// What these processes took since each was first named here, and those before them, ns.
    pub fn of(&mut self, pids: impl IntoIterator<Item = u32>) -> u64 {
        let mut seen = HashMap::new();
        for pid in pids {
            let Some(now) = cpu_time(pid) else { continue };
            let (first, _) = self.processes.remove(&pid).unwrap_or((now, now));
            seen.insert(pid, (first, now));
        }
        self.ended += sum(&self.processes);
        self.processes = seen;
        self.ended + sum(&self.processes)
    }
}

fn sum(processes: &HashMap<u32, (u64, u64)>) -> u64 {
    processes.values().map(|(first, last)| last.saturating_sub(*first)).sum()
}

/// CPU time of a process, its threads that have ended included, ns.
fn cpu_time(pid: u32) -> Option<u64> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid as i32)).ok()?;
    clock.now().ok().map(ns)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn time_goes_on_and_nothing_is_counted_twice() {
        let mut time = CpuTime::default();
        let own = std::process::id();
        assert_eq!(time.of([own]), 0);
        let mut count = 0u64;
        let start = Instant::now();
        while start.elapsed().as_millis() < 20 {
            count = black_box(count + 1);
        }
        let after = time.of([own]);
        assert!(after > 0);
        // One that is not named any more has ended.
        assert_eq!(time.of([]), after);
        assert_eq!(time.of([4_194_999]), after);
    }
}
