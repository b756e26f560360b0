//! Source `readline`: lines typed into bash, whether readline is a part of it or a library.

use std::{
    collections::HashSet,
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSegment, ObjectSymbol, ReadCache, read::elf::ElfFile64};

use super::{
    Base, Events, Filters, Options,
    events::{EventStream, Probe, event, open_events},
    paths::until_nul,
};
use crate::{
    bpf::{self, readline::ReadlineSkelBuilder, readline::types::readline},
    model::{Event, Field, Value},
    target::processes,
};

/// The source.
pub struct Readline;

const FIELDS: &[Field] = &[Field::number("uid", 5), Field::text("line", 32)];

/// The function that returns a line.
const FUNCTION: &str = "readline";
/// The library that it may be in.
const LIBRARY: &str = "libreadline.so";
/// Files that are probed at most: those of this machine, and of containers that run a bash.
const FILES_MAX: usize = 64;

impl Events for Readline {
    fn name(&self) -> &'static str {
        "readline"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn open(&self, options: &Options, filters: &Filters, base: &Base) -> Result<EventStream> {
        let probes = match &filters.file {
            Some(file) => vec![
                probe(file)
                    .with_context(|| format!("{} has no function {FUNCTION}", file.display()))?,
            ],
            None => find(),
        };
        if probes.is_empty() {
            bail!(
                "no bash with a function {FUNCTION} was found; name the program or the library \
                 that has it: --file /usr/bin/bash"
            );
        }
        let skel = open_events!(ReadlineSkelBuilder, options, filters, base, |open| {});
        Ok(EventStream::new(skel, probes))
    }

    fn decode<'a>(&self, record: &'a [u8]) -> Option<Event<'a>> {
        let head = bpf::read::<readline>(record)?;
        let line = record.get(size_of::<readline>()..)?.get(..head.bytes as usize)?;
        let line = if line.is_empty() { Value::None } else { Value::text(until_nul(line)) };
        event(record, vec![Value::Number(head.event.uid.into()), line])
    }
}

/// Every file with the function that a bash has: of those that run, and the one that would be run.
fn find() -> Vec<Probe> {
    let mut files: Vec<PathBuf> = Vec::new();
    let path = std::env::var_os("PATH").unwrap_or_default();
    files.extend(std::env::split_paths(&path).map(|folder| folder.join("bash")));
    for (pid, comm) in processes() {
        if comm == "bash" {
            files.push(format!("/proc/{pid}/exe").into());
            files.extend(library_of(pid));
        }
    }
    files.extend(libraries());
    let mut seen = HashSet::new();
    let mut probes = Vec::new();
    for file in files {
        let Ok(metadata) = fs::metadata(&file) else { continue };
        if seen.insert((metadata.dev(), metadata.ino())) && probes.len() < FILES_MAX {
            probes.extend(probe(&file));
        }
    }
    probes
}

/// The library in a running bash, by a path that leads to it from here.
fn library_of(pid: u32) -> Option<PathBuf> {
    let maps = fs::read(format!("/proc/{pid}/maps")).ok()?;
    let maps = String::from_utf8_lossy(&maps).into_owned();
    let line = maps.lines().find(|line| line.contains(LIBRARY))?;
    let path = line.find('/').map(|start| &line[start..])?;
    Some(format!("/proc/{pid}/root{path}").into())
}

/// The library where this machine's loader has it.
fn libraries() -> Vec<PathBuf> {
    let folders = ["/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"];
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let library = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(LIBRARY))
    };
    entries.map(|entry| entry.path()).filter(library).collect()
}

/// Where the function is in a file, if it is.
fn probe(path: &Path) -> Option<Probe> {
    let cache = ReadCache::new(File::open(path).ok()?);
    let elf: ElfFile64<'_, object::Endianness, _> = ElfFile64::parse(&cache).ok()?;
    let symbol = elf
        .dynamic_symbols()
        .chain(elf.symbols())
        .find(|symbol| symbol.is_definition() && symbol.name() == Ok(FUNCTION))?;
    let address = symbol.address();
    let offset = elf.segments().find_map(|segment| {
        let (start, bytes) = segment.file_range();
        let at = address.checked_sub(segment.address())?;
        (at < bytes).then(|| start.checked_add(at)).flatten()
    })?;
    Some(Probe { file: path.to_owned(), offset: offset.try_into().ok()? })
}
