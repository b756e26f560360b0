//! Who woke the threads that waited: records of their own, which come before the samples of the
//! waits that they ended.

use std::collections::HashMap;

use crate::collector::RawSample;

/// In place of a state of waits (STATE_WAKER of `bpf/waker.bpf.h`).
const WAKER: u32 = 0x80;

/// Wakers whose wait has not been told yet: mostly it is the next thing told.
const WAITING_MAX: usize = 64 << 10;

/// A thread that woke another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waker {
    /// Its stack.
    pub stack: u32,
    /// Its name, padded with NUL.
    pub thread: [u8; 16],
}

/// Wakers, by the time of what they did.
#[derive(Debug, Default)]
pub struct Wakers {
    known: HashMap<u64, Waker, foldhash::fast::RandomState>,
    /// Those that were forgotten, for there being too many.
    pub forgotten: u64,
}

impl Wakers {
    /// True if that is no sample, but the record of a waker.
    pub fn is_one(sample: &RawSample) -> bool {
        sample.state == WAKER
    }

    /// Takes in a waker, whose stack this is.
    pub fn add(&mut self, sample: &RawSample, stack: u32) {
        if self.known.len() >= WAITING_MAX {
            self.forgotten += self.known.len() as u64;
            self.known.clear();
        }
        self.known.insert(sample.time, Waker { stack, thread: sample.thread });
    }

    /// Who ended the wait of a sample. It may be asked twice: for what the thread waited, and then
    /// for a CPU.
    pub fn of(&self, sample: &RawSample) -> Option<&Waker> {
        self.known.get(&sample.waker)
    }

    /// Forgets all, of tables that are gone.
    pub fn clear(&mut self) {
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waker_is_found_by_its_time_and_there_are_never_too_many() {
        let mut wakers = Wakers::default();
        for time in 1..=WAITING_MAX as u64 + 1 {
            let waker = RawSample { time, state: WAKER, ..RawSample::default() };
            assert!(Wakers::is_one(&waker));
            wakers.add(&waker, time as u32);
        }
        let wait = |waker| RawSample { waker, ..RawSample::default() };
        assert_eq!(wakers.of(&wait(WAITING_MAX as u64 + 1)).map(|one| one.stack), Some(65537));
        assert_eq!(wakers.of(&wait(1)), None);
        assert_eq!(wakers.forgotten, WAITING_MAX as u64);
    }
}
