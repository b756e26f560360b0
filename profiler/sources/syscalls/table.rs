//! The kernel's own table of system calls: their numbers, names, and the names and types of their
//! arguments, for this architecture and this kernel. It is what tracefs shows of them (but for the
//! numbers, which it does not), read from the kernel's memory: so no tracefs is needed.

use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use libbpf_rs::{MapCore, MapFlags, MapMut, ProgramInput, ProgramMut};
use perf_event::{Builder, Counter, events::Tracepoint};

use crate::{
    bpf::{
        self,
        syscalls::types::{table_entry, table_question},
    },
    sources::paths::until_nul,
};

/// One argument.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Arg {
    /// Its name.
    pub name: String,
    /// Its type in C, without `__user`.
    pub kind: String,
}

/// One system call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// As programs know it.
    pub name: String,
    /// Its arguments, at most six.
    pub args: Vec<Arg>,
}

/// Every system call, by number.
#[derive(Debug, Default)]
pub struct Table {
    calls: Vec<Option<Call>>,
}

/// Calls that the kernel knows by another name than its programs.
const NAMES: [(&str, &str); 6] = [
    ("newstat", "stat"),
    ("newlstat", "lstat"),
    ("newfstat", "fstat"),
    ("newuname", "uname"),
    ("sendfile64", "sendfile"),
    ("umount", "umount2"),
];

/// Numbers of system calls that are looked at (CALLS_MAX in `bpf/callparts.bpf.h`).
pub const CALLS_MAX: usize = 512;
/// The most trace events that a kernel can have, with a lot of room.
const EVENTS_MAX: usize = 65536;
/// Numbers of tracepoints of which one is there, in any kernel that has some.
const TRACEPOINTS: std::ops::Range<u64> = 1..4096;

impl Table {
    /// Reads it with `read_table` of `bpf/calltable.bpf.h`.
    ///
    /// # Errors
    /// The kernel has no such table.
    pub fn read(program: &ProgramMut<'_>, entry: &MapMut<'_>) -> Result<Self> {
        let event = any_tracepoint()?;
        let mut table = Self::default();
        let (mut node, mut first) = (0, 0);
        for _ in 0..EVENTS_MAX {
            let question = table_question { node, fd: event.as_raw_fd() as u64 };
            let mut question = bpf::bytes(&question).to_vec();
            let input = ProgramInput { context_in: Some(&mut question), ..Default::default() };
            let done =
                program.test_run(input).context("cannot read the kernel's table of calls")?;
            let value = entry.lookup(&0u32.to_ne_bytes(), MapFlags::ANY)?.unwrap_or_default();
            let Some(entry) = bpf::read::<table_entry>(&value).filter(|_| done.return_value == 0)
            else {
                break;
            };
            if entry.is_call != 0 {
                table.add(&entry);
            }
            first = if first == 0 { entry.node } else { first };
            node = entry.next;
            // It is a ring.
            if node == first || node == 0 {
                break;
            }
        }
        if table.calls.is_empty() {
            bail!(
                "this kernel has no table of its system calls: CONFIG_FTRACE_SYSCALLS=y makes one"
            );
        }
        Ok(table)
    }

    fn add(&mut self, entry: &table_entry) {
        let Some(number) = usize::try_from(entry.number).ok().filter(|number| *number < CALLS_MAX)
        else {
            return;
        };
        let name = text(&entry.name);
        let name = name.strip_prefix("sys_").unwrap_or(&name);
        let known = NAMES.iter().find(|(kernel, _)| *kernel == name);
        let args = entry.names.iter().zip(&entry.types).take(entry.args as usize);
        let arg = |(name, kind): (&[i8; 32], &[i8; 64])| Arg {
            name: text(name),
            kind: text(kind).replace("__user ", ""),
        };
        let call = Call {
            name: known.map_or(name, |(_, known)| known).to_owned(),
            args: args.map(arg).collect(),
        };
        if self.calls.len() <= number {
            self.calls.resize(number + 1, None);
        }
        self.calls[number] = Some(call);
    }

    /// The call of that number.
    pub fn get(&self, number: u32) -> Option<&Call> {
        self.calls.get(number as usize)?.as_ref()
    }

    /// Every call, with its number.
    pub fn calls(&self) -> impl Iterator<Item = (u32, &Call)> {
        (0..).zip(&self.calls).filter_map(|(number, call)| Some((number, call.as_ref()?)))
    }
}

fn text(chars: &[i8]) -> String {
    let bytes: Vec<u8> = chars.iter().map(|&c| c as u8).collect();
    String::from_utf8_lossy(until_nul(&bytes)).into_owned()
}

/// An event of any tracepoint, which counts nothing.
fn any_tracepoint() -> Result<Counter> {
    let open = |number| {
        let mut builder = Builder::new(Tracepoint::with_id(number));
        builder.observe_self().exclude_kernel(false).build().ok()
    };
    TRACEPOINTS.into_iter().find_map(open).context(
        "the kernel lets us have no tracepoint: it needs CAP_PERFMON and CONFIG_TRACEPOINTS",
    )
}
