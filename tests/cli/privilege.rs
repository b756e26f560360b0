//! Without privileges: what is missing, and two ways to get it that work.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::PathBuf,
    process::Command,
};

use tempfile::TempDir;

use super::common::command::{RPROF, Ran, Running, has, is_root, rprof, run, wait_until};

/// The user that owns nothing.
pub const NOBODY: u32 = 65534;

/// A folder that everybody may write, with a copy of rprof that everybody may run.
pub fn common_folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let copy = folder.path().join("rprof");
    fs::copy(RPROF, &copy).unwrap();
    (folder, copy)
}

/// Runs rprof as nobody, or as who runs the test if that is not root.
fn run_as_nobody(words: &[&str]) -> Ran {
    let (folder, copy) = common_folder();
    let mut command = Command::new(&copy);
    command.args(words).current_dir(folder.path());
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let ran = run(&mut command);
    assert_eq!(super::files(folder.path()), ["rprof"]);
    ran
}

#[test]
fn a_user_is_told_two_ways() {
    let ran = run_as_nobody(&["record", "-d", "30s"]);
    ran.fails(1, ["CAP_BPF", "CAP_PERFMON", "with sudo", "setcap cap_bpf,cap_perfmon", "rprof"]);
}

#[test]
fn nothing_is_run_without_privileges() {
    let ran = run_as_nobody(&["record", "--", "touch", "started"]);
    ran.fails(1, ["CAP_BPF", "CAP_PERFMON"]);
}

/// The kept recording in a folder, for everybody to read.
fn shared_recording() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = folder.path().join("kept");
    fs::copy(super::common::command::kept_recording(), &file).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    (folder, file)
}

#[test]
fn a_user_reads_recordings_without_privileges() {
    let (_folder, file) = shared_recording();
    let file = file.to_str().unwrap();
    let ran = run_as_nobody(&["report", file]);
    assert!(ran.ok().contains("Brush"), "{}", ran.text());
    run_as_nobody(&["flamegraph", file]).ok();
    run_as_nobody(&["diff", file, file, "--all"]).ok();
    for format in ["pprof", "folded", "speedscope", "firefox", "json"] {
        run_as_nobody(&["export", "-f", format, file]).ok_bytes();
    }
}

#[test]
fn a_user_views_recordings_without_privileges() {
    let (_folder, file) = shared_recording();
    let (folder, copy) = common_folder();
    let said = folder.path().join("said");
    let mut command = Command::new(&copy);
    command.args(["web", "--listen", "127.0.0.1:0"]).arg(file).current_dir(folder.path());
    command.stderr(fs::File::create(&said).unwrap());
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let _viewer = Running::start(&mut command);
    let mut address = String::new();
    wait_until("an address", || {
        let text = fs::read_to_string(&said).unwrap();
        let found = text.split_once("http://").and_then(|(_, rest)| rest.split_once('\n'));
        address = found.map(|(address, _)| address.to_owned()).unwrap_or_default();
        !address.is_empty()
    });
    let mut stream = TcpStream::connect(&address).unwrap();
    let question = "GET /api/table HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(question.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("Brush"), "{answer}");
}

#[test]
fn a_recording_of_another_user_is_not_read() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = folder.path().join("kept");
    fs::copy(super::common::command::kept_recording(), &file).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let file = file.to_str().unwrap();
    run_as_nobody(&["report", file]).fails(1, [file, "Permission denied"]);
}

#[test]
fn the_capabilities_that_it_names_are_enough() {
    if !is_root() || !has("setpriv") {
        return;
    }
    let (folder, copy) = common_folder();
    // cap_bpf is not known by name to each libcap-ng, so all are given by number: those of the
    // `setcap` line that a user is told.
    let caps = "+cap_19,+cap_21,+cap_38,+cap_39,+cap_40";
    let nobody = NOBODY.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]);
    command.args(["--inh-caps", caps, "--ambient-caps", caps]).arg(copy);
    command.args([
        "record",
        "-F",
        "999",
        "--",
        "sh",
        "-c",
        "i=0; while [ $i -lt 99999 ]; do i=$((i+1)); done",
    ]);
    let ran = run(command.current_dir(folder.path()));
    ran.ok();
    let file = fs::metadata(folder.path().join("rprof.data")).unwrap();
    assert_eq!((file.uid(), file.mode() & 0o777), (NOBODY, 0o600));
}

#[test]
fn root_without_capabilities_is_not_told_to_use_sudo() {
    if !is_root() || !has("setpriv") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for words in [&["record", "-d", "30s"][..], &["doctor"], &["doctor", "--json"]] {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", RPROF]).args(words);
        let ran = run(command.current_dir(folder.path()));
        assert_eq!(ran.code(), 1);
        let said = format!("{}{}", ran.text(), ran.err);
        for part in ["CAP_BPF", "CAP_PERFMON", "--cap-add BPF", "container"] {
            assert!(said.contains(part), "{words:?}: no {part} in {said}");
        }
        assert!(!said.contains("sudo"), "{words:?}: {said}");
    }
    assert!(super::files(folder.path()).is_empty());
}

#[test]
fn one_missing_capability_is_named_alone() {
    if !is_root() || !has("setpriv") {
        return;
    }
    let mut command = Command::new("setpriv");
    // 38 is CAP_PERFMON.
    command.args(["--bounding-set=-cap_38", "--inh-caps=-all", RPROF, "record", "-d", "30s"]);
    let ran = run(&mut command);
    ran.fails(1, ["recording needs CAP_PERFMON;"]);
}

#[test]
fn a_kernel_without_btf_is_told_its_option() {
    if !is_root() || !has("unshare") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // A mount namespace in which the kernel's types are out of sight.
    let hide = "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"";
    let unshare = |words: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", hide, "sh", RPROF]).args(words);
        run(command.current_dir(folder.path()))
    };
    let option = "CONFIG_DEBUG_INFO_BTF=y";
    unshare(&["record", "-d", "30s"]).fails(1, ["/sys/kernel/btf/vmlinux", option]);
    let doctor = unshare(&["doctor"]);
    assert_eq!(doctor.code(), 1);
    assert!(doctor.text().contains(option), "{}", doctor.text());
    assert!(super::files(folder.path()).is_empty());
}

#[test]
fn under_sudo_a_recording_belongs_to_the_caller() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let spin = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let record = || {
        let mut command = rprof(["record", "-F", "999", "--", "sh", "-c", spin]);
        command.current_dir(folder.path());
        command
    };
    let owner = || {
        let file = fs::metadata(folder.path().join("rprof.data")).unwrap();
        (file.uid(), file.gid(), file.mode() & 0o777)
    };
    run(&mut record()).ok();
    assert_eq!(owner(), (0, 0, 0o600));
    run(record().env("SUDO_UID", "4321").env("SUDO_GID", "1234")).ok();
    assert_eq!(owner(), (4321, 1234, 0o600));
}
