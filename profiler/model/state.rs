//! What a thread waits for while it is off the CPU: the leaf of a stack that waits.

use anyhow::{Result, bail};

/// The frame that waits for work stand on: those that are what a pool or a loop of events does when
/// there is nothing to do.
pub const IDLE: &str = "[idle]";

/// What a thread waits for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum WaitState {
    /// Something to happen: input, a time, another thread. Any signal ends it.
    Sleep,
    /// What no signal ends: a device, mostly, and the kernel's own locks.
    Disk,
    /// In a system call that locks are made of: futex, flock, semop. Condition variables are, too.
    Lock,
    /// Nothing: it lost its CPU to another.
    Preempted,
    /// What it waited for is there, but no CPU.
    Runnable,
}

impl WaitState {
    /// All of them, by their numbers.
    pub const ALL: [Self; 5] =
        [Self::Sleep, Self::Disk, Self::Lock, Self::Preempted, Self::Runnable];

    /// Its number in the kernel (`enum wait_state` of `bpf/waits.bpf.h`); 0 is none.
    pub fn number(self) -> u32 {
        self as u32 + 1
    }

    /// The state of that number.
    pub fn of(number: u32) -> Option<Self> {
        Self::ALL.get((number as usize).checked_sub(1)?).copied()
    }

    /// Its word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sleep => "sleep",
            Self::Disk => "disk",
            Self::Lock => "lock",
            Self::Preempted => "preempted",
            Self::Runnable => "runnable",
        }
    }

    /// The leaf frame that says it.
    pub fn note(self) -> &'static str {
        match self {
            Self::Sleep => "[sleep]",
            Self::Disk => "[disk]",
            Self::Lock => "[lock]",
            Self::Preempted => "[preempted]",
            Self::Runnable => "[runnable]",
        }
    }

    /// Reads its word.
    ///
    /// # Errors
    /// There is no such state: names those that there are.
    pub fn parse(text: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|state| state.word() == text) {
            Some(state) => Ok(state),
            None => {
                let known: Vec<&str> = Self::ALL.iter().map(|state| state.word()).collect();
                bail!("no state {text:?}; there is: {}", known.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_lead_back() {
        for state in WaitState::ALL {
            assert_eq!(WaitState::parse(state.word()).unwrap(), state);
            assert_eq!(WaitState::of(state.number()), Some(state));
            assert_eq!(state.note(), format!("[{}]", state.word()));
        }
        assert_eq!(WaitState::of(0), None);
        assert_eq!(WaitState::of(6), None);
        assert!(WaitState::parse("idle").unwrap_err().to_string().contains("preempted"));
    }
}
