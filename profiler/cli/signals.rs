//! Signals, as something to wait for and to ask, between other things.

use std::os::{
    fd::{AsFd, BorrowedFd},
    unix::net::UnixStream,
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::{SignalsInfo, exfiltrator::origin::WithOrigin},
    low_level::{pipe, siginfo::Cause},
};

/// The signals that came and were not asked for yet.
pub struct Signals {
    info: SignalsInfo<WithOrigin>,
    wakeup: UnixStream,
}

impl Signals {
    /// Catches the signals that would end us, and SIGCHLD, which only wakes.
    pub fn catch() -> Result<Self> {
        let caught = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];
        let info = SignalsInfo::new(caught).context("cannot catch signals")?;
        let (wakeup, write) = UnixStream::pair().context("cannot make a socket pair")?;
        wakeup.set_nonblocking(true)?;
        for signal in caught.into_iter().chain([SIGCHLD]) {
            pipe::register(signal, write.try_clone()?).context("cannot catch signals")?;
        }
        Ok(Self { info, wakeup })
    }

    /// Becomes readable with each signal.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }

    /// Each signal that came, and whether a terminal sent it.
    pub fn pending(&mut self) -> impl Iterator<Item = (Signal, bool)> + '_ {
        use std::io::Read;
        // Emptied so that it wakes us again; what is in it does not matter.
        while self.wakeup.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
        self.info.pending().filter_map(|origin| {
            let signal = Signal::try_from(origin.signal).ok()?;
            Some((signal, origin.cause == Cause::Kernel))
        })
    }
}
