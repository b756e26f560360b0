//! Where a recording goes: said before sampling if it cannot, and nothing is replaced or lost on
//! the way.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    Tmpfs,
    common::command::{Ran, Running, is_root, kept_recording, rprof, run, wait, wait_until},
};

/// Tries to record to `path`, which has to fail before the command is started.
fn cannot_write(path: &Path) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let path = path.to_str().unwrap();
    let words = ["record", "-o", path, "-d", "30s", "--", "touch", "started"];
    let ran = run(rprof(words).current_dir(folder.path()));
    ran.fails(1, ["cannot write", path]);
    assert!(start.elapsed() < Duration::from_secs(15), "after sampling");
    assert!(super::files(folder.path()).is_empty(), "the command was started");
    ran
}

#[test]
fn places_that_cannot_be_written_are_said_before_sampling() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    cannot_write(&folder.path().join("missing/out")).fails(1, ["No such file or directory"]);
    cannot_write(folder.path()).fails(1, ["is a folder", "-o"]);
    fs::write(folder.path().join("file"), "").unwrap();
    cannot_write(&folder.path().join("file/out")).fails(1, ["Not a directory"]);
    cannot_write(&folder.path().join("n".repeat(300))).fails(1, ["name too long"]);
    cannot_write(Path::new("/proc/rprof")).fails(1, []);
    assert_eq!(super::files(folder.path()), ["file"]);

    let tmpfs = Tmpfs::mount(1024);
    fs::write(tmpfs.path().join("out"), "from before").unwrap();
    tmpfs.make_read_only();
    cannot_write(&tmpfs.path().join("out")).fails(1, ["Read-only file system"]);
    cannot_write(&tmpfs.path().join("new")).fails(1, ["Read-only file system"]);
    assert_eq!(super::files(tmpfs.path()), ["out"]);
}

#[test]
fn what_is_no_file_is_not_replaced() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // A device of the test's own, in case it were replaced.
    let device = folder.path().join("null");
    let made = Command::new("mknod").arg(&device).args(["c", "1", "3"]).status().unwrap();
    assert!(made.success());
    cannot_write(&device).fails(1, ["is a device, not a file"]);
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    cannot_write(&pipe).fails(1, ["is a pipe, not a file"]);
    assert_eq!(super::files(folder.path()), ["null", "pipe"]);
}

#[test]
fn a_link_stays_and_what_it_points_to_is_replaced() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real");
    fs::create_dir(&real).unwrap();
    fs::write(real.join("old"), "from before").unwrap();
    symlink("real/old", folder.path().join("made.recording")).unwrap();
    super::record_into(folder.path());
    assert!(folder.path().join("made.recording").is_symlink());
    assert_eq!(super::files(&real), ["old"]);
    let words = ["report", real.join("old").to_str().unwrap()].map(String::from);
    run(rprof([]).args(words)).ok();
}

#[test]
fn a_file_is_replaced_only_when_the_new_one_is_complete() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let old = fs::read(kept_recording()).unwrap();
    let out = folder.path().join("rprof.data");
    let partial = folder.path().join("rprof.data.partial");
    fs::write(&out, &old).unwrap();
    let spin = Running::spin();
    let inode = || fs::metadata(&partial).map(|file| file.ino()).unwrap_or_default();
    let start = || {
        // Open, so that its inode is not given to the next file.
        let left = fs::File::open(&partial).ok();
        let before = inode();
        let mut command = rprof(["record", "-F", "499", "-p", &spin.pid()]);
        let command = command.current_dir(folder.path()).stderr(Stdio::piped());
        let running = Running::start(command);
        // What the one before left is readable too.
        wait_until("recording", || inode() != before && run(&mut report(&partial)).code() == 0);
        drop(left);
        running
    };

    // Killed: the old one is there, and the new one as far as it came.
    let mut record = start();
    assert_eq!(fs::read(&out).unwrap(), old);
    record.0.kill().unwrap();
    record.wait();
    assert_eq!(fs::read(&out).unwrap(), old);
    let ran = run(&mut report(&partial));
    assert!(ran.ok().contains("recording not ended"), "{}", ran.text());

    // While one records, another does not take its file away.
    let record = start();
    let words = ["record", "-d", "30s"];
    let second = run(rprof(words).current_dir(folder.path()));
    second.fails(1, ["rprof.data.partial", "another rprof"]);
    assert!(partial.exists());

    // Ended: the new one is in its place.
    Command::new("kill").args(["-s", "INT", &record.pid()]).status().unwrap();
    let mut record = record;
    assert_eq!(record.wait().code(), Some(0));
    assert_ne!(fs::read(&out).unwrap(), old);
    assert_eq!(super::files(folder.path()), ["rprof.data"]);
    assert!(!run(&mut report(&out)).ok().contains("not ended"));
}

fn report(path: &Path) -> Command {
    let mut command = rprof(["report"]);
    command.arg(path);
    command
}

#[test]
fn without_the_whole_recording_what_there_is_of_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(kept_recording(), folder.path().join("rprof.data.partial")).unwrap();
    let ran = run(rprof(["report"]).current_dir(folder.path()));
    assert!(ran.ok().contains("Brush"));
    assert!(ran.err.contains("rprof.data.partial: it did not finish"), "{}", ran.err);
}

#[test]
fn a_full_disk_is_said_before_sampling() {
    if !is_root() {
        return;
    }
    let tmpfs = Tmpfs::mount(64);
    tmpfs.fill();
    let before = super::files(tmpfs.path());
    cannot_write(&tmpfs.path().join("out")).fails(1, ["disk is full"]);
    assert_eq!(super::files(tmpfs.path()), before);
}

#[test]
fn a_disk_that_fills_ends_a_recording_that_stays_readable() {
    if !is_root() {
        return;
    }
    let tmpfs = Tmpfs::mount(512);
    let out = tmpfs.path().join("out");
    let partial = tmpfs.path().join("out.partial");
    let mut spin = Running::spin();
    let mut command = rprof(["record", "-F", "499"]);
    command.args(["-p", &spin.pid()]).arg("-o").arg(&out).stderr(Stdio::piped());
    let record = command.stdin(Stdio::null()).spawn().unwrap();
    wait_until("recording", || run(&mut report(&partial)).code() == 0);
    tmpfs.fill();
    let ran = wait(record, "record to a full disk".into());
    ran.fails(1, ["disk is full", "out.partial", "the recording ends"]);
    assert!(spin.0.try_wait().unwrap().is_none(), "the target ended too");
    assert!(!out.exists());
    let ran = run(&mut report(&partial));
    assert!(ran.ok().contains("FUNCTION"), "{}", ran.text());
    assert!(ran.text().contains("recording not ended"), "{}", ran.text());
    // The name that was asked for leads there too.
    run(&mut report(&out)).ok();
}
