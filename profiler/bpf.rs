//! The one address of `unsafe`: the generated skeletons, the bytes and counters that the kernel
//! shares with us, and a few calls that have no safe wrapper. What leaves this module is safe
//! to use.
#![allow(unsafe_code)]

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

/// Skeletons and types of `bpf/NAME.bpf.c`.
macro_rules! skeletons {
    ($($name:ident)*) => {$(
        #[doc = concat!("Skeleton and types of `bpf/", stringify!($name), ".bpf.c`.")]
        #[allow(missing_docs, clippy::all, clippy::undocumented_unsafe_blocks)]
        #[allow(clippy::unwrap_used, clippy::wildcard_imports)]
        pub mod $name {
            include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".skel.rs"));
        }
    )*};
}
skeletons!(base);
skeletons!(cpu faults heap kmem offcpu);
skeletons!(exec exit open readline signal syscalls tcpstates unlink);
skeletons!(probe probeline probetime);
skeletons!(gc hardirqs runqlat softirqs tcpconnlat tcprtt);

/// A collection of `bpf/gc.bpf.c`.
pub use gc::types::collection;

/// A connection of `bpf/tcpconnlat.bpf.c`.
pub use tcpconnlat::types::connection;

/// The key of a connection. Each skeleton has a type of its own for the same struct.
pub fn key_of(connection: &connection) -> latency_key {
    const _: () = assert!(size_of::<latency_key>() == size_of::<tcpconnlat::types::latency_key>());
    read(&bytes(connection)[mem::offset_of!(connection, key)..]).unwrap_or_default()
}

/// What the kernel half of every source of kind `latency` shares with us; see `bpf/latency.bpf.h`.
pub use runqlat::types::{histogram, latency_key, uncounted};

/// What the kernel half of every source of kind `events` shares with us; see `bpf/events.bpf.h`.
pub use exec::types::{event, event_counters};

/// What the kernel half of every source of kind `stacks` shares with us; see `bpf/stacks.bpf.h`.
pub use base::types::{
    counters, file, fingerprint, free_record, held, held_key, mapping, process, sample, symbols,
};
/// Where the code of a process's allocators is; see `bpf/heap.bpf.c`.
pub use heap::types::allocator_code;

/// The most addresses of one stack (STACK_DEPTH_MAX in `bpf/unwind.bpf.h`).
pub const STACK_DEPTH_MAX: usize = stack_depth_max();

use base::types::{snapshot, stack};

/// Taken from the C type, so that the two cannot differ.
const fn stack_depth_max() -> usize {
    (mem::size_of::<stack>() - mem::offset_of!(stack, addresses)) / mem::size_of::<u64>()
}

/// `enum record_kind`.
const RECORD_SAMPLE: u32 = 1;
const RECORD_STACK: u32 = 2;
const RECORD_FREE: u32 = 3;

/// One record of the ring buffer.
pub enum Record {
    /// A sample, whose stacks were announced before it.
    Sample(Box<sample>),
    /// The addresses of a stack, leaf first.
    Stack(fingerprint, Vec<u64>),
    /// A sampled allocation was freed.
    Free(Box<free_record>),
}

/// Decodes a record of the ring buffer; none if it is not one that we know.
pub fn decode(bytes: &[u8]) -> Option<Record> {
    let kind = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    match kind {
        RECORD_SAMPLE => read(bytes).map(|sample| Record::Sample(Box::new(sample))),
        RECORD_STACK => {
            let header = mem::offset_of!(stack, addresses);
            let (print, depth) =
                (mem::offset_of!(stack, fingerprint), mem::offset_of!(stack, depth));
            let depth = u32::from_ne_bytes(bytes.get(depth..depth + 4)?.try_into().ok()?);
            let words = bytes.get(header..header + depth as usize * 8)?.chunks_exact(8);
            let addresses = words.map(|word| u64::from_ne_bytes(word.try_into().expect("8 bytes")));
            Some(Record::Stack(read(bytes.get(print..)?)?, addresses.collect()))
        }
        RECORD_FREE => read(bytes).map(|free| Record::Free(Box::new(free))),
        _ => None,
    }
}

/// General registers of x86_64 (REGISTERS in `bpf/unwind.bpf.h`), by DWARF's numbers.
pub const REGISTERS: usize = 16;
/// The stack pointer among them.
pub const REGISTER_SP: usize = 7;
/// The frame pointer, or whatever else is in rbp.
pub const REGISTER_BP: usize = 6;

/// One record of the ring buffer of snapshots.
pub struct Snapshot<'a> {
    /// The sample that it belongs to.
    pub sample: sample,
    /// Instruction pointer.
    pub ip: u64,
    /// The other registers, by DWARF's numbers.
    pub registers: [u64; REGISTERS],
    /// Where the memory was.
    pub start: u64,
    /// Memory.
    pub stack: &'a [u8],
    /// A bit for each of its pages that was not there.
    pub missing: u64,
}

/// Decodes a record of the ring buffer of snapshots. None if it is cut short.
pub fn decode_snapshot(bytes: &[u8]) -> Option<Snapshot<'_>> {
    let word = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let mut registers = [0; REGISTERS];
    for (number, register) in registers.iter_mut().enumerate() {
        *register = word(mem::offset_of!(snapshot, registers) + 8 * number)?;
    }
    let count = word(mem::offset_of!(snapshot, bytes))? as usize;
    let header = mem::offset_of!(snapshot, stack);
    Some(Snapshot {
        sample: read(bytes)?,
        ip: word(mem::offset_of!(snapshot, ip))?,
        registers,
        start: word(mem::offset_of!(snapshot, start))?,
        stack: bytes.get(header..header.checked_add(count)?)?,
        missing: word(mem::offset_of!(snapshot, missing))?,
    })
}

/// A type that any bytes are a valid value of.
///
/// # Safety
/// It must have no padding that matters, no reference and no invalid bit pattern.
pub unsafe trait Plain: Copy {}

// SAFETY: structs of integers, generated from BTF.
unsafe impl Plain for sample {}
// SAFETY: as above.
unsafe impl Plain for fingerprint {}
// SAFETY: as above.
unsafe impl Plain for symbols {}
// SAFETY: as above.
unsafe impl Plain for counters {}
// SAFETY: as above.
unsafe impl Plain for free_record {}
// SAFETY: as above.
unsafe impl Plain for allocator_code {}
// SAFETY: as above.
unsafe impl Plain for held_key {}
// SAFETY: as above.
unsafe impl Plain for held {}
// SAFETY: as above.
unsafe impl Plain for heap::types::sampling {}
// SAFETY: as above.
unsafe impl Plain for file {}
// SAFETY: as above.
unsafe impl Plain for mapping {}
// SAFETY: as above.
unsafe impl Plain for process {}

// SAFETY: as above.
unsafe impl Plain for event {}
// SAFETY: as above.
unsafe impl Plain for event_counters {}
// SAFETY: as above.
unsafe impl Plain for exec::types::exec {}
// SAFETY: as above.
unsafe impl Plain for exit::types::exit {}
// SAFETY: as above.
unsafe impl Plain for open::types::open {}
// SAFETY: as above.
unsafe impl Plain for readline::types::readline {}
// SAFETY: as above.
unsafe impl Plain for signal::types::signal {}
// SAFETY: as above.
unsafe impl Plain for syscalls::types::call {}
// SAFETY: as above.
unsafe impl Plain for syscalls::types::recipe {}
// SAFETY: as above.
unsafe impl Plain for syscalls::types::table_entry {}
// SAFETY: as above.
unsafe impl Plain for syscalls::types::table_question {}
// SAFETY: as above.
unsafe impl Plain for syscalls::types::totals {}
// SAFETY: as above.
unsafe impl Plain for tcpstates::types::tcpstate {}
// SAFETY: as above.
unsafe impl Plain for unlink::types::unlink {}
// SAFETY: as above.
unsafe impl Plain for probeline::types::probeline {}
// SAFETY: as above.
unsafe impl Plain for probeline::types::argument_list {}
// SAFETY: as above.
unsafe impl Plain for latency_key {}
// SAFETY: as above.
unsafe impl Plain for histogram {}
// SAFETY: as above.
unsafe impl Plain for uncounted {}
// SAFETY: as above.
unsafe impl Plain for collection {}
// SAFETY: as above.
unsafe impl Plain for connection {}

/// The value at the start of `bytes`; none if they are too few.
pub fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < mem::size_of::<T>() {
        return None;
    }
    // SAFETY: there are enough bytes, T is Plain, and the read needs no alignment.
    Some(unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) })
}

/// An integer of 1 to 8 bytes at a place in others; none if they are too few.
pub fn word_at(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let mut word = [0; 8];
    let part = bytes.get(at..at.checked_add(width)?)?;
    word.get_mut(..width)?.copy_from_slice(part);
    Some(u64::from_ne_bytes(word))
}

/// The bytes of a value, to hand to the kernel.
pub fn bytes<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: T is Plain, so each of its bytes may be read.
    unsafe { std::slice::from_raw_parts(ptr::from_ref(value).cast(), mem::size_of::<T>()) }
}

/// A copy of counters that the kernel writes meanwhile.
pub fn snapshot<T: Plain>(shared: &T) -> T {
    // SAFETY: a valid reference to Plain memory; volatile, since BPF programs change it.
    unsafe { ptr::read_volatile(shared) }
}

/// The descriptor of something that has no `AsFd`.
pub fn borrow_fd(owner: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: the owner keeps it open for as long as it is borrowed.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}

/// A descriptor that `owner`, a ring buffer, tells us of.
pub fn epoll_fd<'a>(owner: &'a libbpf_rs::RingBuffer<'_>) -> BorrowedFd<'a> {
    // SAFETY: the ring buffer keeps it open for as long as it is borrowed.
    unsafe { BorrowedFd::borrow_raw(owner.epoll_fd()) }
}

/// Keeps the kernel's accounting of BPF run time on for as long as it lives.
pub struct RunTimeStats {
    _fd: OwnedFd,
}

impl RunTimeStats {
    /// Turns the accounting on.
    ///
    /// # Errors
    /// The kernel is older than 5.8 or CAP_SYS_ADMIN is missing.
    pub fn enable() -> io::Result<Self> {
        // SAFETY: takes an enum, returns a new descriptor or a negative errno.
        let fd = unsafe { libbpf_rs::libbpf_sys::bpf_enable_stats(0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self { _fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }
}

/// Time (ns) and number of runs of a BPF program since it was loaded; zero while the accounting
/// is off.
pub fn run_time(program: BorrowedFd<'_>) -> (u64, u64) {
    let mut info = libbpf_rs::libbpf_sys::bpf_prog_info::default();
    let mut size = mem::size_of_val(&info) as u32;
    // SAFETY: `info` and `size` live through the call, and `size` is the size of `info`.
    let result = unsafe {
        libbpf_rs::libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &mut info, &mut size)
    };
    if result == 0 { (info.run_time_ns, info.run_cnt) } else { (0, 0) }
}

/// Has a static program look up users in /etc/passwd and hosts in /etc/hosts and by DNS, whatever
/// /etc/nsswitch.conf says: glibc has these inside since 2.34, and what it would load for others
/// was made for the glibc of the machine, not for the one in the program.
pub fn look_up_in_files() {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    {
        unsafe extern "C" {
            fn __nss_configure_lookup(
                database: *const std::ffi::c_char,
                services: *const std::ffi::c_char,
            ) -> std::ffi::c_int;
        }
        let rows = [(c"passwd", c"files"), (c"group", c"files"), (c"hosts", c"files dns")];
        for (database, services) in rows {
            // SAFETY: both are C strings that live for ever; no other thread runs yet.
            unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
        }
    }
}

/// Major and minor version of the libbpf that is linked in.
pub fn libbpf_version() -> (u32, u32) {
    use libbpf_rs::libbpf_sys::{libbpf_major_version, libbpf_minor_version};
    // SAFETY: both take nothing and return a constant.
    unsafe { (libbpf_major_version(), libbpf_minor_version()) }
}

/// Runs of a BPF program that there were not, since another ran on the CPU (counted since Linux 5.12).
pub fn missed_runs(program: BorrowedFd<'_>) -> u64 {
    let mut info = libbpf_rs::libbpf_sys::bpf_prog_info::default();
    let mut size = mem::size_of_val(&info) as u32;
    // SAFETY: `info` and `size` live through the call, and `size` is the size of `info`.
    let result = unsafe {
        libbpf_rs::libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &mut info, &mut size)
    };
    if result == 0 { info.recursion_misses } else { 0 }
}

/// Has the allocator give free memory back to the system. What is free in the middle of a heap stays
/// with a process for good otherwise.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer, and may be called at any time from any thread.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_cut_short_are_not_decoded() {
        let sample = bytes(&sample { kind: RECORD_SAMPLE, pid: 7, ..Default::default() }).to_vec();
        assert!(matches!(decode(&sample), Some(Record::Sample(s)) if s.pid == 7));
        for cut in 0..sample.len() {
            assert!(decode(&sample[..cut]).is_none());
        }
        let mut stack = vec![0; mem::offset_of!(stack, addresses)];
        stack[0] = 2;
        stack[4] = 1;
        assert!(decode(&stack).is_none());
        stack.extend([9; 8]);
        assert!(matches!(decode(&stack), Some(Record::Stack(_, a)) if a == [0x0909090909090909]));
    }
}
