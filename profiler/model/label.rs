//! Labels: what a sample can be told apart by, besides its stack.
//!
//! A label has the same word in each place that takes one: `--by`, `--only`, the web API, the URL
//! of a page, the keys of outputs. What a process is labelled with is read once, when it is first
//! sampled; `container` and `unit` are only other readings of its cgroup, made when they are asked
//! for, so that a new kind of container shows up in old recordings too.

use std::borrow::Cow;

use super::{Process, Tables, Thread};

/// The user id that stands for one that is not known; no process can have it (`setuid(2)` takes
/// -1 for an error).
pub const UID_UNKNOWN: u32 = u32::MAX;

/// One thing that samples are told apart by.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Label {
    /// Command name of the process.
    Comm,
    /// A process: command name and pid.
    Process,
    /// A thread: its name and tid.
    Thread,
    /// Path of the executable.
    Exe,
    /// Command line, its words apart by spaces.
    Cmdline,
    /// User id.
    Uid,
    /// Path of the cgroup below the cgroup2 mount.
    Cgroup,
    /// Id of the innermost container.
    Container,
    /// The innermost systemd unit: a service or a scope, of the system or of a user.
    Unit,
    /// The service name that the program publishes in OpenTelemetry's ways.
    Service,
    /// Kubernetes' pod.
    Pod,
    /// The namespace of that pod.
    Namespace,
    /// The container's name in that pod.
    ContainerName,
}

impl Label {
    /// Every label, in the order in which help lists them.
    pub const ALL: [Self; 13] = [
        Self::Comm,
        Self::Process,
        Self::Thread,
        Self::Exe,
        Self::Cmdline,
        Self::Uid,
        Self::Cgroup,
        Self::Container,
        Self::Unit,
        Self::Service,
        Self::Pod,
        Self::Namespace,
        Self::ContainerName,
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Comm => "comm",
            Self::Process => "process",
            Self::Thread => "thread",
            Self::Exe => "exe",
            Self::Cmdline => "cmdline",
            Self::Uid => "uid",
            Self::Cgroup => "cgroup",
            Self::Container => "container",
            Self::Unit => "unit",
            Self::Service => "service",
            Self::Pod => "pod",
            Self::Namespace => "namespace",
            Self::ContainerName => "container_name",
        }
    }

    /// The label of that word, if there is one.
    pub fn find(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|label| label.word() == word)
    }

    /// False if threads of one process may differ in it.
    pub fn is_of_process(self) -> bool {
        self != Self::Thread
    }

    /// True if `wanted` asks for `value`: the same text, or, as docker shows them, the first 12
    /// digits or more of a container's id.
    pub fn matches(self, value: &str, wanted: &str) -> bool {
        value == wanted
            || (self == Self::Container && wanted.len() >= 12 && value.starts_with(wanted))
    }
}

impl Tables {
    /// The process of a thread, if the tables have both.
    pub fn process_of(&self, thread: u32) -> Option<&Process> {
        self.processes.get(self.threads.get(thread)?.process)
    }

    /// What thread `thread` is labelled with; empty if that is not known.
    pub fn label(&self, label: Label, thread: u32) -> Cow<'_, str> {
        let Some(thread) = self.threads.get(thread) else { return "".into() };
        match label {
            Label::Thread => self.thread_label(thread),
            _ => self.process_label(label, thread.process),
        }
    }

    /// What process `process` is labelled with; empty if that is not known, and for
    /// [`Label::Thread`], which a process has none of.
    pub fn process_label(&self, label: Label, process: u32) -> Cow<'_, str> {
        let Some(process) = self.processes.get(process) else { return "".into() };
        let text = |index| self.strings.get(index);
        match label {
            Label::Thread => "".into(),
            Label::Comm => text(process.comm).into(),
            Label::Process => format!("{} ({})", text(process.comm), process.pid).into(),
            Label::Exe => text(process.exe).into(),
            Label::Cmdline => text(process.cmdline).into(),
            Label::Uid if process.uid == UID_UNKNOWN => "".into(),
            Label::Uid => process.uid.to_string().into(),
            Label::Cgroup => text(process.cgroup).into(),
            Label::Container => container(text(process.cgroup)).unwrap_or_default().into(),
            Label::Unit => unit(text(process.cgroup)).unwrap_or_default().into(),
            Label::Service => text(process.service).into(),
            Label::Namespace => self.pod(process.cgroup, 0).into(),
            Label::Pod => self.pod(process.cgroup, 1).into(),
            Label::ContainerName => self.pod(process.cgroup, 2).into(),
        }
    }

    /// A part of what is known of the pod of a cgroup: its namespace, the pod, the container.
    fn pod(&self, cgroup: u32, part: usize) -> &str {
        let names = self.pods.get(&cgroup).map_or("", |names| self.strings.get(*names));
        names.split('/').nth(part).unwrap_or_default()
    }

    fn thread_label(&self, thread: &Thread) -> Cow<'_, str> {
        format!("{} ({})", self.strings.get(thread.name), thread.tid).into()
    }
}

/// What container runtimes write before the id of a container in the name of its cgroup.
const PREFIXES: [&str; 6] =
    ["docker-", "cri-containerd-", "libpod-payload-", "libpod-", "crio-", "nerdctl-"];

/// The id of the innermost container of a cgroup path.
///
/// Under systemd the runtimes name a scope `RUNTIME-ID.scope`; with cgroups of their own, a folder
/// is called after the id alone (`/docker/ID`, `/kubepods/burstable/podUID/ID`), and a runtime
/// that is given a slice writes `SLICE:RUNTIME:ID`. An id has 64 hexadecimal digits. LXC and Incus
/// name their cgroups `lxc.payload.NAME`, older ones `/lxc/NAME`.
pub fn container(cgroup: &str) -> Option<&str> {
    let parts: Vec<&str> = cgroup.split('/').collect();
    (0..parts.len()).rev().find_map(|index| {
        let part = parts[index];
        let before = index.checked_sub(1).map_or("", |before| parts[before]);
        let lxc = || match part.strip_prefix("lxc.payload.") {
            None if before == "lxc" => Some(part),
            name => name,
        };
        container_id(part).or_else(lxc).filter(|id| !id.is_empty())
    })
}

/// The id that one folder of a cgroup path names.
fn container_id(part: &str) -> Option<&str> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    let name = name.rsplit(':').next().unwrap_or(name);
    // `conmon-`, the process beside a container, stays and makes it no id.
    let id = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some(id)
}

/// The innermost systemd unit of a cgroup path: its last folder that is called after a service or
/// a scope. systemd puts `_` before a name that the kernel could take for a file of its own
/// (`cg_escape` in its sources).
pub fn unit(cgroup: &str) -> Option<&str> {
    let is_unit = |part: &&str| {
        [".service", ".scope"].iter().any(|kind| part.len() > kind.len() && part.ends_with(kind))
    };
    let part = cgroup.rsplit('/').find(is_unit)?;
    Some(part.strip_prefix('_').unwrap_or(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "8f0a6c1d2e3b4a59687766554433221100ffeeddccbbaa998877665544332211";

    #[test]
    fn each_label_is_found_under_its_word() {
        for label in Label::ALL {
            assert_eq!(Label::find(label.word()), Some(label));
        }
        assert_eq!(Label::find("colour"), None);
    }

    #[test]
    fn containers_of_every_runtime() {
        for path in [
            "/docker/ID",
            "/system.slice/docker-ID.scope",
            "/system.slice/docker-ID.scope/system.slice/cron.service",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12_3.slice/\
             cri-containerd-ID.scope",
            "/kubepods/burstable/pod01234567-89ab-cdef-0123-456789abcdef/ID",
            "/system.slice/containerd.service/kubepods-besteffort-pod1.slice:cri-containerd:ID",
            "/kubepods.slice/kubepods-pod1.slice/crio-ID.scope/container",
            "/machine.slice/libpod-ID.scope/container",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
            "/system.slice/app.service/libpod-payload-ID",
            "/ecs/0123456789/ID",
        ] {
            assert_eq!(container(&path.replace("ID", ID)), Some(ID), "{path}");
        }
        assert_eq!(container("/lxc.payload.web/system.slice/nginx.service"), Some("web"));
        assert_eq!(container("/lxc/web/init.scope"), Some("web"));
        // The inner of two.
        let inner = ID.replace("8f", "77");
        assert_eq!(container(&format!("/docker/{ID}/docker/{inner}")), Some(&*inner));
    }

    #[test]
    fn what_is_no_container() {
        for path in [
            "",
            "/",
            "/system.slice/nginx.service",
            "/machine.slice/libpod-conmon-ID.scope",
            "/kubepods.slice/crio-conmon-ID.scope",
            "/lxc.monitor.web",
            "/lxc.payload.",
            "/lxc/",
            "/docker/ID0",
            "/docker/buildx",
        ] {
            assert_eq!(container(&path.replace("ID", ID)), None, "{path}");
        }
    }

    #[test]
    fn units_of_the_system_and_of_users() {
        for (path, expected) in [
            ("/system.slice/nginx.service", Some("nginx.service")),
            ("/system.slice/system-getty.slice/getty@tty1.service", Some("getty@tty1.service")),
            ("/init.scope", Some("init.scope")),
            ("/user.slice/user-1000.slice/session-3.scope", Some("session-3.scope")),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-web-42.scope",
                Some("app-web-42.scope"),
            ),
            ("/user.slice/user-1000.slice/user@1000.service/init.scope", Some("init.scope")),
            ("/system.slice/docker.service/leaf", Some("docker.service")),
            ("/system.slice/_cgroup.service", Some("cgroup.service")),
            ("/system.slice", None),
            ("/.service", None),
            ("", None),
        ] {
            assert_eq!(unit(path), expected, "{path}");
        }
    }

    #[test]
    fn a_container_is_known_by_its_first_digits() {
        assert!(Label::Container.matches(ID, &ID[..12]));
        assert!(!Label::Container.matches(ID, &ID[..11]));
        assert!(!Label::Unit.matches("nginx.service", "nginx.servic"));
    }
}
