//! Source `unlink`: files and folders that are removed, with path and result.
//!
//! Those that are replaced by a rename are not seen, nor what io_uring removes.

use anyhow::Result;

use super::{
    Base, Events, Filters, Options,
    events::{EventStream, event, open_events, path_and_names},
    paths::{join, path_of},
};
use crate::{
    bpf::{self, unlink::UnlinkSkelBuilder, unlink::types::unlink},
    model::{Event, Field, Value},
};

/// The source.
pub struct Unlink;

const FIELDS: &[Field] = &[
    Field::number("result", 8),
    Field::text("call", 8),
    Field::text("path", 32),
    Field::hidden("resolved"),
];

/// fcntl.h: unlinkat() is to remove a directory.
const AT_REMOVEDIR: u32 = 0x200;

impl Events for Unlink {
    fn name(&self) -> &'static str {
        "unlink"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn open(&self, options: &Options, filters: &Filters, base: &Base) -> Result<EventStream> {
        let skel = open_events!(UnlinkSkelBuilder, options, filters, base, |open| {
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.failed_only = filters.failed;
            }
        });
        Ok(EventStream::new(skel, Vec::new()))
    }

    fn decode<'a>(&self, record: &'a [u8]) -> Option<Event<'a>> {
        let head = bpf::read::<unlink>(record)?;
        let (given, names) = path_and_names::<unlink>(record, head.path_bytes)?;
        let base = path_of(head.names.status, head.names.inode, names);
        let values = vec![
            Value::Result(head.result.into()),
            Value::word(match head.call {
                84 => "rmdir",
                263 if head.flags & AT_REMOVEDIR != 0 => "rmdir",
                263 => "unlinkat",
                _ => "unlink",
            }),
            given.map_or(Value::None, Value::text),
            given.and_then(|given| join(base, given)).map_or(Value::None, Value::Text),
        ];
        event(record, values)
    }
}
