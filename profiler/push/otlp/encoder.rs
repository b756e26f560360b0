//! A batch as the messages of OTLP: `opentelemetry/proto/profiles/v1development/profiles.proto` of
//! <https://github.com/open-telemetry/opentelemetry-proto>, version 1.10.
//!
//! The format changes still, and all that knows it is here. A request has one dictionary, each table
//! of which begins with a zero value. A profile has one type of value, so a source becomes several.
//! A resource is a series.
//!
//! What receivers make of it: Pyroscope's takes samples of CPU time only as `samples/count` with the
//! period in ns, and multiplies; off-CPU time only without a period; of all else it takes the name
//! from the type of the period. Each attribute of a resource becomes a label of a series. Parca's
//! takes the name from the scope.

use std::collections::HashMap;

use opentelemetry_proto::tonic::{
    collector::profiles::v1development::ExportProfilesServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    profiles::v1development::{
        Function, KeyValueAndUnit, Line, Link, Location, Mapping, Profile as Message,
        ProfilesDictionary, ResourceProfiles, Sample, ScopeProfiles, Stack, ValueType,
    },
    resource::v1::Resource,
};
use prost::Message as _;

use super::super::{
    batch::{Batch, Series, metric, time_of},
    series::SERVICE,
};
use crate::{
    model::{self, FrameKind, Profile, Table},
    output::NO_STACK,
};

/// Bytes of a request, below the 4 MiB that a server of gRPC takes by default.
const REQUEST_BYTES: usize = 3_500_000;
/// Distinct stacks of a profile: Pyroscope takes 16,000 samples.
const STACKS_MAX: usize = 15_000;
/// How OpenTelemetry calls what a series is told apart by.
const ATTRIBUTES: [(&str, &str); 7] = [
    (SERVICE, "service.name"),
    ("host", "host.name"),
    ("container", "container.id"),
    ("container_name", "k8s.container.name"),
    ("namespace", "k8s.namespace.name"),
    ("pod", "k8s.pod.name"),
    ("unit", "systemd.unit"),
];

/// Requests for a batch, each with its number of profiles.
pub fn requests(batch: &Batch) -> Vec<(Vec<u8>, u64)> {
    let all: Vec<Piece<'_>> = batch
        .parts
        .iter()
        .flat_map(|part| &part.series)
        .flat_map(|series| {
            let stacks = stacks(&series.profile);
            let pieces: Vec<_> = stacks.chunks(STACKS_MAX).map(<[_]>::to_vec).collect();
            pieces.into_iter().map(move |stacks| Piece { series, stacks })
        })
        .collect();
    let mut done = Vec::new();
    add(all, &mut done);
    done
}

/// Some stacks of a series.
struct Piece<'a> {
    series: &'a Series,
    stacks: Vec<u32>,
}

/// Distinct stacks, in order.
fn stacks(profile: &Profile) -> Vec<u32> {
    let all = profile.samples.iter().chain(&profile.in_use);
    let mut stacks: Vec<u32> = all.map(|sample| sample.stack).collect();
    stacks.sort_unstable();
    stacks.dedup();
    stacks
}

fn add(mut pieces: Vec<Piece<'_>>, done: &mut Vec<(Vec<u8>, u64)>) {
    if pieces.is_empty() {
        return;
    }
    let request = request(&pieces);
    let bytes = request.encoded_len();
    if bytes <= REQUEST_BYTES || pieces.len() == 1 && pieces[0].stacks.len() <= 1 {
        let scopes = request.resource_profiles.iter().flat_map(|one| &one.scope_profiles);
        let profiles = scopes.map(|scope| scope.profiles.len() as u64).sum();
        done.push((request.encode_to_vec(), profiles));
        return;
    }
    let rest = if pieces.len() > 1 {
        pieces.split_off(pieces.len() / 2)
    } else {
        let one = &mut pieces[0];
        let stacks = one.stacks.split_off(one.stacks.len() / 2);
        vec![Piece { series: one.series, stacks }]
    };
    add(pieces, done);
    add(rest, done);
}

fn request(pieces: &[Piece<'_>]) -> ExportProfilesServiceRequest {
    let mut dictionary = Dictionary::new();
    let resource_profiles = pieces.iter().map(|piece| dictionary.resource(piece)).collect();
    ExportProfilesServiceRequest { resource_profiles, dictionary: Some(dictionary.finish()) }
}

type Map<K> = HashMap<K, i32, foldhash::fast::RandomState>;

/// The tables of a request. Numbers of the model are looked up by what is the same for all of a
/// request: it is of one store.
struct Dictionary {
    out: ProfilesDictionary,
    strings: Table<String>,
    mappings: Map<u32>,
    functions: Map<u32>,
    locations: Map<u32>,
    stacks: Map<u32>,
    attributes: Map<(i32, String)>,
    /// The stack of samples without one.
    no_stack: Option<i32>,
}

impl Dictionary {
    fn new() -> Self {
        let mut strings = Table::default();
        strings.intern(String::new());
        Self {
            out: ProfilesDictionary {
                mapping_table: vec![Mapping::default()],
                location_table: vec![Location::default()],
                function_table: vec![Function::default()],
                link_table: vec![Link::default()],
                string_table: Vec::new(),
                attribute_table: vec![KeyValueAndUnit::default()],
                stack_table: vec![Stack::default()],
            },
            strings,
            mappings: Map::default(),
            functions: Map::default(),
            locations: Map::default(),
            stacks: Map::default(),
            attributes: Map::default(),
            no_stack: None,
        }
    }

    fn finish(mut self) -> ProfilesDictionary {
        self.out.string_table = self.strings.since(0).cloned().collect();
        self.out
    }

    fn string(&mut self, text: &str) -> i32 {
        self.strings.intern(crate::output::clean(text).into_owned()) as i32
    }

    fn value_type(&mut self, name: &str, unit: &str) -> ValueType {
        ValueType { type_strindex: self.string(name), unit_strindex: self.string(unit) }
    }

    fn resource(&mut self, piece: &Piece<'_>) -> ResourceProfiles {
        let series = piece.series;
        let attributes = series.labels.iter().map(|(name, value)| {
            let known = ATTRIBUTES.iter().find(|(word, _)| word == name);
            let key = known.map_or(&**name, |(_, key)| key);
            KeyValue { key: key.to_owned(), value: Some(text(value)), ..KeyValue::default() }
        });
        let resource = Resource { attributes: attributes.collect(), ..Resource::default() };
        let scope = InstrumentationScope {
            // Parca's name of the profile.
            name: metric(&series.profile.source).to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        ResourceProfiles {
            resource: Some(resource),
            scope_profiles: vec![ScopeProfiles {
                scope: Some(scope),
                profiles: self.profiles(piece),
                ..ScopeProfiles::default()
            }],
            ..ResourceProfiles::default()
        }
    }

    /// A profile for each type of value.
    fn profiles(&mut self, piece: &Piece<'_>) -> Vec<Message> {
        let profile = &piece.series.profile;
        let source = &profile.source;
        let rows = rows(piece);
        let (time, types) = (time_of(profile), source.types());
        let mut wanted: Vec<usize> = (0..types.len()).collect();
        let sum = |of: usize| rows.iter().map(|row| row.1[of]).sum::<u64>();
        let mut period = (None, source.period as i64);
        match &*source.name {
            // The rate may have changed meanwhile: this is what samples stood for.
            "cpu" => {
                wanted = vec![0];
                let each = sum(1).checked_div(sum(0)).unwrap_or(source.period);
                period = (Some(self.value_type("cpu", "nanoseconds")), each as i64);
            }
            "offcpu" => {
                wanted.retain(|index| types[*index].unit == "nanoseconds");
                period = (None, 0);
            }
            _ => period.0 = Some(self.value_type(metric(source), &source.value.unit)),
        }
        let message = |index: usize| {
            let kind = &types[index];
            let sample_type = Some(self.value_type(&kind.name, &kind.unit));
            let samples = rows.iter().filter(|row| row.1[index] > 0).map(|row| Sample {
                stack_index: self.stack(profile, row.0),
                values: vec![row.1[index] as i64],
                ..Sample::default()
            });
            let samples: Vec<Sample> = samples.collect();
            Message {
                sample_type,
                samples,
                time_unix_nano: time.start,
                duration_nano: time.end - time.start,
                period_type: period.0,
                period: period.1,
                profile_id: id(piece, index),
                ..Message::default()
            }
        };
        wanted.into_iter().map(message).filter(|message| !message.samples.is_empty()).collect()
    }

    fn stack(&mut self, profile: &Profile, stack: u32) -> i32 {
        if let Some(known) = self.stacks.get(&stack) {
            return *known;
        }
        let frames: Vec<u32> = profile.tables.stacks.frames(stack).collect();
        let index = if frames.is_empty() {
            self.no_stack()
        } else {
            let locations = frames.into_iter().map(|frame| self.location(profile, frame));
            let location_indices = locations.collect();
            push(&mut self.out.stack_table, Stack { location_indices })
        };
        self.stacks.insert(stack, index);
        index
    }

    fn no_stack(&mut self) -> i32 {
        if let Some(known) = self.no_stack {
            return known;
        }
        let name_strindex = self.string(NO_STACK);
        let function = Function { name_strindex, ..Function::default() };
        let function_index = push(&mut self.out.function_table, function);
        let lines = vec![Line { function_index, ..Line::default() }];
        let location =
            push(&mut self.out.location_table, Location { lines, ..Location::default() });
        let stack = Stack { location_indices: vec![location] };
        *self.no_stack.insert(push(&mut self.out.stack_table, stack))
    }

    fn location(&mut self, profile: &Profile, index: u32) -> i32 {
        if let Some(known) = self.locations.get(&index) {
            return *known;
        }
        let tables = &profile.tables;
        let mut location = Location::default();
        if let Some(frame) = tables.frames.get(index).filter(|one| one.kind != FrameKind::Note) {
            location.mapping_index = self.mapping(profile, frame.binary);
            location.address = frame.address;
            // Which runtime has made code in memory is not known.
            let kind = match frame.kind {
                FrameKind::User => Some("native"),
                FrameKind::Kernel => Some("kernel"),
                FrameKind::Jit | FrameKind::Note => None,
            };
            let kind = kind.map(|kind| self.attribute("profile.frame.type", kind));
            location.attribute_indices.extend(kind);
        }
        location.lines = tables
            .lines(index)
            .iter()
            .map(|line| Line {
                function_index: self.function(profile, line.function),
                line: line.line.into(),
                column: line.column.into(),
            })
            .collect();
        let place = push(&mut self.out.location_table, location);
        self.locations.insert(index, place);
        place
    }

    fn function(&mut self, profile: &Profile, index: u32) -> i32 {
        if let Some(known) = self.functions.get(&index) {
            return *known;
        }
        let tables = &profile.tables;
        let unknown = model::Function { name: 0, system_name: 0, file: 0 };
        let function = tables.functions.get(index).copied().unwrap_or(unknown);
        let mut string = |index| self.string(tables.strings.get(index));
        let function = Function {
            name_strindex: string(function.name),
            system_name_strindex: string(function.system_name),
            filename_strindex: string(function.file),
            start_line: 0,
        };
        let place = push(&mut self.out.function_table, function);
        self.functions.insert(index, place);
        place
    }

    /// The mapping of a file: all of it, since addresses are those of the file.
    fn mapping(&mut self, profile: &Profile, index: u32) -> i32 {
        if let Some(known) = self.mappings.get(&index) {
            return *known;
        }
        let tables = &profile.tables;
        let place = match tables.binaries.get(index) {
            Some(binary) => {
                let build_id = tables.strings.get(binary.build_id);
                let kind = match build_id.contains('/') {
                    true => "process.executable.build_id.go",
                    false => "process.executable.build_id.gnu",
                };
                let id = (!build_id.is_empty()).then(|| self.attribute(kind, build_id));
                let mapping = Mapping {
                    filename_strindex: self.string(tables.strings.get(binary.path)),
                    attribute_indices: id.into_iter().collect(),
                    ..Mapping::default()
                };
                push(&mut self.out.mapping_table, mapping)
            }
            None => 0,
        };
        self.mappings.insert(index, place);
        place
    }

    fn attribute(&mut self, key: &str, value: &str) -> i32 {
        let key_strindex = self.string(key);
        let known = (key_strindex, value.to_owned());
        if let Some(known) = self.attributes.get(&known) {
            return *known;
        }
        let value = Some(text(value));
        let attribute = KeyValueAndUnit { key_strindex, value, unit_strindex: 0 };
        let place = push(&mut self.out.attribute_table, attribute);
        self.attributes.insert(known, place);
        place
    }
}

fn text(value: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(value.to_owned())) }
}

fn push<T>(table: &mut Vec<T>, value: T) -> i32 {
    table.push(value);
    table.len() as i32 - 1
}

/// Values by stack, in the order of the source's types.
fn rows(piece: &Piece<'_>) -> Vec<(u32, [u64; 4])> {
    let profile = &piece.series.profile;
    let place = |stack: u32| piece.stacks.binary_search(&stack).ok();
    let mut rows: Vec<(u32, [u64; 4])> =
        piece.stacks.iter().map(|stack| (*stack, [0; 4])).collect();
    for (samples, first) in [(&profile.samples, 0), (&profile.in_use, 2)] {
        for sample in samples {
            if let Some(row) = place(sample.stack).and_then(|place| rows.get_mut(place)) {
                row.1[first] = row.1[first].saturating_add(sample.count);
                row.1[first + 1] = row.1[first + 1].saturating_add(sample.value);
            }
        }
    }
    rows
}

/// The same 16 bytes whenever a profile is made again.
fn id(piece: &Piece<'_>, kind: usize) -> Vec<u8> {
    use std::hash::BuildHasher;
    let profile = &piece.series.profile;
    let time = time_of(profile);
    let hash = |seed| {
        let first = piece.stacks.first();
        foldhash::quality::FixedState::with_seed(seed).hash_one((
            metric(&profile.source),
            &piece.series.labels,
            (time.start, time.end),
            (first, kind),
        ))
    };
    [hash(1), hash(2)].iter().flat_map(|part| part.to_be_bytes()).collect()
}
