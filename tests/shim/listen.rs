//! Hears the probes of a shim through a BPF program, as rprof does, and keeps what is allocated.

use std::{collections::HashMap, path::Path, process::Command};

use libbpf_rs::{Link, MapCore, Object, ObjectBuilder, RingBufferBuilder, UprobeOpts};
use rprof::shim::Shim;
use tempfile::TempDir;

use super::workload::run;

/// What a free has for a size in `listen.bpf.c`.
const FREED: u64 = u64::MAX;

/// A shim of a test's own, so that no other test is heard, and who listens to it.
pub struct Listener {
    pub shim: Shim,
    object: Object,
    _links: [Link; 2],
    _folder: TempDir,
}

/// One event, as `struct event` of `listen.bpf.c`.
#[derive(Clone, Copy, Debug)]
struct Event {
    process: u32,
    pointer: u64,
    size: u64,
    weight: u64,
}

/// What was sampled and not freed, by process and pointer; and what came by.
#[derive(Debug, Default)]
pub struct Heard {
    /// Size and weight.
    pub live: HashMap<(u32, u64), (u64, u64)>,
    /// Every allocation: process, size and weight.
    pub allocations: Vec<(u32, u64, u64)>,
    /// Frees of what was live.
    pub frees: u64,
    /// Frees of what was not known.
    pub unknown: u64,
    /// Allocations of what was live already.
    pub twice: u64,
}

impl Listener {
    /// Listens to a new shim.
    pub fn start(rate: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Tests start programs as other users too.
        run(Command::new("chmod").arg("755").arg(folder.path()));
        let shim = Shim::in_folder(folder.path(), rate).unwrap();
        let object = load(folder.path());
        let links = [("alloc", shim.alloc.offset), ("release", shim.free.offset)];
        let links = links.map(|(name, offset)| attach(&object, name, shim.path(), offset));
        Self { shim, object, _links: links, _folder: folder }
    }

    /// Runs a command with the shim, to its end; gives what it printed and what was heard. Nothing
    /// may come to standard error.
    pub fn run(&self, command: &mut Command) -> (String, Heard) {
        command.envs(self.shim.environment());
        let words = format!("{command:?}");
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}: {}: {errors}", output.status);
        assert_eq!(errors, "", "{words}");
        (String::from_utf8_lossy(&output.stdout).into_owned(), self.heard())
    }

    /// What was heard since the last call.
    pub fn heard(&self) -> Heard {
        let mut events = Vec::new();
        let map = self.object.maps().find(|map| map.name() == "events").unwrap();
        let mut builder = RingBufferBuilder::new();
        let add = |bytes: &[u8]| {
            events.push(Event::read(bytes));
            0
        };
        builder.add(&map, add).unwrap();
        let ring = builder.build().unwrap();
        ring.consume().unwrap();
        drop(ring);
        let globals = self.object.maps().find(|map| map.name().to_string_lossy().ends_with("bss"));
        let lost = globals.unwrap().lookup(&[0; 4], libbpf_rs::MapFlags::ANY).unwrap().unwrap();
        assert_eq!(lost[..8], [0; 8], "the ring buffer is too small for this test");
        Heard::new(&events)
    }
}

fn load(folder: &Path) -> Object {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shim/listen.bpf.c");
    let object = folder.join("listen.o");
    let mut clang = Command::new("clang");
    run(clang.args(["-O2", "-g", "-target", "bpf", "-c"]).arg(source).arg("-o").arg(&object));
    ObjectBuilder::default().open_file(&object).unwrap().load().unwrap()
}

fn attach(object: &Object, program: &str, path: &Path, offset: u64) -> Link {
    let program = object.progs_mut().find(|each| each.name() == program).unwrap();
    let options = UprobeOpts::default();
    program.attach_uprobe_with_opts(-1, path, offset as usize, options).unwrap()
}

impl Event {
    fn read(bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        assert!(rest.is_empty());
        let [process, pointer, size, weight] = words else { panic!("{} bytes", bytes.len()) };
        let number = |word: &[u8; 8]| u64::from_ne_bytes(*word);
        Self {
            process: number(process) as u32,
            pointer: number(pointer),
            size: number(size),
            weight: number(weight),
        }
    }
}

impl Heard {
    fn new(events: &[Event]) -> Self {
        let mut heard = Self::default();
        for event in events {
            let key = (event.process, event.pointer);
            if event.size != FREED {
                heard.allocations.push((event.process, event.size, event.weight));
                let old = heard.live.insert(key, (event.size, event.weight));
                heard.twice += u64::from(old.is_some());
            } else if heard.live.remove(&key).is_some() {
                heard.frees += 1;
            } else {
                heard.unknown += 1;
            }
        }
        heard
    }

    /// Sum of the weights of what is live and of that size.
    pub fn held(&self, size: u64) -> u64 {
        let of_size = self.live.values().filter(|(each, _)| *each == size);
        of_size.map(|(_, weight)| weight).sum()
    }

    /// Sum of the weights of all that was allocated in that size.
    pub fn allocated(&self, size: u64) -> u64 {
        let of_size = self.allocations.iter().filter(|(_, each, _)| *each == size);
        of_size.map(|(_, _, weight)| weight).sum()
    }
}
