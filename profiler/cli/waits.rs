//! What sources of waits are told: words of `record`.

use std::time::Duration;

use clap::Args as Group;

use super::args::parse_time;
use crate::{model::WaitState, sources::WaitOptions};

/// Which waits are recorded
#[derive(Group, Default)]
#[command(next_help_heading = "Waits (offcpu, runqlat)")]
pub struct WaitArgs {
    /// Only waits of at least this time, such as 1ms
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub min: Option<Duration>,
    /// Only waits of at most this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub max: Option<Duration>,
    /// Only waits for this: sleep, disk, lock, preempted, runnable
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = WaitState::parse)]
    pub state: Vec<WaitState>,
    /// Record each wait, and so how many there are, whatever it costs; else one for each 1/F seconds
    /// of waiting of a thread
    #[arg(long)]
    pub exact: bool,
    /// Threads of the kernel too
    #[arg(long)]
    pub kernel_threads: bool,
    /// Show who woke each thread too, above what it waited in
    #[arg(long)]
    pub waker: bool,
    /// Take user stacks at the end of system calls, as on kernels before 6.18
    #[arg(long, hide = true)]
    pub at_call_ends: bool,
}

impl WaitArgs {
    /// What sources of waits are told by these words.
    pub fn options(&self) -> WaitOptions {
        WaitOptions {
            min: self.min.unwrap_or_default(),
            max: self.max,
            states: self.state.clone(),
            exact: self.exact,
            kernel_threads: self.kernel_threads,
            waker: self.waker,
            at_call_ends: self.at_call_ends,
        }
    }
}
