//! The web server, run as it is, on real recordings.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod client;
mod days;
mod guard;
mod hostile;
mod lanes;
mod limits;
mod memory;
mod start;

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use client::{Reply, ask};
use common::command::{RPROF, kept_recording};

/// A server that ends with the test.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub port: u16,
    /// What it said at its start.
    pub said: String,
}

impl Server {
    /// Serves the recording that is kept in the repository.
    pub fn kept() -> Self {
        Self::of(&kept_recording())
    }

    /// Serves `path`.
    pub fn of(path: &Path) -> Self {
        Self::start(Command::new(RPROF).arg("web").arg(path).args(["--listen", "127.0.0.1:0"]))
    }

    /// Starts a command that serves, and waits until it listens.
    pub fn start(command: &mut Command) -> Self {
        let words = format!("{command:?}");
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let port = loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "{words}: {said}");
            said.push_str(&line);
            if let Some((_, address)) = line.split_once(" is at http://") {
                let port = address.trim().split('/').next().unwrap().rsplit(':').next().unwrap();
                break port.parse().unwrap();
            }
        };
        // What it says later must not stop it.
        thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self { child, port, said }
    }

    /// Asks it as a program on this machine does.
    pub fn get(&self, path: &str) -> Reply {
        ask(self.port, "GET", path, &[("Host", &format!("localhost:{}", self.port))])
    }

    /// As [`Server::get`]; the answer is JSON.
    pub fn json(&self, path: &str) -> serde_json::Value {
        self.get(path).json()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its own child, to wait for its end.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// A copy of the kept recording in a folder of its own, to be harmed.
pub fn copy(folder: &Path) -> PathBuf {
    let path = folder.join("copy.recording");
    std::fs::copy(kept_recording(), &path).unwrap();
    path
}
