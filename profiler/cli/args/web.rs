//! `rprof web`.

use std::path::PathBuf;

use clap::Args as Group;

#[derive(Group)]
pub struct WebArgs {
    /// Recording or store; rprof.data if not given, or /var/lib/rprof where there is none
    #[arg(value_name = "FILE|DIR")]
    pub file: Option<PathBuf>,
    /// Another recording or store, to compare with
    #[arg(long, value_name = "FILE|DIR")]
    pub base: Option<PathBuf>,
    /// Where to listen: a port, an address, or both
    #[arg(long, value_name = "ADDR", default_value = "localhost:7171")]
    pub listen: String,
    /// A name under which browsers know this machine; may be given several times
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Where the token is that other machines need; made if it is not there
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Started by the agent: ends with it
    #[arg(long, hide = true)]
    pub child: bool,
}
