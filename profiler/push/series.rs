//! What engines tell profiles apart by: a few labels that stay the same from window to window.
//!
//! Each distinct set of labels is a series that an engine keeps an index for, so nothing that is new
//! all the time may be among them: no pid, no thread, no command line.

use crate::model::{Label, Tables, UID_UNKNOWN};

/// Labels that are of one process or thread, or say what another says better.
const LEFT_OUT: [Label; 8] = [
    Label::Comm,
    Label::Process,
    Label::Thread,
    Label::Exe,
    Label::Cmdline,
    Label::Uid,
    Label::Cgroup,
    Label::Service,
];
/// The service of kernel threads.
const KERNEL: &str = "kernel";
/// What OpenTelemetry calls a service without a name.
pub const UNKNOWN: &str = "unknown_service";
/// The label that every series has.
pub const SERVICE: &str = "service_name";
/// Characters of a value that are kept: half of what Pyroscope takes.
const VALUE: usize = 1024;

/// Labels of a series, by name.
pub type Labels = Vec<(String, String)>;

/// The labels of process `process`, by name; `host` is the machine's.
pub fn labels(tables: &Tables, process: u32, host: &str) -> Labels {
    let own = Label::ALL.into_iter().filter(|label| !LEFT_OUT.contains(label));
    let own = own.map(|label| {
        (label.word().to_owned(), cut(&tables.process_label(label, process)).to_owned())
    });
    let mut labels: Labels = own.filter(|(_, value)| !value.is_empty()).collect();
    labels.push((SERVICE.to_owned(), cut(&service(tables, process)).to_owned()));
    if !host.is_empty() {
        labels.push(("host".to_owned(), cut(host).to_owned()));
    }
    labels.sort();
    labels
}

/// The name of the service that a process is part of: what it says itself; the container that a pod
/// knows by name; the unit, unless that is only somebody's session; the container; the program.
fn service(tables: &Tables, process: u32) -> String {
    let value = |label: Label| tables.process_label(label, process).into_owned();
    let named = [Label::Service, Label::ContainerName].map(value);
    if let Some(name) = named.into_iter().find(|name| !name.is_empty()) {
        return name;
    }
    let unit = value(Label::Unit);
    if let Some(name) = unit.strip_suffix(".service").filter(|name| !name.starts_with("user@")) {
        // An instance is one of many of a service.
        return name.split_once('@').map_or(name, |(name, _)| name).to_owned();
    }
    let container = value(Label::Container);
    if !container.is_empty() {
        // As docker shows them; the whole id is a label of its own.
        return container.chars().take(12).collect();
    }
    let Some(known) = tables.processes.get(process) else { return UNKNOWN.into() };
    let exe = value(Label::Exe);
    // A program in memory alone has a name that is often a new one each time.
    let exe = if exe.starts_with("/memfd:") { value(Label::Comm) } else { exe };
    match exe.rsplit('/').next().filter(|name| !name.is_empty()) {
        Some(name) => name.to_owned(),
        // /proc told who it belongs to, and that there is no program: a thread of the kernel, whose
        // names are without number.
        None if known.uid == 0 && value(Label::Cmdline).is_empty() => KERNEL.into(),
        None if known.pid == 0 => KERNEL.into(),
        None if known.uid == UID_UNKNOWN => UNKNOWN.into(),
        None => value(Label::Comm),
    }
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(VALUE).map_or(text, |(end, _)| &text[..end])
}

/// `name` as Prometheus takes names of labels.
pub fn plain(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Process;

    fn of(change: impl FnOnce(&mut Tables, &mut Process)) -> Labels {
        let mut tables = Tables::default();
        let comm = tables.strings.intern("comm");
        let mut process =
            Process { pid: 7, comm, exe: 0, cmdline: 0, uid: 1000, cgroup: 0, service: 0 };
        change(&mut tables, &mut process);
        let index = tables.processes.intern(process);
        labels(&tables, index, "box")
    }

    fn service_of(change: impl FnOnce(&mut Tables, &mut Process)) -> String {
        let labels = of(change);
        labels.into_iter().find(|(name, _)| name == SERVICE).unwrap().1
    }

    #[test]
    fn a_service_is_named_by_who_knows_best() {
        let with = |cgroup: &str, service: &str, exe: &str| {
            service_of(|tables, process| {
                process.cgroup = tables.strings.intern(cgroup);
                process.service = tables.strings.intern(service);
                process.exe = tables.strings.intern(exe);
            })
        };
        let id = "8f0a6c1d2e3b4a59687766554433221100ffeeddccbbaa998877665544332211";
        assert_eq!(with("/system.slice/nginx.service", "shop", "/usr/sbin/nginx"), "shop");
        assert_eq!(with("/system.slice/nginx.service", "", "/usr/sbin/nginx"), "nginx");
        assert_eq!(with("/system.slice/getty@tty1.service", "", "/sbin/agetty"), "getty");
        assert_eq!(with(&format!("/docker/{id}"), "", "/app"), "8f0a6c1d2e3b");
        assert_eq!(with("/user.slice/session-3.scope", "", "/usr/bin/vi"), "vi");
        assert_eq!(with("/user.slice/user@1000.service/init.scope", "", "/usr/bin/vi"), "vi");
        assert_eq!(with("", "", "/memfd:sealed-91173221a7ea"), "comm");
        assert_eq!(service_of(|_, process| process.uid = 0), "kernel");
        assert_eq!(service_of(|_, process| process.uid = UID_UNKNOWN), UNKNOWN);
        assert_eq!(service_of(|_, _| ()), "comm");
    }

    #[test]
    fn nothing_that_is_new_all_the_time_is_a_label() {
        let labels = of(|tables, process| {
            process.cgroup = tables.strings.intern("/system.slice/nginx.service");
            process.cmdline = tables.strings.intern("nginx -g 'pid /run/7'");
            process.exe = tables.strings.intern("/usr/sbin/nginx");
        });
        let names: Vec<&str> = labels.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["host", "service_name", "unit"]);
        assert!(!labels.iter().any(|(_, value)| value.contains('7')));
    }

    #[test]
    fn names_and_values_are_those_that_engines_take() {
        assert_eq!(plain("k8s.pod-name"), "k8s_pod_name");
        let long = service_of(|tables, process| {
            process.service = tables.strings.intern(&"é".repeat(5000));
        });
        assert_eq!(long.chars().count(), VALUE);
    }
}
