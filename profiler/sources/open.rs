//! Source `open`: files that are opened, with path, flags and result.
//!
//! Opens by io_uring are no system calls, and are not seen.

use anyhow::Result;

use super::{
    Base, Events, Filters, Options,
    events::{EventStream, event, open_events, path_and_names},
    linux,
    paths::{join, path_of},
};
use crate::{
    bpf::{self, open::OpensSkelBuilder, open::types::open},
    model::{Event, Field, Value},
};

/// The source.
pub struct Open;

const FIELDS: &[Field] = &[
    Field::number("result", 8),
    Field::text("flags", 18),
    Field::text("path", 32),
    Field::hidden("resolved"),
    Field::hidden("mode"),
    Field::hidden("call"),
];

impl Events for Open {
    fn name(&self) -> &'static str {
        "open"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn open(&self, options: &Options, filters: &Filters, base: &Base) -> Result<EventStream> {
        let skel = open_events!(OpensSkelBuilder, options, filters, base, |open| {
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.failed_only = filters.failed;
                rodata.with_names = !filters.shown_only;
            }
        });
        Ok(EventStream::new(skel, Vec::new()))
    }

    fn decode<'a>(&self, record: &'a [u8]) -> Option<Event<'a>> {
        let head = bpf::read::<open>(record)?;
        let (given, names) = path_and_names::<open>(record, head.path_bytes)?;
        let path = path_of(head.names.status, head.names.inode, names);
        let resolved = match head.result {
            0.. => path.map(Into::into),
            _ => given.and_then(|given| join(path, given)),
        };
        let creates = head.flags & (0o100 | 0o20000000) != 0;
        let values = vec![
            Value::Result(head.result.into()),
            Value::Word(linux::open_flags(head.flags.into()).into()),
            given.map_or(Value::None, Value::text),
            resolved.map_or(Value::None, Value::Text),
            if creates { Value::Word(format!("0{:o}", head.mode).into()) } else { Value::None },
            Value::word(match head.call {
                2 => "open",
                85 => "creat",
                437 => "openat2",
                _ => "openat",
            }),
        ];
        event(record, values)
    }
}
