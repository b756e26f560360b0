//! Processes of the agent's own without privilege: the viewer, and what pushes.

use std::{
    ffi::OsString,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child as Process, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};

/// The wait before it is started again, at first and at most.
const BACK_OFF: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// One that lived this long is started again at once.
const PROVEN: Duration = Duration::from_secs(60);
/// How long it may take to end when told to.
const END: Duration = Duration::from_millis(200);

/// How one is started.
pub struct Child {
    /// What it is, as the log calls it.
    name: &'static str,
    /// What it does, as the log says once it is started.
    does: String,
    /// The words of its command line.
    arguments: Vec<OsString>,
    /// What of our environment it is given.
    variables: Vec<&'static str>,
    user: User,
    state: State,
    back_off: Duration,
}

enum State {
    Running(Process, Instant),
    /// Until this moment.
    Resting(Instant),
}

impl Child {
    /// `rprof ARGUMENTS...` as `user`, to be started by [`Child::tend`].
    pub fn new(
        name: &'static str,
        does: String,
        arguments: Vec<OsString>,
        variables: &[&'static str],
        user: User,
    ) -> Self {
        let variables = [&["TZ", "LANG"], variables].concat();
        let state = State::Resting(Instant::now());
        Self { name, does, arguments, variables, user, state, back_off: BACK_OFF }
    }

    /// Starts it where it does not run, and takes note of its end. That never fails: an agent
    /// without it is better than none.
    pub fn tend(&mut self) {
        if let State::Running(child, since) = &mut self.state {
            let ended = match child.try_wait() {
                Ok(None) => return,
                Ok(Some(status)) => words(status),
                Err(error) => error.to_string(),
            };
            let lived = since.elapsed();
            if lived >= PROVEN {
                self.back_off = BACK_OFF;
            }
            self.rest(&format!("it ended after {:.1} s with {ended}", lived.as_secs_f64()));
        }
        if !self.rests().is_zero() {
            return;
        }
        match self.start() {
            Ok(child) => {
                let (does, user) = (&self.does, &self.user.name);
                tracing::info!("{does} (process {}, user {user})", child.id());
                self.state = State::Running(child, Instant::now());
            }
            Err(error) => self.rest(&format!("it cannot be started: {error:#}")),
        }
    }

    /// How long until [`Child::tend`] has to be called, unless it ends before.
    pub fn rests(&self) -> Duration {
        match &self.state {
            State::Running(..) => Duration::MAX,
            State::Resting(until) => until.saturating_duration_since(Instant::now()),
        }
    }

    /// Tells it to end.
    pub fn stop(&self) {
        if let State::Running(child, _) = &self.state {
            let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM); // it may have ended
        }
    }

    fn rest(&mut self, why: &str) {
        tracing::warn!("no {}: {why}; next try in {} s", self.name, self.back_off.as_secs());
        self.state = State::Resting(Instant::now() + self.back_off);
        self.back_off = (2 * self.back_off).min(BACK_OFF_MAX);
    }

    fn start(&self) -> Result<Process> {
        // By this link, a binary that was replaced meanwhile is not run.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("rprof")
            .args(&self.arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .env_clear();
        // What tells our manager, and who we were started by, is not for it to know.
        let known = |name: &&'static str| Some((*name, std::env::var_os(name)?));
        command.envs(self.variables.iter().filter_map(known));
        if geteuid().is_root() {
            // With these, std also gives up all other groups.
            command.uid(self.user.uid.as_raw()).gid(self.user.gid.as_raw());
        } else if !self.user.uid.eq(&geteuid()) {
            bail!("only root can start it as {}; use --web-user", self.user.name);
        }
        command.spawn().context("cannot start a process")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
        let State::Running(child, _) = &mut self.state else { return };
        let start = Instant::now();
        while start.elapsed() < END && matches!(child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill(); // it mostly has ended
        let _ = child.wait();
    }
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("status {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => signal.to_string(),
            Err(_) => format!("signal {signal}"),
        },
        (None, None) => status.to_string(),
    }
}
