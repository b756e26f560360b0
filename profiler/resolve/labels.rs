//! What a process is labelled with: executable, command line, user and service name.
//!
//! All of it is read from /proc when a process is first sampled, and again after an exec. A
//! process that is gone by then is labelled like its parent if it never called exec, since until
//! then it is a copy of that; otherwise with nothing. Every read is bounded, and what a program
//! writes for us to read is taken for what it is: anything.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use prost::Message;

use crate::{
    collector::{TaskEvent, TaskKind},
    model::UID_UNKNOWN,
};

/// Bytes of a command line that are kept.
const CMDLINE_BYTES: usize = 1 << 10;
/// Bytes of an environment that are looked through.
const ENVIRON_BYTES: u64 = 256 << 10;
/// Bytes of a list of mappings that are looked through.
const MAPS_BYTES: u64 = 1 << 20;
/// Bytes of a path or a service name that are kept.
const TEXT_BYTES: usize = 1 << 10;
/// Bytes that a process context may have.
const CONTEXT_BYTES: u32 = 64 << 10;
/// Processes whose labels are remembered; beyond, all are forgotten, which costs reading anew.
const PROCESSES_MAX: usize = 16 << 10;
/// A program may publish its name only some time after its start: it is looked for once more.
const SECOND_LOOK: Duration = Duration::from_secs(15);

/// What one process is labelled with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// Path of the executable; empty if not known.
    pub exe: String,
    /// Its words apart by spaces; empty if not known.
    pub cmdline: String,
    /// Effective user id, or [`UID_UNKNOWN`].
    pub uid: u32,
    /// The service name that the program publishes; empty if it does not.
    pub service: String,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            exe: String::new(),
            cmdline: String::new(),
            uid: UID_UNKNOWN,
            service: String::new(),
        }
    }
}

/// Labels of the processes that were sampled.
#[derive(Default)]
pub struct Labels {
    processes: HashMap<u32, Entry>,
    /// What execs have told, and when: of processes that are gone before they are asked.
    told: HashMap<u32, (u64, Facts)>,
    nothing: Facts,
    /// Counts up with each reading.
    readings: u64,
}

enum Entry {
    /// Not read yet; a copy of this process.
    CopyOf(u32),
    /// Read, and at this time; none: for good. Which reading it was.
    Read(Facts, Option<Instant>, u64),
}

impl Labels {
    /// The labels of process `pid`.
    pub fn get(&mut self, pid: u32) -> &Facts {
        let now = Instant::now();
        let entry = match self.processes.remove(&pid) {
            Some(Entry::Read(facts, Some(at), _)) if now >= at + SECOND_LOOK => {
                let service = service(pid).unwrap_or_default();
                self.readings += 1;
                Entry::Read(Facts { service, ..facts }, None, self.readings)
            }
            Some(Entry::CopyOf(parent)) => {
                let facts = self.read(pid).or_else(|| self.parent(parent));
                self.first(facts, now)
            }
            Some(known) => known,
            None => self.first(self.read(pid), now),
        };
        if self.processes.len() >= PROCESSES_MAX {
            self.processes.clear();
        }
        match self.processes.entry(pid).insert_entry(entry).into_mut() {
            Entry::Read(facts, ..) => facts,
            Entry::CopyOf(_) => &self.nothing,
        }
    }

    /// Takes note of what an exec at `time` (ns, CLOCK_MONOTONIC) has told of its process.
    pub fn tell(&mut self, pid: u32, time: u64, facts: Facts) {
        // It was sampled and over before this came.
        if let Some(Entry::Read(known, _, reading)) = self.processes.get_mut(&pid)
            && known.exe.is_empty()
            && known.cmdline.is_empty()
        {
            self.readings += 1;
            (*known, *reading) = (facts.clone(), self.readings);
        }
        if self.told.len() >= PROCESSES_MAX {
            self.told.clear();
        }
        self.told.insert(pid, (time, facts));
    }

    /// Takes note of what a process did.
    pub fn apply(&mut self, event: &TaskEvent) {
        let is_another = matches!(event.kind, TaskKind::Exec | TaskKind::ForkedFrom(_));
        if is_another && self.told.get(&event.pid).is_some_and(|(time, _)| *time < event.time) {
            self.told.remove(&event.pid);
        }
        match event.kind {
            TaskKind::Exec => drop(self.processes.remove(&event.pid)),
            // What is never sampled must not push out what is.
            TaskKind::ForkedFrom(parent) => {
                self.processes.remove(&event.pid);
                if self.processes.len() < PROCESSES_MAX {
                    self.processes.insert(event.pid, Entry::CopyOf(parent));
                }
            }
            TaskKind::Map(_) | TaskKind::Exit => {}
        }
    }

    /// A number that stands for the labels of process `pid` as they were when they were last
    /// asked for; none if they may be others by now.
    pub fn reading(&self, pid: u32) -> Option<u64> {
        match self.processes.get(&pid)? {
            Entry::Read(_, Some(at), _) if Instant::now() >= *at + SECOND_LOOK => None,
            Entry::Read(.., reading) => Some(*reading),
            Entry::CopyOf(_) => None,
        }
    }

    /// What /proc says of a process, or its exec where that has nothing any more.
    fn read(&self, pid: u32) -> Option<Facts> {
        read(pid).or_else(|| self.told.get(&pid).map(|(_, facts)| facts.clone()))
    }

    fn first(&mut self, facts: Option<Facts>, now: Instant) -> Entry {
        let facts = facts.unwrap_or_default();
        let again = facts.service.is_empty().then_some(now);
        self.readings += 1;
        Entry::Read(facts, again, self.readings)
    }

    /// What is known, or can be known, of the process that another is a copy of.
    fn parent(&self, pid: u32) -> Option<Facts> {
        match self.processes.get(&pid) {
            Some(Entry::Read(facts, ..)) => Some(facts.clone()),
            Some(Entry::CopyOf(_)) | None => self.read(pid),
        }
    }
}

/// What /proc says of a process; none if it is gone.
fn read(pid: u32) -> Option<Facts> {
    let folder = Path::new("/proc").join(pid.to_string());
    let status = bounded(&folder.join("status"), 4096)?;
    // The links of kernel threads and of processes without memory cannot be read.
    let exe = fs::read_link(folder.join("exe")).map(|exe| exe.to_string_lossy().into_owned());
    let exe = exe.unwrap_or_default();
    let cmdline = bounded(&folder.join("cmdline"), CMDLINE_BYTES as u64).unwrap_or_default();
    Some(Facts {
        exe: cut(exe.strip_suffix(" (deleted)").unwrap_or(&exe)),
        cmdline: words(&cmdline),
        uid: effective_uid(&String::from_utf8_lossy(&status)).unwrap_or(UID_UNKNOWN),
        service: service(pid).unwrap_or_default(),
    })
}

/// The service name that a process publishes: in its OpenTelemetry process context, which its SDK
/// makes of all that it knows, or else in its environment.
fn service(pid: u32) -> Option<String> {
    let folder = Path::new("/proc").join(pid.to_string());
    let name = context(&folder).and_then(|context| service_of_context(&context));
    let name =
        name.or_else(|| service_of_environ(&bounded(&folder.join("environ"), ENVIRON_BYTES)?));
    name.map(|name| cut(name.trim())).filter(|name| !name.is_empty())
}

/// At most `limit` bytes of a file; none if it cannot be read.
fn bounded(path: &Path, limit: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// A command line from its NUL-separated words. What a program has put in place of its own, as
/// `setproctitle` does, is one word with NULs or spaces behind it.
fn words(cmdline: &[u8]) -> String {
    let text = String::from_utf8_lossy(cmdline);
    text.trim_end_matches(['\0', ' ']).replace('\0', " ")
}

/// The second of the four ids in a status file's line `Uid:` (proc_pid_status(5)).
fn effective_uid(status: &str) -> Option<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// `OTEL_SERVICE_NAME`, or else `service.name` of `OTEL_RESOURCE_ATTRIBUTES`, which the first goes
/// before (OpenTelemetry's "SDK environment variables").
fn service_of_environ(environ: &[u8]) -> Option<String> {
    let variable = |name: &str| {
        let entry = environ.split(|byte| *byte == 0).find_map(|entry| {
            entry
                .strip_prefix(name.as_bytes())?
                .strip_prefix(b"=")
                .filter(|value| !value.is_empty())
        });
        entry.map(|value| String::from_utf8_lossy(value).into_owned())
    };
    variable("OTEL_SERVICE_NAME").or_else(|| {
        let attributes = variable("OTEL_RESOURCE_ATTRIBUTES")?;
        let mut pairs = attributes.split(',').filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(key, value)| {
            (key.trim() == "service.name").then(|| value.trim().to_owned())
        })
    })
}

/// Names of the mapping that holds a process context's header, as far as they are sure.
const CONTEXT_NAMES: [&str; 3] = ["/memfd:OTEL_CTX", "[anon_shmem:OTEL_CTX]", "[anon:OTEL_CTX]"];

/// The payload of an OpenTelemetry process context (OTEP 4719): a mapping of that name with a
/// header of 32 bytes: "OTEL_CTX", version u32 = 2, payload size u32, time of publishing u64 (0
/// while it is written), address of the payload u64.
fn context(folder: &Path) -> Option<Vec<u8>> {
    let maps = bounded(&folder.join("maps"), MAPS_BYTES)?;
    let maps = String::from_utf8_lossy(&maps);
    let line = maps.lines().find(|line| {
        let name = line.splitn(6, ' ').nth(5).unwrap_or_default().trim_start();
        CONTEXT_NAMES.iter().any(|known| name.starts_with(known))
    })?;
    let start = u64::from_str_radix(line.split_once('-')?.0, 16).ok()?;
    let memory = File::open(folder.join("mem")).ok()?;
    let header = || {
        let mut header = [0; 32];
        memory.read_exact_at(&mut header, start).ok()?;
        Some(header)
    };
    let before = header()?;
    let (size, address) = context_payload(&before)?;
    let mut payload = vec![0; size as usize];
    memory.read_exact_at(&mut payload, address).ok()?;
    // Changed meanwhile: the second look may have more luck.
    (header()? == before).then_some(payload)
}

/// Size and address of the payload that a header names, if it is one and is not being written.
fn context_payload(header: &[u8; 32]) -> Option<(u32, u64)> {
    let rest = header.strip_prefix(b"OTEL_CTX")?;
    let (version, rest) = rest.split_first_chunk()?;
    let (size, rest) = rest.split_first_chunk()?;
    let (published, rest) = rest.split_first_chunk()?;
    let address = rest.first_chunk()?;
    let size = u32::from_ne_bytes(*size);
    let whole = u32::from_ne_bytes(*version) == 2 && u64::from_ne_bytes(*published) != 0;
    (whole && size <= CONTEXT_BYTES).then_some((size, u64::from_ne_bytes(*address)))
}

/// Part of opentelemetry.proto.common.v1.ProcessContext: all that is read of it.
#[derive(Clone, PartialEq, Message)]
struct ProcessContext {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
}

/// Part of opentelemetry.proto.resource.v1.Resource.
#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

/// Part of opentelemetry.proto.common.v1.KeyValue.
#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

/// Part of opentelemetry.proto.common.v1.AnyValue.
#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    string_value: Option<String>,
}

/// The service name in a process context. Its payload was a bare Resource in drafts of the OTEP
/// that SDKs have published, so both are understood.
fn service_of_context(payload: &[u8]) -> Option<String> {
    let name = |resource: Resource| {
        let found = resource.attributes.into_iter().find(|one| one.key == "service.name")?;
        found.value?.string_value
    };
    let context = ProcessContext::decode(payload).ok().and_then(|context| context.resource);
    context.and_then(name).or_else(|| name(Resource::decode(payload).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str) -> Resource {
        let attribute = |key: &str, value: &str| KeyValue {
            key: key.into(),
            value: Some(AnyValue { string_value: Some(value.into()) }),
        };
        Resource {
            attributes: vec![attribute("host.name", "box"), attribute("service.name", name)],
        }
    }

    /// Above the highest pid that there can be.
    const GONE: u32 = 1 << 30;

    fn event(pid: u32, kind: TaskKind) -> TaskEvent {
        TaskEvent { time: 0, pid, kind }
    }

    #[test]
    fn our_own_labels() {
        let mut known = Labels::default();
        let facts = known.get(std::process::id()).clone();
        assert_eq!(facts.exe, std::env::current_exe().unwrap().to_str().unwrap());
        assert!(facts.cmdline.starts_with(&std::env::args().next().unwrap()));
        assert_eq!(facts.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(*known.get(GONE), Facts::default());
    }

    #[test]
    fn a_copy_is_labelled_like_its_parent_until_exec() {
        let mut known = Labels::default();
        let own = known.get(std::process::id()).clone();
        known.apply(&event(GONE, TaskKind::ForkedFrom(std::process::id())));
        assert_eq!(*known.get(GONE), own);
        known.apply(&event(GONE, TaskKind::Exit));
        assert_eq!(*known.get(GONE), own, "its samples may still come");
        known.apply(&event(GONE, TaskKind::Exec));
        assert_eq!(*known.get(GONE), Facts::default());
    }

    #[test]
    fn one_that_is_gone_is_labelled_by_its_exec() {
        let mut known = Labels::default();
        let facts = |cmdline: &str| Facts { cmdline: cmdline.into(), ..Facts::default() };
        known.tell(GONE, 10, facts("cc -c a.c"));
        // Of the same exec, which the side-band tells of first.
        known.apply(&TaskEvent { time: 9, pid: GONE, kind: TaskKind::Exec });
        assert_eq!(known.get(GONE).cmdline, "cc -c a.c");
        known.apply(&TaskEvent { time: 20, pid: GONE, kind: TaskKind::Exec });
        assert_eq!(known.get(GONE).cmdline, "");
        known.tell(GONE, 20, facts("ld"));
        assert_eq!(known.get(GONE).cmdline, "ld");
    }

    #[test]
    fn what_never_is_sampled_takes_no_more_than_its_share() {
        let mut known = Labels::default();
        for pid in 0..2 * PROCESSES_MAX as u32 {
            known.apply(&event(GONE + pid, TaskKind::ForkedFrom(1)));
        }
        assert!(known.processes.len() <= PROCESSES_MAX);
        assert!(!known.get(std::process::id()).exe.is_empty());
        assert!(known.processes.len() <= PROCESSES_MAX);
    }

    #[test]
    fn a_command_line_is_one_text() {
        assert_eq!(words(b"nginx: master process\0\0\0"), "nginx: master process");
        assert_eq!(words(b"cat\0a b\0\xff\0"), "cat a b \u{fffd}");
        assert_eq!(words(b""), "");
    }

    #[test]
    fn the_effective_user_is_the_second() {
        assert_eq!(effective_uid("Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\n"), Some(2));
        assert_eq!(effective_uid("Name:\tUid:\n"), None);
    }

    #[test]
    fn service_names_of_the_environment() {
        let service = |environ: &str| service_of_environ(environ.as_bytes());
        assert_eq!(service("A=b\0OTEL_SERVICE_NAME=shop\0").as_deref(), Some("shop"));
        let both = "OTEL_RESOURCE_ATTRIBUTES=a=b, service.name = cart ,c=d\0";
        assert_eq!(service(both).as_deref(), Some("cart"));
        assert_eq!(service(&format!("{both}OTEL_SERVICE_NAME=shop\0")).as_deref(), Some("shop"));
        assert_eq!(service("OTEL_SERVICE_NAME=\0XOTEL_SERVICE_NAME=x\0"), None);
    }

    #[test]
    fn service_names_of_a_process_context() {
        let bare = resource("shop").encode_to_vec();
        assert_eq!(service_of_context(&bare).as_deref(), Some("shop"));
        let whole = ProcessContext { resource: Some(resource("cart")) }.encode_to_vec();
        assert_eq!(service_of_context(&whole).as_deref(), Some("cart"));
        for cut in 0..whole.len() {
            assert!(service_of_context(&whole[..cut]).is_none_or(|name| "cart".starts_with(&name)));
        }
        assert_eq!(service_of_context(b""), None);
    }

    #[test]
    fn a_header_that_is_none_is_left_alone() {
        let header = |signature: &[u8; 8], version: u32, size: u32, published: u64| {
            let mut header = [0; 32];
            header[..8].copy_from_slice(signature);
            header[8..12].copy_from_slice(&version.to_ne_bytes());
            header[12..16].copy_from_slice(&size.to_ne_bytes());
            header[16..24].copy_from_slice(&published.to_ne_bytes());
            header[24..].copy_from_slice(&4096u64.to_ne_bytes());
            context_payload(&header)
        };
        assert_eq!(header(b"OTEL_CTX", 2, 100, 1), Some((100, 4096)));
        assert_eq!(header(b"OTEL_CTX", 2, 100, 0), None);
        assert_eq!(header(b"OTEL_CTX", 3, 100, 1), None);
        assert_eq!(header(b"OTEL_CTX", 2, u32::MAX, 1), None);
        assert_eq!(header(b"OTEL_CTy", 2, 100, 1), None);
    }
}
