//! Source `exit`: processes that end, with how, how long they lived, and the CPU time that they used.
//!
//! The kernel has counted CPU time up to the last tick or switch: of a process that lives for a few ms
//! it may be too little.

use anyhow::Result;

use super::{
    Base, Events, Filters, Options,
    events::{EventStream, event, open_events},
    linux,
};
use crate::{
    bpf::{self, exit::ExitSkelBuilder, exit::types::exit},
    model::{Event, Field, Value},
};

/// The source.
pub struct Exit;

const FIELDS: &[Field] = &[
    Field::number("ppid", 7),
    Field::number("age", 10),
    Field::number("cpu", 10),
    Field::number("code", 4),
    Field::text("signal", 12),
    Field::hidden("core"),
];

impl Events for Exit {
    fn name(&self) -> &'static str {
        "exit"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn open(&self, options: &Options, filters: &Filters, base: &Base) -> Result<EventStream> {
        let skel = open_events!(ExitSkelBuilder, options, filters, base, |open| {
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.failed_only = filters.failed;
                rodata.least_age = filters.least_age.as_nanos() as u64;
            }
        });
        Ok(EventStream::new(skel, Vec::new()))
    }

    fn decode<'a>(&self, record: &'a [u8]) -> Option<Event<'a>> {
        let head = bpf::read::<exit>(record)?;
        // wait(2): the low seven bits are the signal, the next says whether there is a core.
        let (signal, core, code) = (head.code & 0x7f, head.code & 0x80 != 0, head.code >> 8 & 0xff);
        let values = vec![
            Value::Number(head.parent.into()),
            Value::Span(head.age),
            Value::Span(head.cpu_time),
            if signal == 0 { Value::Number(code.into()) } else { Value::None },
            if signal == 0 { Value::None } else { Value::Word(linux::signal(signal)) },
            Value::Flag(core),
        ];
        event(record, values)
    }
}
