//! The command that `record` starts.
//!
//! It must not run before sampling is on, and no sample may be taken of it while it is still us. So
//! we start ourselves, hidden; that process stops itself at once, its pid becomes a target that
//! counts from its exec on, and once sampling is on it is told to continue and becomes the command.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::PermissionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::{
        signal::{Signal, kill, raise},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};

use crate::nearest::nearest;

/// What shells give a command that is not found, or found but cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// A command that waits to be told to start, or runs.
pub struct Running {
    child: Child,
    status: Option<ExitStatus>,
}

impl Running {
    /// Prepares the command, with `environment` added to its own and not to that of the process that
    /// stands by for it until [`Running::start`]: we are not to be preloaded with anything.
    pub fn prepare(command: &[OsString], environment: &[(OsString, OsString)]) -> Result<Self> {
        find(&command[0])?;
        let mut child = Command::new("/proc/self/exe");
        child.arg("start-when-told");
        for (name, value) in environment {
            let mut variable = name.clone();
            variable.push("=");
            variable.push(value);
            child.arg("--set").arg(variable);
        }
        let child = child.arg("--").args(command).spawn().context("cannot start a process")?;
        let pid = Pid::from_raw(child.id() as i32);
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(pid), flags) {
            Ok(WaitStatus::Stopped(..)) => Ok(Self { child, status: None }),
            other => bail!("the process that was to become the command did not wait: {other:?}"),
        }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it go.
    pub fn start(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Passes on a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), signal).context("cannot signal the command")
    }

    /// True once it has ended.
    pub fn has_ended(&mut self) -> Result<bool> {
        if self.status.is_none() {
            self.status = self.child.try_wait().context("cannot wait for the command")?;
        }
        Ok(self.status.is_some())
    }

    /// Its exit code, as a shell would give it; none while it runs.
    pub fn exit_code(&self) -> Option<u8> {
        let status = self.status?;
        status.code().or_else(|| Some(128 + status.signal()?)).map(|code| code as u8)
    }
}

impl Drop for Running {
    /// A command that was never told to start must not be left standing.
    fn drop(&mut self) {
        if self.status.is_none() && is_stopped(self.child.id()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let name = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let ours = std::env::current_exe().is_ok_and(|exe| exe == name);
    ours && stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

/// Stops, and becomes `command` when it is continued, with `set` (NAME=VALUE) in its environment.
pub fn start_when_told(set: &[OsString], command: &[OsString]) -> Result<ExitCode> {
    raise(Signal::SIGSTOP).context("cannot stop")?;
    let variables = set.iter().filter_map(|variable| {
        let bytes = variable.as_bytes();
        let at = bytes.iter().position(|byte| *byte == b'=')?;
        Some((OsStr::from_bytes(&bytes[..at]), OsStr::from_bytes(&bytes[at + 1..])))
    });
    let error = Command::new(&command[0]).args(&command[1..]).envs(variables).exec();
    say!("rprof: cannot run {}: {error}", Path::new(&command[0]).display());
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    Ok(ExitCode::from(if missing { NOT_FOUND } else { NOT_EXECUTABLE }))
}

/// The file that a shell would run.
pub fn find(program: &OsStr) -> Result<PathBuf> {
    if program.as_encoded_bytes().contains(&b'/') {
        let file = fs::metadata(program)
            .with_context(|| format!("no command {}", Path::new(program).display()))?;
        if !is_program(&file) {
            bail!("{} is not executable", Path::new(program).display());
        }
        return Ok(program.into());
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&folders).collect();
    let mut files = folders.iter().map(|folder| folder.join(program));
    let found = files.find(|file| fs::metadata(file).is_ok_and(|file| is_program(&file)));
    if let Some(file) = found.filter(|_| !program.is_empty()) {
        return Ok(file);
    }
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let programs = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let name = program.to_string_lossy();
    bail!("no command {name}{}", nearest(&name, programs));
}

fn is_program(file: &fs::Metadata) -> bool {
    file.is_file() && file.permissions().mode() & 0o111 != 0
}
