//! Memory that is held: matches what is freed with the sample of its allocation.
//!
//! A free names its allocation by the thread and the fingerprint of the stack, which is the same for
//! all allocations of one place, or by the moment, where the stack was left to user space. What was
//! allocated before the recording began is not known, and its free means nothing here.

use std::collections::HashMap;

use crate::{
    collector::{RawFree, RawSample},
    model::{Free, Sample},
};

/// Places of allocation that are remembered; beyond, their memory seems to be held for good, and
/// that is counted.
const PLACES_MAX: usize = 1 << 20;
/// Frees that wait for the sample of their allocation.
const WAITING_MAX: usize = 64 << 10;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// What a free is charged to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Key {
    /// Thread, user stack and kernel stack.
    Place(u32, u128, u128),
    /// Thread and moment, for one allocation alone.
    Moment(u32, u64),
}

/// Thread and stack of the model.
type Place = (u32, u32);

/// Whose memory a source tells of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Held {
    /// None: it samples something else.
    #[default]
    Nothing,
    /// Of processes, which give it back when they end.
    Processes,
    /// Of the kernel.
    Kernel,
}

/// Allocations of one source.
#[derive(Debug, Default)]
pub struct Allocations {
    pub kind: Held,
    places: Map<Key, Place>,
    /// Net objects and bytes of each place of each process.
    processes: Map<u32, Map<Place, (u64, u64)>>,
    /// Frees whose sample still waits for unwind tables, by thread and moment.
    waiting: Map<(u32, u64), RawFree>,
    /// What was freed since this was last taken.
    pub frees: Vec<Free>,
    /// Places beyond the limit.
    pub refused: u64,
    /// The recording's start, ns, CLOCK_MONOTONIC.
    start: u64,
}

impl Allocations {
    pub fn new(kind: Held) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Begins a recording at `start`.
    pub fn begin(&mut self, start: u64) {
        *self = Self { start, ..Self::new(self.kind) };
    }

    /// Takes note of an allocation that was sampled and of what it became in the model. `followed`:
    /// its stack was left to user space.
    pub fn add(&mut self, sample: &RawSample, followed: bool, made: &Sample) {
        if self.kind == Held::Nothing {
            return;
        }
        let key = match followed {
            true => Key::Moment(sample.tid, sample.time),
            false => Key::Place(sample.tid, sample.user_stack, sample.kernel_stack),
        };
        if self.places.len() >= PLACES_MAX && !self.places.contains_key(&key) {
            self.refused += 1;
            return;
        }
        let place = (made.thread, made.stack);
        self.places.insert(key, place);
        if self.kind == Held::Processes {
            let held = self.processes.entry(sample.pid).or_default().entry(place).or_default();
            *held = (held.0.saturating_add(made.count), held.1.saturating_add(made.value));
        }
        if let Some(free) = self.waiting.remove(&(sample.tid, sample.time)) {
            self.free(free);
        }
    }

    /// Takes note of a free.
    pub fn free(&mut self, free: RawFree) {
        let moment = Key::Moment(free.tid, free.born);
        let known = Key::Place(free.tid, free.user_stack, free.kernel_stack);
        let place = self.places.remove(&moment).or_else(|| self.places.get(&known).copied());
        let Some(place) = place else {
            if free.born >= self.start && self.waiting.len() < WAITING_MAX {
                self.waiting.insert((free.tid, free.born), free);
            }
            return;
        };
        if self.kind == Held::Processes {
            let held = self.processes.get_mut(&free.pid).and_then(|all| all.get_mut(&place));
            // None if the process has given all back since, which this free was part of.
            let Some(held) = held.filter(|held| held.1 >= free.value) else { return };
            *held = (held.0.saturating_sub(free.count), held.1 - free.value);
        }
        self.push(place, free.time, free.born, (free.count, free.value));
    }

    /// A process gave all of its memory back at this time (ns, CLOCK_MONOTONIC).
    pub fn end(&mut self, pid: u32, time: u64) {
        let held = self.processes.remove(&pid).unwrap_or_default();
        for (place, amount) in held.into_iter().filter(|(_, amount)| *amount != (0, 0)) {
            // Whenever it was allocated, it is gone now.
            self.push(place, time, self.start, amount);
        }
    }

    fn push(&mut self, (thread, stack): Place, time: u64, born: u64, (count, value): (u64, u64)) {
        let since = |time: u64| time.saturating_sub(self.start);
        let sample = Sample { time: since(time), cpu: 0, thread, stack, count, value };
        self.frees.push(Free { sample, born: since(born) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(tid: u32, time: u64, user_stack: u128) -> RawSample {
        RawSample { pid: 7, tid, time, user_stack, ..RawSample::default() }
    }

    fn free(tid: u32, born: u64, user_stack: u128) -> RawFree {
        let (count, value) = (1, 10);
        RawFree {
            pid: 7,
            tid,
            born,
            user_stack,
            time: born + 5,
            count,
            value,
            ..Default::default()
        }
    }

    const MADE: Sample = Sample { time: 0, cpu: 0, thread: 3, stack: 4, count: 1, value: 10 };

    fn allocations() -> Allocations {
        let mut allocations = Allocations::new(Held::Processes);
        allocations.begin(100);
        allocations
    }

    #[test]
    fn a_free_goes_to_the_place_of_its_allocation() {
        let mut held = allocations();
        held.add(&raw(8, 200, 1), false, &MADE);
        held.free(free(8, 200, 1));
        let sample = Sample { time: 105, ..MADE };
        assert_eq!(held.frees, [Free { sample, born: 100 }]);
        // Of memory from before the recording.
        held.free(free(8, 50, 2));
        assert_eq!((held.frees.len(), held.waiting.len()), (1, 0));
    }

    #[test]
    fn a_free_waits_for_the_stack_of_its_allocation() {
        let mut held = allocations();
        held.free(free(8, 200, 0));
        assert!(held.frees.is_empty());
        held.add(&raw(8, 200, 77), true, &MADE);
        assert_eq!(held.frees.len(), 1);
        // Once only.
        held.free(free(8, 200, 0));
        assert_eq!(held.frees.len(), 1);
    }

    #[test]
    fn a_process_that_ends_holds_nothing() {
        let mut held = allocations();
        for time in [200, 201, 202] {
            held.add(&raw(8, time, 1), false, &MADE);
        }
        held.free(free(8, 201, 1));
        held.frees.clear();
        held.end(7, 300);
        let sample = Sample { time: 200, count: 2, value: 20, ..MADE };
        assert_eq!(held.frees, [Free { sample, born: 0 }]);
        held.end(7, 400);
        assert_eq!(held.frees.len(), 1);
    }
}
