//! Source `syscalls`: system calls, with their arguments, results and durations; all that the kernel
//! has, by its own table of them. The traced program never waits: what does not fit is lost, and counted.

mod arguments;
mod choice;
mod flags;
mod recipe;
mod structs;
mod table;
mod totals;

use std::{collections::HashMap, sync::OnceLock};

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags};

use self::{
    recipe::Kind,
    structs::{Layout, Structs},
    table::{CALLS_MAX, Table},
};
use super::{
    Base, Events, Filters, Options,
    events::{EventStream, event, open_events},
    load,
};
use crate::{
    bpf::{
        self,
        syscalls::{SyscallsSkelBuilder, types::call},
    },
    callers,
    model::{CallTotals, Event, Field, Value},
};

/// The source.
pub struct Syscalls;

const FIELDS: &[Field] =
    &[Field::number("duration", 10), Field::number("result", 12), Field::text("call", 32)];

/// What is known of system calls; the same for as long as the machine runs.
struct Known {
    table: Table,
    /// By number of the call, and of the argument.
    kinds: Vec<Vec<Kind>>,
    layouts: HashMap<(u32, usize), Layout>,
}

static KNOWN: OnceLock<Known> = OnceLock::new();

impl Known {
    fn new(table: Table) -> Self {
        let mut structs = Structs::of_kernel();
        let mut kinds = vec![Vec::new(); CALLS_MAX];
        let mut layouts = HashMap::new();
        for (number, call) in table.calls() {
            kinds[number as usize] = recipe::kinds(call, &mut structs);
            for (index, kind) in kinds[number as usize].iter().enumerate() {
                if let Kind::Struct(_) = kind
                    && let Some(layout) = structs.layout(&call.args[index].kind)
                {
                    layouts.insert((number, index), layout.clone());
                }
            }
        }
        Self { table, kinds, layouts }
    }
}

impl Events for Syscalls {
    fn name(&self) -> &'static str {
        "syscalls"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn open(&self, options: &Options, filters: &Filters, base: &Base) -> Result<EventStream> {
        let skel = open_events!(SyscallsSkelBuilder, options, filters, base, |open| {
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.failed_only = filters.failed;
                rodata.least_time = filters.least_age.as_nanos() as u64;
                rodata.totals_only = filters.totals;
                rodata.data_bytes = filters.data_bytes;
                rodata.with_stacks = filters.stacks;
                load::number!(rodata, options, base, 0);
            }
        });
        let known = match KNOWN.get() {
            Some(known) => known,
            None => {
                let table = Table::read(&skel.progs.read_table, &skel.maps.table_entries)?;
                KNOWN.get_or_init(|| Known::new(table))
            }
        };
        let wanted = choice::choose(&filters.calls, known)?;
        for (number, call) in known.table.calls().filter(|(number, _)| wanted[*number as usize]) {
            let recipe = recipe::recipe(call, &known.kinds[number as usize]);
            let key = number.to_ne_bytes();
            let update = skel.maps.recipes.update(&key, bpf::bytes(&recipe), MapFlags::ANY);
            update.context("cannot say which system calls are wanted")?;
        }
        Ok(EventStream::new(skel, Vec::new()))
    }

    fn decode<'a>(&self, record: &'a [u8]) -> Option<Event<'a>> {
        let known = KNOWN.get()?;
        let head = bpf::read::<call>(record)?;
        let named = known.table.get(head.number)?;
        let args = arguments::decode(known, named, &head, record.get(size_of::<call>()..)?)?;
        let returns = head.is_final == 0;
        let values = vec![
            if returns { Value::Span(head.duration) } else { Value::None },
            if returns { Value::Result(head.result) } else { Value::None },
            Value::Call(&named.name, args),
        ];
        event(record, values)
    }

    fn stack_of(&self, record: &[u8]) -> Option<callers::Key> {
        let head = bpf::read::<call>(record)?;
        (head.has_stack != 0).then_some((head.event.tid, head.start))
    }

    fn totals(&self, stream: &EventStream) -> Result<Option<Vec<CallTotals>>> {
        let Some(known) = KNOWN.get() else { return Ok(None) };
        totals::read(&known.table, &stream.map("totals")?).map(Some)
    }
}
