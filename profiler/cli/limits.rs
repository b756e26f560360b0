//! When `record` and `trace` end, and what they end with.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use nix::sys::signal::Signal;

use super::{run::Running, signals::Signals};
use crate::target::{Target, has_ended};

/// When what was begun ends: after a time, with its target or its command, or on a signal.
pub struct Limits {
    duration: Option<Duration>,
    target: Target,
    interrupted: bool,
}

impl Limits {
    /// No end but by a signal or with the target, unless there is a `duration`.
    pub fn new(duration: Option<Duration>, target: Target) -> Self {
        Self { duration, target, interrupted: false }
    }

    /// Whom it is about.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What is left of the time, `elapsed` ns after the start.
    pub fn remaining(&self, elapsed: u64) -> Duration {
        let elapsed = Duration::from_nanos(elapsed);
        self.duration.map_or(Duration::MAX, |duration| duration.saturating_sub(elapsed))
    }

    /// True if it has to end, `elapsed` ns after the start. Passes signals on to the command.
    pub fn reached(
        &mut self,
        elapsed: u64,
        signals: &mut Signals,
        command: Option<&mut Running>,
    ) -> Result<bool> {
        let ended = match command {
            Some(command) => {
                for (signal, from_terminal) in signals.pending() {
                    // A second Ctrl-C is for us, if the command does not heed the first.
                    if self.interrupted && signal == Signal::SIGINT {
                        return Ok(true);
                    }
                    self.interrupted |= signal == Signal::SIGINT;
                    // The terminal has told the command already.
                    if !from_terminal {
                        command.signal(signal)?;
                    }
                }
                command.has_ended()?
            }
            None => signals.pending().next().is_some() || self.target_has_ended(),
        };
        Ok(ended || self.remaining(elapsed).is_zero())
    }

    fn target_has_ended(&self) -> bool {
        self.target.is_by_pid() && self.target.pids.iter().all(|pid| has_ended(*pid))
    }
}

/// Ends with the command's exit code, once it has one.
pub fn wait_for(
    command: Option<Running>,
    signals: &mut Signals,
    recorded: Result<()>,
) -> Result<ExitCode> {
    let Some(mut command) = command else { return recorded.map(|()| ExitCode::SUCCESS) };
    if let Err(error) = &recorded {
        say!("rprof: {error:#}");
    }
    while !command.has_ended()? {
        let mut fds = [nix::poll::PollFd::new(signals.fd(), nix::poll::PollFlags::POLLIN)];
        let _ = nix::poll::poll(&mut fds, 1000u16); // EINTR: a signal, which is what we wait for
        for (signal, from_terminal) in signals.pending() {
            if !from_terminal {
                command.signal(signal)?;
            }
        }
    }
    Ok(ExitCode::from(match command.exit_code() {
        None | Some(0) => u8::from(recorded.is_err()),
        Some(code) => code,
    }))
}
