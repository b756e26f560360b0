//! Records of a source of kind `stacks`, in the order in which the kernel sent them.

use crate::bpf::{self, REGISTER_SP, REGISTERS, Record, fingerprint};

/// A sample as the kernel took it: stacks by fingerprint, addresses not yet named.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RawSample {
    /// Which of a recording's sources it is from.
    pub source: u8,
    /// ns, CLOCK_MONOTONIC.
    pub time: u64,
    /// CPU number.
    pub cpu: u32,
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Weight, in the unit of the source.
    pub weight: u64,
    /// How many of what the source counts.
    pub count: u64,
    /// Id of the cgroup in the cgroup2 hierarchy.
    pub cgroup: u64,
    /// Fingerprint of the kernel stack; 0 if there is none.
    pub kernel_stack: u128,
    /// Fingerprint of the user stack; 0 if there is none.
    pub user_stack: u128,
    /// How the user stack ended (`enum unwind_status`).
    pub user_status: u32,
    /// What a wait is for (`enum wait_state`); 0 if it is none.
    pub state: u32,
    /// What record tells who ended a wait, by its time; 0 if that is not known.
    pub waker: u64,
    /// What user space is to find the user stack in, where the kernel could not.
    pub snapshot: Option<Box<Snapshot>>,
    /// Command name of the process, padded with NUL.
    pub comm: [u8; 16],
    /// Name of the thread, padded with NUL.
    pub thread: [u8; 16],
}

/// Sampled memory that is held no longer, by what its allocation was.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RawFree {
    /// Which of a recording's sources it is from.
    pub source: u8,
    /// When it was freed, ns, CLOCK_MONOTONIC.
    pub time: u64,
    /// When it was allocated.
    pub born: u64,
    /// Its size, bytes.
    pub size: u64,
    /// Process that allocated it.
    pub pid: u32,
    /// Thread that allocated it.
    pub tid: u32,
    /// Fingerprint of the user stack of that; 0 if it was left to user space.
    pub user_stack: u128,
    /// Fingerprint of the kernel stack of that; 0 if there is none.
    pub kernel_stack: u128,
    /// How many objects it stands for.
    pub count: u64,
    /// How many bytes it stands for.
    pub value: u64,
}

/// Registers and the top of the stack of a thread in user mode.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Snapshot {
    /// Instruction pointer.
    pub ip: u64,
    /// The others, by DWARF's numbers.
    pub registers: [u64; REGISTERS],
    /// Where the memory below was.
    pub start: u64,
    /// Memory from there on, in whole pages: the red zone and the stack.
    pub stack: Vec<u8>,
    /// A bit for each of the pages that was not there.
    pub missing: u64,
}

impl Snapshot {
    /// The word at an address of the stack, if it is here.
    pub fn word(&self, address: u64) -> Option<u64> {
        let at = address.wrapping_sub(self.start) as usize;
        let bytes = self.stack.get(at..at.checked_add(8)?)?;
        let missing = |at: usize| self.missing >> (at >> 12 & 63) & 1 != 0;
        let there = !missing(at) && !missing(at + 7);
        there.then_some(u64::from_ne_bytes(bytes.try_into().ok()?))
    }

    /// True if not even the page of the stack pointer was there.
    pub fn is_empty(&self) -> bool {
        self.word(self.registers[REGISTER_SP] & !7).is_none()
    }
}

/// What came out of the kernel since it was last asked.
#[derive(Debug, Default)]
pub struct Batch {
    /// Samples, each CPU's in order of time.
    pub samples: Vec<RawSample>,
    /// Stacks by fingerprint, leaf first. A stack comes before the first sample that refers to it.
    pub stacks: Vec<(u128, Vec<u64>)>,
    /// What was freed.
    pub frees: Vec<RawFree>,
    /// Records that were not understood.
    pub unknown: u64,
}

impl Batch {
    /// Adds one record of the ring buffer.
    pub fn push(&mut self, bytes: &[u8]) {
        match bpf::decode(bytes) {
            Some(Record::Sample(sample)) => self.samples.push(raw(&sample)),
            Some(Record::Stack(fingerprint, addresses)) => {
                self.stacks.push((join(fingerprint), addresses));
            }
            Some(Record::Free(free)) => self.frees.push(raw_free(&free)),
            None => self.unknown += 1,
        }
    }

    /// Adds one record of the ring buffer of snapshots.
    pub fn push_snapshot(&mut self, bytes: &[u8]) {
        match bpf::decode_snapshot(bytes) {
            Some(bpf::Snapshot { sample, ip, registers, start, stack, missing }) => {
                let snapshot = Snapshot { ip, registers, start, stack: stack.to_vec(), missing };
                let snapshot = Some(Box::new(snapshot));
                self.samples.push(RawSample { snapshot, ..raw(&sample) });
            }
            None => self.unknown += 1,
        }
    }

    /// Moves everything to the end of `other`.
    pub fn move_to(&mut self, other: &mut Self) {
        other.samples.append(&mut self.samples);
        other.stacks.append(&mut self.stacks);
        other.frees.append(&mut self.frees);
        other.unknown += std::mem::take(&mut self.unknown);
    }
}

fn raw(sample: &bpf::sample) -> RawSample {
    RawSample {
        source: sample.source as u8,
        time: sample.time,
        cpu: sample.cpu,
        pid: sample.pid,
        tid: sample.tid,
        weight: sample.weight,
        count: sample.count.into(),
        cgroup: sample.cgroup,
        kernel_stack: join(sample.kernel_stack),
        user_stack: join(sample.user_stack),
        user_status: sample.user_status.into(),
        state: sample.state.into(),
        waker: sample.waker,
        snapshot: None,
        comm: sample.comm.map(|c| c as u8),
        thread: sample.thread.map(|c| c as u8),
    }
}

fn raw_free(free: &bpf::free_record) -> RawFree {
    let held = &free.held;
    RawFree {
        source: free.source as u8,
        time: free.time,
        born: held.born,
        size: held.size,
        pid: held.pid,
        tid: held.tid,
        user_stack: join(held.user_stack),
        kernel_stack: join(held.kernel_stack),
        count: 1,
        value: held.size,
    }
}

fn join(fingerprint: fingerprint) -> u128 {
    u128::from(fingerprint.high) << 64 | u128::from(fingerprint.low)
}
