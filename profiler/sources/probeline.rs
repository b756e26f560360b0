//! A line for each hit of any probe, with its arguments: `trace -e`. No row of the table of sources,
//! since there are as many as probes.

use std::sync::OnceLock;

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags};

use super::{
    Base, Events, Filters, Options,
    events::{EventStream, event},
    load,
};
use crate::{
    bpf::{
        self,
        probeline::{ProbelineSkelBuilder, types::probeline},
    },
    model::{Event, Field, Value},
    probe::{
        ARGUMENTS_MAX, Argument, Format, Point, Probe, argument_list, attach, choose_programs,
        explain_fentry, resolve,
    },
};

const FIELDS: &[Field] = &[Field::text("args", 32)];

/// A probe as events.
pub struct Hits {
    name: String,
    probe: Probe,
    known: OnceLock<Known>,
}

/// How to read what the kernel half sends.
struct Known {
    /// By place.
    arguments: Vec<Vec<Argument>>,
    /// Their names, or those of a tracepoint's fields.
    names: Vec<Vec<&'static str>>,
    format: Option<Format>,
}

impl Hits {
    /// The probe that a text names.
    ///
    /// # Errors
    /// It names none.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self { name: text.to_owned(), probe: Probe::parse(text)?, known: OnceLock::new() })
    }
}

impl Known {
    fn new(point: &Point) -> Self {
        let arguments = point.arguments();
        // Once for each probe of a run: events then have the names for as long as they like.
        let keep = |name: &str| -> &'static str { Box::leak(name.to_owned().into_boxed_str()) };
        let (names, format) = match point {
            Point::Tracepoint { format, .. } => {
                let names = format.fields.iter().map(|field| keep(&field.name)).collect();
                (vec![names], Some(format.clone()))
            }
            _ => {
                let names = |list: &Vec<Argument>| list.iter().map(|one| keep(&one.name)).collect();
                (arguments.iter().map(names).collect(), None)
            }
        };
        Self { arguments, names, format }
    }
}

impl Events for Hits {
    fn name(&self) -> &'static str {
        // Once for each probe of a run.
        Box::leak(self.name.clone().into_boxed_str())
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn open(&self, options: &Options, filters: &Filters, base: &Base) -> Result<EventStream> {
        let point = resolve(&self.probe, &options.target, true)?;
        if let Some(note) = point.note() {
            tracing::warn!("{note}");
        }
        let known = Known::new(&point);
        let skel = load(options, filters, base, &point, &known.arguments)?;
        for (number, list) in (0u32..).zip(&known.arguments) {
            let list = argument_list(list);
            let lists = &skel.maps.argument_lists;
            let update = lists.update(&number.to_ne_bytes(), bpf::bytes(&list), MapFlags::ANY);
            update.context("cannot say where the arguments are")?;
        }
        let _ = self.known.set(known); // it is opened once
        let target = options.target.clone();
        let attach =
            move |object: &libbpf_rs::Object| attach(object.progs_mut(), &point, false, &target);
        Ok(EventStream::attached_by(skel, attach))
    }

    fn decode<'a>(&self, record: &'a [u8]) -> Option<Event<'a>> {
        let known = self.known.get()?;
        let head = bpf::read::<probeline>(record)?;
        let place = head.place as usize;
        let (arguments, names) = (known.arguments.get(place)?, known.names.get(place)?);
        let rest = record.get(size_of::<probeline>()..)?;
        let (recorded, mut texts) = rest.split_at_checked(head.recorded as usize)?;
        let mut values = Vec::with_capacity(arguments.len());
        for (number, argument) in arguments.iter().enumerate().take(ARGUMENTS_MAX) {
            let (value, length) = (*head.values.get(number)?, *head.lengths.get(number)?);
            let bytes = usize::try_from(length).unwrap_or_default();
            let (text, others) = texts.split_at_checked(bytes)?;
            texts = others;
            // Without its NUL.
            let text = text.split_last().map_or(&[][..], |(_, text)| text);
            values.push(argument.value(value, length, text));
        }
        let values = match &known.format {
            Some(format) => format.values(recorded, values.into_iter()),
            None => values,
        };
        event(record, vec![Value::Named(names.iter().copied().zip(values).collect())])
    }
}

fn load(
    options: &Options,
    filters: &Filters,
    base: &Base,
    point: &Point,
    arguments: &[Vec<Argument>],
) -> Result<bpf::probeline::ProbelineSkel<'static>> {
    use libbpf_rs::skel::{OpenSkel, SkelBuilder};
    // Once for each run of rprof: what borrows from it may then live as long as it needs.
    let storage = Box::leak(Box::new(std::mem::MaybeUninit::uninit()));
    let mut open = ProbelineSkelBuilder::default().open(storage)?;
    let rodata = open.maps.rodata_data.as_deref_mut().context("the object has no .rodata")?;
    load::configure!(rodata, options);
    rodata.own_pid = std::process::id();
    rodata.events_wakeup_bytes = u64::from(filters.ring_bytes) / 4;
    let most = arguments.iter().map(Vec::len).max().unwrap_or_default();
    rodata.argument_count = most.min(ARGUMENTS_MAX) as u32;
    match point {
        Point::Tracepoint { format, .. } => {
            rodata.record_bytes = format.bytes;
            for (number, (offset, relative)) in format.located().enumerate() {
                rodata.located[number] = offset;
                rodata.located_relative[number] = relative;
                rodata.located_count = number as u32 + 1;
            }
        }
        Point::Kernel { .. } => rodata.in_kernel = true,
        _ => {}
    }
    open.maps.events.set_max_entries(filters.ring_bytes)?;
    open.maps.argument_lists.set_max_entries(arguments.len().max(1) as u32)?;
    choose_programs(open.open_object_mut(), point, false)?;
    base.lend(open.open_object_mut())?;
    open.load().map_err(load::explain).map_err(|error| explain_fentry(error, point))
}
