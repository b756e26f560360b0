//! Targets: what is asked for comes in, and nothing else, whatever else runs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    common::workload::{Process, Workshop, need, require_root, wait_until},
    recorder::{Recorder, Shown},
};

/// A recording of `target` that has samples.
fn recorded(target: &[&str]) -> crate::recorder::Recording {
    let recorder = Recorder::start(["-F", "999"].iter().chain(target));
    recorder.wait_for_samples();
    recorder.interrupt()
}

/// Asserts that all samples are of that process, and that it works.
fn assert_only(shown: &Shown, name: &str, process: &Process) {
    let root = format!("{name} ({})", process.id());
    assert_eq!(shown.roots(), [&*root]);
    assert!(shown.own("hog_work") > 0, "{:?}", shown.frames);
}

#[test]
fn by_pid() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let hog = shop.c("hog");
    let (wanted, _other) = (Process::workload(&hog, &[]), Process::workload(&hog, &[]));
    let recording = recorded(&["-p", &wanted.id().to_string()]);
    assert_only(&recording.view(&["--by", "process"]), "hog", &wanted);
}

#[test]
fn by_several_pids() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let hog = shop.c("hog");
    let [one, two, _other] = [(); 3].map(|()| Process::workload(&hog, &[]));
    let recorder = Recorder::start(["-F", "999", "-p", &format!("{},{}", one.id(), two.id())]);
    let mut roots = [&one, &two].map(|process| format!("hog ({})", process.id()));
    roots.sort_unstable();
    recorder.wait_for_samples();
    // On a busy machine one of them may have to wait for its turn.
    wait_until("samples of both", || {
        recorder.so_far(&["--by", "process"]).roots().get(1).map(drop)
    });
    assert_eq!(recorder.interrupt().view(&["--by", "process"]).roots(), roots);
}

#[test]
fn by_command_name() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let hog = shop.c("hog");
    fs::copy(&hog, shop.path("wanted")).unwrap();
    let (wanted, _other) =
        (Process::workload(&shop.path("wanted"), &[]), Process::workload(&hog, &[]));
    assert_only(&recorded(&["--comm", "wanted"]).view(&["--by", "process"]), "wanted", &wanted);
}

#[test]
fn by_thread_name() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let _threads = Process::workload(&shop.c("threads"), &["100"]);
    let shown = recorded(&["--comm", "south"]).view(&["--by", "thread"]);
    assert!(shown.own("thread_work") > 0);
    assert!(shown.roots().iter().all(|root| root.starts_with("south (")), "{:?}", shown.roots());
}

#[test]
fn by_user() {
    if !require_root() {
        return;
    }
    // No user of this number has anything else to do.
    let uid = 64321;
    let shop = Workshop::new();
    let hog = shop.c("hog");
    let (wanted, _other) = (Process::workload_as(uid, &hog, &[]), Process::workload(&hog, &[]));
    assert_only(&recorded(&["--uid", "64321"]).view(&["--by", "process"]), "hog", &wanted);
}

/// A cgroup that is gone when the test ends.
pub struct Cgroup(PathBuf);

impl Cgroup {
    pub fn new(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn take(&self, process: &Process) {
        fs::write(self.0.join("cgroup.procs"), process.id().to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What was in it was killed, but may take a moment to be gone.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

#[test]
fn by_cgroup() {
    let mount = rprof::target::cgroup2_mount();
    if !require_root() || !need("a cgroup2 mount", mount.is_ok()) {
        return;
    }
    let name = format!("rprof-live-{}", std::process::id());
    let outer = Cgroup::new(mount.unwrap().join(&name));
    let inner = Cgroup::new(outer.0.join("inner"));
    let shop = Workshop::new();
    let hog = shop.c("hog");
    // Dropped in the reverse order: the processes first.
    let (wanted, other) = (Process::workload(&hog, &[]), Process::workload(&hog, &[]));
    inner.take(&wanted);
    let path = Path::new("/").join(&name);
    let recording = recorded(&["--cgroup", path.to_str().unwrap()]);
    assert_only(&recording.view(&["--by", "process"]), "hog", &wanted);
    let roots = format!("/{name}/inner");
    assert_eq!(recording.view(&["--by", "cgroup"]).roots(), [&*roots]);
    drop((wanted, other));
}

#[test]
fn filters_add_up() {
    if !require_root() {
        return;
    }
    let uid = 64322;
    let shop = Workshop::new();
    let hog = shop.c("hog");
    fs::copy(&hog, shop.path("both")).unwrap();
    let both = shop.path("both");
    let wanted = Process::workload_as(uid, &both, &[]);
    let _others = [Process::workload_as(uid, &hog, &[]), Process::workload(&both, &[])];
    let shown = recorded(&["--uid", "64322", "--comm", "both"]).view(&["--by", "process"]);
    assert_only(&shown, "both", &wanted);
}
