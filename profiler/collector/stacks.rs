//! Records of a source of kind `stacks`, in the order in which the kernel sent them.

use crate::bpf::{self, Record, fingerprint};

/// A sample as the kernel took it: stacks by fingerprint, addresses not yet named.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RawSample {
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
    /// Id of the cgroup in the cgroup2 hierarchy.
    pub cgroup: u64,
    /// Fingerprint of the kernel stack; 0 if there is none.
    pub kernel_stack: u128,
    /// Fingerprint of the user stack; 0 if there is none.
    pub user_stack: u128,
    /// Command name of the process, padded with NUL.
    pub comm: [u8; 16],
    /// Name of the thread, padded with NUL.
    pub thread: [u8; 16],
}

/// What came out of the kernel since it was last asked.
#[derive(Debug, Default)]
pub struct Batch {
    /// Samples, each CPU's in order of time.
    pub samples: Vec<RawSample>,
    /// Stacks by fingerprint, leaf first. A stack comes before the first sample that refers to it.
    pub stacks: Vec<(u128, Vec<u64>)>,
    /// Records that were not understood.
    pub unknown: u64,
}

impl Batch {
    /// Adds one record of the ring buffer.
    pub fn push(&mut self, bytes: &[u8]) {
        match bpf::decode(bytes) {
            Some(Record::Sample(sample)) => self.samples.push(RawSample {
                time: sample.time,
                cpu: sample.cpu,
                pid: sample.pid,
                tid: sample.tid,
                weight: sample.weight,
                cgroup: sample.cgroup,
                kernel_stack: join(sample.kernel_stack),
                user_stack: join(sample.user_stack),
                comm: sample.comm.map(|c| c as u8),
                thread: sample.thread.map(|c| c as u8),
            }),
            Some(Record::Stack(fingerprint, addresses)) => {
                self.stacks.push((join(fingerprint), addresses));
            }
            None => self.unknown += 1,
        }
    }

    /// Moves everything to the end of `other`.
    pub fn move_to(&mut self, other: &mut Self) {
        other.samples.append(&mut self.samples);
        other.stacks.append(&mut self.stacks);
        other.unknown += std::mem::take(&mut self.unknown);
    }
}

fn join(fingerprint: fingerprint) -> u128 {
    u128::from(fingerprint.high) << 64 | u128::from(fingerprint.low)
}
