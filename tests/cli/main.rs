//! What rprof answers to bad input: every row of that table in the design runs the program.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod damage;
mod diff;
mod doctor;
mod documents;
mod foreign;
mod output;
mod privilege;
mod read;
mod setcap;
mod target;

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::command::{rprof, run};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

/// A file system in memory, mounted for a test.
struct Tmpfs {
    folder: TempDir,
}

impl Tmpfs {
    /// Mounts one of that many KiB.
    fn mount(kib: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={kib}k");
        let flags = MsFlags::empty();
        mount(Some("tmpfs"), folder.path(), Some("tmpfs"), flags, Some(&*size)).unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// No more writing from here on.
    fn make_read_only(&self) {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, self.path(), None::<&str>, flags, None::<&str>).unwrap();
    }

    /// Writes until nothing more fits.
    fn fill(&self) {
        let mut size = 64 << 10;
        let mut number = 0;
        while size > 0 {
            number += 1;
            if fs::write(self.path().join(format!("filler-{number}")), vec![1; size]).is_err() {
                size /= 2;
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = umount2(self.path(), MntFlags::MNT_DETACH); // a mount left over harms nobody
    }
}

/// A recording of a moment, in `folder`.
fn record_into(folder: &Path) -> PathBuf {
    let path = folder.join("made.recording");
    let spin = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let words = ["record", "-F", "999", "-o", path.to_str().unwrap(), "--", "sh", "-c", spin];
    run(&mut rprof(words)).ok();
    path
}

/// The names of what is in a folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// True, said aloud, where the cgroup2 hierarchy is not mounted.
fn cgroup2_is_missing() -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let missing = !mounts.contains(" cgroup2 ");
    if missing {
        common::command::skip("cgroup2 is not mounted");
    }
    missing
}
