//! Runtimes that collect garbage, and the files of theirs that carry probes for it. A probe is in a
//! file, not in a process: once it is set, every process that maps the file has it, also later ones.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The most bytes of a process's mappings that are read.
const MAPS_MAX: u64 = 16 << 20;
/// The most files that are probed.
const FILES_MAX: usize = 32;
/// When a process is looked at after it began to run a program: its libraries come little by little.
const LOOKS: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
];
/// Processes that wait to be looked at.
const WAITING_MAX: usize = 1024;
/// How often the mappings of some process are read, at most, a second: in a storm of short ones the
/// others wait for the look at all.
const LOOKS_A_SECOND: u64 = 200;
/// How often all processes are looked at.
pub const ALL: Duration = Duration::from_secs(30);
/// Where distributions install Java: probed before any of it runs, so that not even the first
/// collection is missed.
const INSTALLED: [&str; 2] = ["/usr/lib/jvm", "/opt"];

/// A kind of runtime.
#[derive(Debug, Eq, PartialEq)]
pub struct Runtime {
    /// What it runs.
    pub language: &'static str,
    /// What the names of its files begin with.
    files: &'static [&'static str],
    /// Provider of its probes.
    pub provider: &'static str,
    /// Its probes, and the program of `bpf/gc.bpf.c` for each.
    pub probes: &'static [(&'static str, &'static str)],
}

/// Every kind.
const RUNTIMES: [Runtime; 4] = [
    Runtime {
        language: "java",
        files: &["libjvm.so"],
        provider: "hotspot",
        probes: &[
            // Those of an end first: what has begun by then is nobody's.
            ("gc__end", "gc_pause_end"),
            ("mem__pool__gc__end", "gc_pool_end"),
            ("gc__begin", "gc_pause_begin"),
            ("mem__pool__gc__begin", "gc_pool_begin"),
        ],
    },
    Runtime {
        language: "python",
        files: &["python", "libpython"],
        provider: "python",
        probes: &[("gc__done", "gc_python_end"), ("gc__start", "gc_python_begin")],
    },
    Runtime {
        language: "ruby",
        files: &["ruby", "libruby"],
        provider: "ruby",
        probes: &[
            ("gc__mark__end", "gc_ruby_mark_end"),
            ("gc__sweep__end", "gc_ruby_sweep_end"),
            ("gc__mark__begin", "gc_ruby_mark_begin"),
            ("gc__sweep__begin", "gc_ruby_sweep_begin"),
        ],
    },
    Runtime {
        language: "node",
        files: &["node", "libnode"],
        provider: "node",
        probes: &[("gc__done", "gc_node_end"), ("gc__start", "gc_node_begin")],
    },
];

/// A file of a runtime.
#[derive(Debug)]
pub struct Found {
    /// Whose.
    pub runtime: &'static Runtime,
    /// Where it can be opened.
    pub open: PathBuf,
    /// What it is called in its process.
    pub path: String,
    /// A process that has it mapped; none if it was found on disk.
    pub pid: Option<u32>,
    /// What tells it from other files.
    key: String,
}

/// Looks for files of runtimes.
#[derive(Default)]
pub struct Runtimes {
    /// What tells the files apart that were found.
    known: HashSet<String>,
    /// Processes to be looked at, by when (ns, CLOCK_MONOTONIC), and how often they were.
    waiting: BTreeMap<u64, VecDeque<(u32, usize)>>,
    count: usize,
    /// The second that looks are counted in, and how many there were.
    second: (u64, u64),
    /// True if only Java's are looked for.
    java_only: bool,
    /// Files that were not looked at, for there being too many.
    pub turned_away: u64,
}

impl Runtimes {
    /// Looks for Java's alone: Python collects so often that its probes cost it something.
    pub fn java() -> Self {
        Self { java_only: true, ..Self::default() }
    }

    /// What is mapped by one of these processes.
    pub fn look(&mut self, pids: impl IntoIterator<Item = u32>) -> Vec<Found> {
        pids.into_iter().flat_map(|pid| self.look_at(pid)).collect()
    }

    /// What is installed in the usual places.
    pub fn installed(&mut self) -> Vec<Found> {
        let mut found = Vec::new();
        let folders = INSTALLED.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        for folder in folders.flatten().take(4 * FILES_MAX) {
            let path = folder.path().join("lib/server/libjvm.so");
            let Ok(path) = path.canonicalize() else { continue };
            let Some(key) = inode(&path).and_then(|inode| file_key(&inode, &path)) else {
                continue;
            };
            if self.is_new(&key) {
                let name = path.to_string_lossy().into_owned();
                let runtime = &RUNTIMES[0];
                found.push(Found { runtime, open: path, path: name, pid: None, key });
            }
        }
        found
    }

    /// A process runs another program since `now` (ns).
    pub fn started(&mut self, pid: u32, now: u64) {
        self.wait(pid, 0, now);
    }

    /// Looks at the processes whose time has come.
    pub fn due(&mut self, now: u64) -> Vec<Found> {
        let mut found = Vec::new();
        while let Some(entry) = self.waiting.first_entry()
            && *entry.key() <= now
        {
            for (pid, looks) in entry.remove() {
                self.count -= 1;
                if self.may_look(now) {
                    found.extend(self.look_at(pid));
                }
                if Path::new("/proc").join(pid.to_string()).exists() {
                    self.wait(pid, looks + 1, now);
                }
            }
        }
        found
    }

    /// A file could not be opened, as its process had ended: another process may have it.
    pub fn forget(&mut self, file: &Found) {
        self.known.remove(&file.key);
    }

    /// How long until [`Runtimes::due`] has something to do; none if nothing waits.
    pub fn until_due(&self, now: u64) -> Option<Duration> {
        let (next, _) = self.waiting.first_key_value()?;
        Some(Duration::from_nanos(next.saturating_sub(now)))
    }

    fn wait(&mut self, pid: u32, looks: usize, now: u64) {
        let Some(delay) = LOOKS.get(looks) else { return };
        if self.count < WAITING_MAX {
            let due = now + delay.as_nanos() as u64;
            self.waiting.entry(due).or_default().push_back((pid, looks));
            self.count += 1;
        }
    }

    fn may_look(&mut self, now: u64) -> bool {
        let second = now / 1_000_000_000;
        if self.second.0 != second {
            self.second = (second, 0);
        }
        self.second.1 += 1;
        self.second.1 <= LOOKS_A_SECOND
    }

    fn look_at(&mut self, pid: u32) -> Vec<Found> {
        let Ok(maps) = File::open(format!("/proc/{pid}/maps")) else { return Vec::new() };
        let mut found = Vec::new();
        let lines = BufReader::new(maps.take(MAPS_MAX)).split(b'\n');
        for line in lines.map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            let Some((runtime, mapping)) = parse(&line) else { continue };
            if self.java_only && runtime.language != "java" {
                continue;
            }
            // Also where it was deleted since, or is in another root.
            let open = PathBuf::from(format!("/proc/{pid}/map_files/{}", mapping.range));
            let Some(key) = file_key(mapping.inode, &open) else { continue };
            if self.is_new(&key) {
                let path = mapping.path.to_owned();
                found.push(Found { runtime, open, key, path, pid: Some(pid) });
            }
        }
        found
    }

    fn is_new(&mut self, key: &str) -> bool {
        if self.known.contains(key) {
            return false;
        }
        if self.known.len() >= FILES_MAX {
            self.turned_away += 1;
            return false;
        }
        self.known.insert(key.to_owned())
    }
}

/// A line of /proc/PID/maps.
struct Mapping<'a> {
    /// As /proc/PID/map_files writes it.
    range: String,
    /// Device and inode.
    inode: &'a str,
    path: &'a str,
}

/// A mapping of code of a runtime.
fn parse(line: &str) -> Option<(&'static Runtime, Mapping<'_>)> {
    // proc_pid_maps(5): address perms offset dev inode pathname
    let (range, rest) = line.split_once(' ')?;
    let (permissions, rest) = rest.split_once(' ')?;
    if !permissions.contains('x') {
        return None;
    }
    let (_, inode_on) = rest.split_once(' ')?;
    let start = inode_on.find('/')?;
    let (inode, path) = (inode_on[..start].trim_end(), &inode_on[start..]);
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let runtime = runtime_of(path)?;
    // There without zeros in front.
    let address = |text| u64::from_str_radix(text, 16).ok();
    let (start, end) = range.split_once('-')?;
    let range = format!("{:x}-{:x}", address(start)?, address(end)?);
    Some((runtime, Mapping { range, inode, path }))
}

fn runtime_of(path: &str) -> Option<&'static Runtime> {
    let name = path.rsplit('/').next()?;
    // A version may follow, and nothing else: python3.11, libpython3.11.so.1.0, libruby-3.1.so.3.
    let is_version = |rest: &str| {
        let rest = rest.replace(".so", "");
        rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-')
    };
    RUNTIMES.iter().find(|runtime| {
        runtime.files.iter().any(|file| name.strip_prefix(file).is_some_and(is_version))
    })
}

/// Device and inode of a file, as /proc/PID/maps writes them.
fn inode(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    let (major, minor) = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
    Some(format!("{major:02x}:{minor:02x} {}", metadata.ino()))
}

/// What tells a file from others. Its inode may be another's once it is deleted; when it was changed
/// last, unlike when its inode was, stays as it is when a running program is deleted.
fn file_key(inode: &str, open: &Path) -> Option<String> {
    let metadata = fs::metadata(open).ok()?;
    Some(format!("{inode} {}.{} {}", metadata.mtime(), metadata.mtime_nsec(), metadata.size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_runtimes_is_found_in_mappings() {
        let line = "0041f000-7f21e1e00000 r-xp 00283000 fe:00 262161                     \
                    /usr/lib/jvm/java 17/lib/server/libjvm.so (deleted)";
        let (runtime, mapping) = parse(line).unwrap();
        assert_eq!(runtime.language, "java");
        assert_eq!(mapping.range, "41f000-7f21e1e00000");
        assert_eq!(mapping.inode, "fe:00 262161");
        assert_eq!(mapping.path, "/usr/lib/jvm/java 17/lib/server/libjvm.so");
        for other in ["", "x", "7f-8f r--p 0 fe:00 1 /usr/bin/python3", "7f-8f r-xp 0 00:00 0"] {
            assert!(parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn files_of_runtimes_have_names_of_their_own() {
        let language = |path| runtime_of(path).map(|runtime| runtime.language);
        assert_eq!(language("/usr/bin/python3.11"), Some("python"));
        assert_eq!(language("/usr/lib/libpython3.11.so.1.0"), Some("python"));
        assert_eq!(language("/usr/bin/node"), Some("node"));
        assert_eq!(language("/usr/lib/libruby-3.1.so.3.1.2"), Some("ruby"));
        assert_eq!(language("/usr/bin/python3-config"), None);
        assert_eq!(language("/usr/lib/nodejs"), None);
        assert_eq!(language("/usr/lib/libjvm.so.debug"), None);
    }

    #[test]
    fn a_process_is_looked_at_a_few_times_and_forgotten_when_it_is_gone() {
        let mut runtimes = Runtimes::default();
        let own = std::process::id();
        runtimes.started(own, 0);
        runtimes.started(4_194_999, 0);
        let mut now = 0;
        let mut times = 0;
        while let Some(wait) = runtimes.until_due(now) {
            now += wait.as_nanos() as u64;
            runtimes.due(now);
            times += 1;
        }
        assert_eq!((times, runtimes.count), (LOOKS.len(), 0));
    }

    #[test]
    fn a_file_is_the_same_in_mappings_and_on_disk() {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let exe = fs::read_link("/proc/self/exe").unwrap();
        let key = inode(&exe).unwrap();
        let line = maps.lines().find(|line| line.ends_with(exe.to_str().unwrap())).unwrap();
        assert!(line.contains(&format!(" {key} ")), "{key:?} in {line:?}");
    }
}
