//! Source `exec`: programs that are started, with their arguments and who started them.

use std::mem::offset_of;

use anyhow::Result;

use super::{
    Base, Events, Filters, Options,
    events::{EventStream, comm_at, event, open_events},
    paths::until_nul,
};
use crate::{
    bpf::{self, exec::ExecSkelBuilder, exec::types::exec},
    model::{Event, Field, Value},
};

/// The source.
pub struct Exec;

const FIELDS: &[Field] = &[
    Field::number("ppid", 7),
    Field::text("parent", 15),
    Field::number("uid", 5),
    Field::number("result", 8),
    Field::text("args", 32),
    Field::hidden("file"),
    Field::hidden("args_left_out"),
];

impl Events for Exec {
    fn name(&self) -> &'static str {
        "exec"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn open(&self, options: &Options, filters: &Filters, base: &Base) -> Result<EventStream> {
        let skel = open_events!(ExecSkelBuilder, options, filters, base, |open| {
            open.progs.exec_done.set_autoload(!filters.failed);
            open.progs.exec_failed.set_autoload(filters.failed || filters.with_failed);
        });
        Ok(EventStream::new(skel, Vec::new()))
    }

    fn decode<'a>(&self, record: &'a [u8]) -> Option<Event<'a>> {
        let head = bpf::read::<exec>(record)?;
        let text = record.get(size_of::<exec>()..)?;
        let (file, args) = text.split_at_checked(head.file_bytes as usize)?;
        let args = args.get(..head.args_bytes as usize)?;
        let values = vec![
            Value::Number(head.parent.into()),
            Value::text(comm_at(record, offset_of!(exec, parent_comm))?),
            Value::Number(i64::from(head.event.uid)),
            Value::Result(head.result.into()),
            Value::Texts(split(args)),
            if file.is_empty() { Value::None } else { Value::text(until_nul(file)) },
            match head.args_more {
                0 => Value::None,
                more => Value::Number(more.into()),
            },
        ];
        event(record, values)
    }
}

/// The arguments, each of which has a NUL behind it, unless it was cut.
fn split(args: &[u8]) -> Vec<&[u8]> {
    match args.strip_suffix(b"\0").unwrap_or(args) {
        b"" if args.is_empty() => Vec::new(),
        args => args.split(|byte| *byte == 0).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_told_apart() {
        assert_eq!(split(b"a\0\0b c\0"), [&b"a"[..], b"", b"b c"]);
        assert_eq!(split(b"\0"), [&b""[..]]);
        assert_eq!(split(b"a\0cut"), [&b"a"[..], b"cut"]);
        assert!(split(b"").is_empty());
    }
}
