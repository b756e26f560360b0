//! CPUs that go away and come back while rprof records. By itself, since all other programs of the
//! machine feel it: those that were bound to the CPU lose that.
#![allow(clippy::unwrap_used)]

mod common;
#[allow(dead_code)]
#[path = "live/recorder.rs"]
mod recorder;

use std::{fs, path::PathBuf, thread, time::Duration};

use common::workload::{Process, Workshop, need, require_root, wait_until};
use recorder::{Recorder, Shown};

/// A CPU that can be taken away. It is back when the test ends, however that is.
struct Cpu {
    number: usize,
    switch: PathBuf,
}

impl Cpu {
    /// The last one that is online and can be taken away.
    fn find() -> Option<Self> {
        let number = thread::available_parallelism().ok()?.get().checked_sub(1)?;
        let switch = PathBuf::from(format!("/sys/devices/system/cpu/cpu{number}/online"));
        let online = fs::read_to_string(&switch).ok()?.trim() == "1";
        // Writing what it is tells whether writing is allowed.
        (online && fs::write(&switch, "1").is_ok()).then_some(Self { number, switch })
    }

    fn set_online(&self, online: bool) {
        fs::write(&self.switch, if online { "1" } else { "0" }).unwrap();
    }
}

impl Drop for Cpu {
    fn drop(&mut self) {
        let _ = fs::write(&self.switch, "1");
    }
}

/// True if a program was bound to that CPU: it would not be bound any more afterwards.
fn is_bound_to(cpu: usize) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let bound = status.lines().any(|line| line == format!("Cpus_allowed_list:\t{cpu}"));
        // Threads of the kernel run no file.
        bound && fs::read_link(entry.path().join("exe")).is_ok()
    })
}

fn is_asked_for() -> bool {
    let is_set = |name| std::env::var(name).is_ok_and(|value| value == "true");
    is_set("CI") || is_set("RPROF_HOTPLUG")
}

/// Samples of that process so far.
fn samples_of(shown: &Shown, process: &Process) -> u64 {
    shown.under(&format!("hog ({})", process.id()))
}

#[test]
fn a_cpu_that_comes_back_is_sampled_again() {
    let asked = "to be asked (RPROF_HOTPLUG=true): it takes a CPU away from everybody";
    if !require_root() || !need(asked, is_asked_for()) {
        return;
    }
    let cpu = Cpu::find();
    if !need("a CPU that can be taken offline", cpu.is_some()) {
        return;
    }
    let cpu = cpu.unwrap();
    if !need("that nobody is bound to that CPU", !is_bound_to(cpu.number)) {
        return;
    }
    let shop = Workshop::new();
    let hog = shop.c("hog");
    let _everywhere = Process::workload(&hog, &[]);
    let recorder = Recorder::start(["-F", "999", "--comm", "hog"]);
    recorder.wait_for_samples();
    // For so short a time that nobody may have noticed, and for so long that everybody has.
    for away in [Duration::ZERO, Duration::from_millis(2500)] {
        cpu.set_online(false);
        thread::sleep(away);
        cpu.set_online(true);
        let bound = Process::workload(&hog, &["100", &cpu.number.to_string()]);
        wait_until(&format!("samples of a CPU that was away for {away:?}"), || {
            (samples_of(&recorder.so_far(&["--by", "process"]), &bound) > 100).then_some(())
        });
    }
    let recording = recorder.interrupt();
    assert_eq!(recording.shown().stats["lost"], 0);
    assert_eq!(recording.report()["info"]["complete"], true);
}
