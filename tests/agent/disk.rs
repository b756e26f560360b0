//! A disk that fills up: the agent goes on, says so, and goes on writing when there is room.

use std::{fs, path::PathBuf};

use nix::mount::{MsFlags, umount};

use crate::{
    agent::{Agent, Recording, recordings},
    workload::{Process, Workshop, require_root, wait_until},
};

/// A small file system in memory, which is gone with the test.
struct Small(PathBuf);

impl Small {
    fn mount(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        let none = None::<&str>;
        nix::mount::mount(none, &path, Some("tmpfs"), MsFlags::empty(), Some("size=2m")).unwrap();
        Self(path)
    }

    /// Takes all room that is left.
    fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let full = fs::write(&ballast, vec![0; 4 << 20]);
        assert!(full.is_err());
        ballast
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount(&self.0); // after the agent has ended
    }
}

#[test]
fn a_full_disk_does_not_end_it() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let disk = Small::mount(shop.path("store"));
    let hog = Process::workload(&shop.c("hog"), &[]);
    let mut agent = Agent::start(&shop, ["-F", "499", "-p", &hog.id().to_string()]);
    agent.wait_for_samples();
    let ballast = disk.fill();
    agent.wait_for("no samples are written until there is a place for them");
    let first = recordings(agent.store())[0].clone();
    let before = Recording::read(&first).samples();
    assert!(before > 0);
    agent.wait_for("no new recording (write failure)");
    assert!(agent.is_alive());
    fs::remove_file(ballast).unwrap();
    agent.wait_for("a new recording: write failure");
    let store = agent.store().to_owned();
    wait_until("samples after the full disk", || {
        let last = recordings(&store).pop().unwrap();
        (last != first && Recording::so_far(&last)?.with("hog_work").0 > 0).then_some(())
    });
    agent.end();
    assert_eq!(Recording::read(&first).samples(), before);
    let last = Recording::read(recordings(&store).last().unwrap());
    assert_eq!(last.info["complete"], true);
    // What could not be written is counted.
    assert!(last.stats["missed"]["samples not written"].as_u64().unwrap() > 0, "{}", last.stats);
    drop(disk);
}
