//! Whom to watch: the same words in each command that does.

use anyhow::Result;
use clap::Args as Group;

use crate::target::{Cgroup, Target};

/// Whom to watch; the whole machine if nothing is given
#[derive(Group, Default)]
#[command(next_help_heading = "Target")]
pub struct TargetArgs {
    /// Processes, with their threads and the children that they start
    #[arg(short, long = "pid", value_name = "PID", value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// A cgroup of the cgroup2 hierarchy, with those below it
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<String>,
    /// Processes or threads of this name
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,
    /// Processes of this user
    #[arg(long, value_name = "UID")]
    pub uid: Option<u32>,
    /// Not the children
    #[arg(long)]
    pub no_children: bool,
}

impl TargetArgs {
    /// The target that these words mean.
    pub fn target(&self) -> Result<Target> {
        Ok(Target {
            pids: self.pids.clone(),
            no_children: self.no_children,
            cgroup: self.cgroup.as_deref().map(Cgroup::find).transpose()?,
            comm: self.comm.clone(),
            uid: self.uid,
        })
    }
}
