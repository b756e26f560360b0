//! Source `signal`: who signals whom, by which call, and what came of it. Signals that the kernel
//! makes are among them: their sender is whoever ran when it made them.

use std::mem::offset_of;

use anyhow::Result;

use super::{
    Base, Events, Filters, Options,
    events::{EventStream, comm_at, event, open_events},
    linux,
};
use crate::{
    bpf::{self, signal::SignalSkelBuilder, signal::types::signal},
    model::{Event, Field, Value},
};

/// The source.
pub struct Signal;

const FIELDS: &[Field] = &[
    Field::text("signal", 12),
    Field::number("to", 7),
    Field::text("to_comm", 15),
    Field::text("by", 17),
    Field::text("outcome", 12),
    Field::hidden("to_tid"),
    Field::hidden("code"),
    Field::hidden("result"),
];

/// The one signal that no process can do anything about.
const SIGKILL: u64 = 9;

/// `enum signal_kind`.
const MADE: u32 = 0;
const CALLED: u32 = 1;

/// What became of a signal that was made (enum in include/trace/events/signal.h).
const OUTCOMES: [&str; 5] = ["delivered", "ignored", "pending", "queue full", "without info"];

impl Events for Signal {
    fn name(&self) -> &'static str {
        "signal"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn open(&self, options: &Options, filters: &Filters, base: &Base) -> Result<EventStream> {
        let skel = open_events!(SignalSkelBuilder, options, filters, base, |open| {
            // It runs at each system call of any process.
            open.progs.signal_called.set_autoload(!filters.deadly);
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                if filters.deadly {
                    rodata.wanted = 1 << (SIGKILL - 1);
                }
                rodata.failed_only = filters.failed;
                if !filters.signals.is_empty() {
                    let bits = filters.signals.iter().map(|signal| 1u64 << (signal - 1));
                    rodata.wanted = bits.fold(0, |mask, bit| mask | bit);
                }
            }
        });
        Ok(EventStream::new(skel, Vec::new()))
    }

    fn decode<'a>(&self, record: &'a [u8]) -> Option<Event<'a>> {
        let head = bpf::read::<signal>(record)?;
        let called = head.event.kind == CALLED;
        let to_comm = comm_at(record, offset_of!(signal, to_comm))?;
        let outcome = match (head.event.kind, head.result) {
            (CALLED, 0..) => Value::word("allowed"),
            (CALLED, result) => Value::Word(linux::errno(-result)),
            (MADE, result) => match OUTCOMES.get(result as usize) {
                Some(outcome) => Value::word(outcome),
                None => Value::Number(result.into()),
            },
            _ => Value::word("OOM victim"),
        };
        let values = vec![
            Value::Word(linux::signal(head.signal)),
            // A call may name a group of processes, by a negative number.
            Value::Number((head.to_pid as i32).into()),
            if called { Value::None } else { Value::text(to_comm) },
            by(&head),
            outcome,
            if head.to_tid == 0 { Value::None } else { Value::Number(head.to_tid.into()) },
            if called { Value::None } else { Value::Number(head.code.into()) },
            if called { Value::Result(head.result.into()) } else { Value::None },
        ];
        event(record, values)
    }
}

/// The call that it came by, or why the kernel made it.
fn by(signal: &signal) -> Value<'static> {
    let calls = [
        (62, "kill"),
        (129, "rt_sigqueueinfo"),
        (200, "tkill"),
        (234, "tgkill"),
        (297, "rt_tgsigqueueinfo"),
        (424, "pidfd_send_signal"),
    ];
    if let Some((_, name)) = calls.iter().find(|(call, _)| *call == signal.call) {
        return Value::word(name);
    }
    Value::Word(reason(signal.signal, signal.code).into())
}

/// What the kernel has to say of a signal that it made (include/uapi/asm-generic/siginfo.h).
fn reason(signal: u32, code: i32) -> String {
    let faults = |names: &[&'static str]| {
        usize::try_from(code - 1).ok().and_then(|index| names.get(index)).copied()
    };
    let known = match (signal, code) {
        (_, 0x80) => Some("kernel"),
        (_, -2) => Some("timer"),
        (_, -3) => Some("message queue"),
        (_, -4) => Some("asynchronous I/O"),
        (_, 0 | -1 | -6) => Some("call"),
        // ILL, TRAP, BUS, FPE, SEGV, CHLD
        (4, _) => faults(&["ILL_ILLOPC", "ILL_ILLOPN", "ILL_ILLADR", "ILL_ILLTRP", "ILL_PRVOPC"]),
        (5, _) => faults(&["TRAP_BRKPT", "TRAP_TRACE", "TRAP_BRANCH", "TRAP_HWBKPT"]),
        (7, _) => faults(&["BUS_ADRALN", "BUS_ADRERR", "BUS_OBJERR", "BUS_MCEERR_AR"]),
        (8, _) => faults(&["FPE_INTDIV", "FPE_INTOVF", "FPE_FLTDIV", "FPE_FLTOVF"]),
        (11, _) => faults(&["SEGV_MAPERR", "SEGV_ACCERR", "SEGV_BNDERR", "SEGV_PKUERR"]),
        (17, _) => faults(&["exited", "killed", "dumped", "trapped", "stopped", "continued"]),
        _ => None,
    };
    known.map_or_else(|| format!("code {code}"), str::to_owned)
}
