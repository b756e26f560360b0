//! The Debian package: made of the program under test, installed, its service started as the unit
//! says, used, and purged, on a machine that is this one but for what is written to it, which goes
//! to memory and is looked through in the end.
#![allow(clippy::unwrap_used)]

#[path = "common/command.rs"]
#[allow(dead_code)]
mod command;

#[path = "common/workload.rs"]
#[allow(dead_code)]
mod workload;

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    process::Command,
};

use command::{RPROF, Running, has, is_root, skip};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use workload::{Process, run, wait_until};
use yaml_rust2::{Yaml, YamlLoader};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Capabilities that the unit may name, by their numbers in linux/capability.h: setpriv does not
/// know all of them by name everywhere.
const CAPABILITIES: [(&str, u32); 9] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_READ_SEARCH", 2),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
    ("CAP_CHECKPOINT_RESTORE", 40),
];

/// This machine's files in a mount namespace, where writing changes nothing of them.
struct Machine {
    holder: Running,
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs none \"$1\" && cd \"$1\" && mkdir upper work root
            mount -t overlay none -o lowerdir=/,upperdir=upper,workdir=work root
            for one in proc sys dev; do mount --rbind /$one root/$one; done
            mount -t tmpfs none root/run
            rm -rf root/var/lib/rprof root/var/cache/rprof
            touch ready; exec sleep infinity";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", script, "sh"]);
        let holder = Running::start(command.arg(folder.path()));
        let machine = Self { holder, folder };
        let ready = || machine.path("ready").exists().then_some(());
        wait_until("a machine to install on", ready);
        machine
    }

    /// A path in the memory that is written to, as it is seen from outside.
    fn path(&self, below: &str) -> PathBuf {
        let mounts = PathBuf::from(format!("/proc/{}/root", self.holder.pid()));
        mounts.join(self.folder.path().strip_prefix("/").unwrap()).join(below)
    }

    /// A command on it, whose process is that of what it runs.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.holder.pid(), "chroot"]);
        command.arg(self.folder.path().join("root")).args(words);
        command.env("DEBIAN_FRONTEND", "noninteractive").env_remove("SUDO_UID");
        command
    }

    fn run(&self, words: &[&str]) -> String {
        run(&mut self.command(words))
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path("root").join(path.trim_start_matches('/'))).unwrap()
    }

    /// What was written below `folder` and is still there, if `wanted`.
    fn written(&self, folder: &Path, wanted: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(self.path("upper").join(folder)).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            // A device of number 0 stands for what was removed.
            if kind.is_char_device() && entry.metadata().unwrap().rdev() == 0 {
                continue;
            }
            let path = folder.join(entry.file_name());
            if kind.is_dir() {
                self.written(&path, wanted, found);
            }
            if wanted(&path) {
                found.push(path);
            }
        }
    }
}

/// The value of a word in a systemd unit.
fn setting<'a>(unit: &'a str, word: &str) -> &'a str {
    let prefix = format!("{word}=");
    unit.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_else(|| panic!("no {word}"))
}

fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let question = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(question.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

/// True if the test can go on here.
fn can_install() -> bool {
    let tools = root().join("target/tools/bin/cargo-deb").is_file() || has("cargo-deb");
    let overlay = fs::read_to_string("/proc/filesystems").unwrap().contains("\toverlay\n");
    if !overlay {
        skip("the kernel has no overlayfs");
    }
    is_root() && tools && overlay && has("dpkg") && has("setpriv") && has("adduser")
}

#[test]
fn it_is_installed_started_used_and_purged_and_leaves_nothing() {
    if !can_install() {
        return;
    }
    let machine = Machine::new();
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("rprof.deb");
    run(Command::new(root().join("scripts/dist")).arg("deb").arg(RPROF).arg(&package));
    fs::copy(&package, machine.path("root/rprof.deb")).unwrap();

    machine.run(&["dpkg", "--no-triggers", "-i", "/rprof.deb"]);
    let list = machine.run(&["dpkg", "-L", "rprof"]);
    for file in [
        "/usr/bin/rprof",
        "/usr/share/man/man1/rprof.1.gz",
        "/usr/share/man/man1/rprof-agent.1.gz",
        "/usr/share/bash-completion/completions/rprof",
        "/usr/share/zsh/vendor-completions/_rprof",
        "/usr/share/fish/vendor_completions.d/rprof.fish",
        "/etc/default/rprof",
        "/usr/share/doc/rprof/copyright",
    ] {
        assert!(list.lines().any(|line| line == file), "no {file} in {list}");
    }
    let unit = list.lines().find(|line| line.ends_with("/systemd/system/rprof.service")).unwrap();
    let wanted = "root/etc/systemd/system/multi-user.target.wants/rprof.service";
    assert!(machine.path(wanted).is_symlink(), "it is not enabled");
    let user = machine.run(&["getent", "passwd", "rprof"]);
    let uid: u32 = user.split(':').nth(2).unwrap().parse().unwrap();

    used(&machine, &machine.read(unit), uid);

    machine.run(&["dpkg", "--no-triggers", "--purge", "rprof"]);
    // The package manager itself remembers what it did.
    let ours = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let kept = ["var/log", "rprof.deb"].iter().any(|kept| path.starts_with(kept));
        name.contains("rprof") && !kept
    };
    let mut left = Vec::new();
    machine.written(Path::new(""), &ours, &mut left);
    assert!(left.is_empty(), "left behind: {left:?}");
    for file in ["/etc/passwd", "/etc/group"] {
        assert_eq!(machine.read(file), fs::read_to_string(file).unwrap(), "{file}");
    }
}

/// Starts the service as its unit says, as far as that can be done where systemd is not process 1:
/// with its folders, its capabilities and no others. The page then is there, by a process of the
/// package's own user, and so are samples, until the service is told to end.
fn used(machine: &Machine, unit: &str, uid: u32) {
    for (kind, place) in [("State", "/var/lib"), ("Cache", "/var/cache")] {
        let path = format!("{place}/{}", setting(unit, &format!("{kind}Directory")));
        let mode = setting(unit, &format!("{kind}DirectoryMode"));
        machine.run(&["install", "-d", "-m", mode, &path]);
    }
    let mut bounds = String::from("-all");
    for name in setting(unit, "CapabilityBoundingSet").split(' ') {
        let known = CAPABILITIES.iter().find(|known| known.0 == name);
        bounds += &format!(",+cap_{}", known.unwrap_or_else(|| panic!("{name}?")).1);
    }
    assert_eq!(setting(unit, "NoNewPrivileges"), "yes");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = format!("--window 1s --listen 127.0.0.1:{port}");
    let start = setting(unit, "ExecStart").replace("$RPROF_OPTIONS", &options);
    let mut words = vec!["setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set", &bounds];
    words.extend(start.split(' '));
    let mut service = Process::start(&mut machine.command(&words));

    wait_until("its page", || answers(port).then_some(()));
    wait_until("samples", || {
        let report = machine.command(&["rprof", "report", "/var/lib/rprof", "--json"]).output();
        report.unwrap().status.success().then_some(())
    });
    let viewers = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let parent = format!("PPid:\t{}\n", service.id());
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        status.contains(&parent) && status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n"))
    });
    assert_eq!(viewers.count(), 1, "one process serves the page, as user {uid}");

    service.signal(Signal::SIGTERM);
    assert!(service.wait().success());
}

fn at<'a>(yaml: &'a Yaml, path: &[&str]) -> &'a Yaml {
    path.iter().fold(yaml, |yaml, key| &yaml[*key])
}

fn texts(yaml: &Yaml) -> Vec<&str> {
    yaml.as_vec().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn a_cluster_gives_the_agent_no_more_than_the_service_has() {
    let text = fs::read_to_string(root().join("contrib/kubernetes.yaml")).unwrap();
    let documents = YamlLoader::load_from_str(&text).unwrap();
    let set = documents.iter().find(|one| one["kind"].as_str() == Some("DaemonSet")).unwrap();
    let pod = at(set, &["spec", "template", "spec"]);
    assert_eq!(pod["automountServiceAccountToken"].as_bool(), Some(false));
    let container = &pod["containers"][0];
    let context = &container["securityContext"];
    for (key, value) in [
        ("privileged", false),
        ("allowPrivilegeEscalation", false),
        ("readOnlyRootFilesystem", true),
    ] {
        assert_eq!(context[key].as_bool(), Some(value), "{key}");
    }
    assert_eq!(texts(at(context, &["capabilities", "drop"])), ["ALL"]);
    let unit = fs::read_to_string(root().join("contrib/rprof.service")).unwrap();
    let service: Vec<&str> = setting(&unit, "CapabilityBoundingSet").split(' ').collect();
    let added = texts(at(context, &["capabilities", "add"]));
    assert!(!added.is_empty());
    for name in added {
        assert!(service.contains(&&*format!("CAP_{name}")), "{name} is more");
    }

    // Each volume that is mounted is there, and rprof knows each word.
    let volumes = pod["volumes"].as_vec().unwrap().iter().map(|one| one["name"].as_str().unwrap());
    let volumes: Vec<&str> = volumes.collect();
    for mount in container["volumeMounts"].as_vec().unwrap() {
        assert!(volumes.contains(&mount["name"].as_str().unwrap()), "{mount:?}");
    }
    let help = run(&mut command::rprof(["agent", "--help"]));
    let args = texts(&container["args"]);
    assert_eq!(args.first(), Some(&"agent"));
    for word in args.iter().filter(|word| word.starts_with("--")) {
        assert!(help.contains(&format!("{word} <")), "{word}");
    }
    let selector = at(set, &["spec", "selector", "matchLabels"]);
    assert_eq!(selector, at(set, &["spec", "template", "metadata", "labels"]));
}
