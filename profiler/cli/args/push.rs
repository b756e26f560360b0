//! `rprof push`, and what it has in common with `rprof agent --push`.

use std::{path::PathBuf, time::Duration};

use clap::Args as Group;

use super::{DEFAULT_FILE, parse::parse_time};
use crate::push::Address;

#[derive(Group)]
pub struct PushArgs {
    /// Recording, or folder of them
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    pub file: PathBuf,
    /// Where to (several times for several): pyroscope+http://HOST:4040, otlp+grpc://HOST:4317,
    /// otlp+http://HOST:4318, parca+grpc://HOST:7070, pprof+https://HOST/PATH,
    /// coroot+https://HOST, file:///DIR, s3://BUCKET/PREFIX
    #[arg(long, value_name = "URL", required = true)]
    pub to: Vec<Address>,
    #[command(flatten)]
    pub settings: PushSettings,
    /// Started by an agent: goes on as the store grows, and ends with the agent
    #[arg(long, hide = true)]
    pub child: bool,
}

/// What both have.
#[derive(Clone, Debug, Group)]
pub struct PushSettings {
    /// File of credentials: HOST bearer TOKEN, HOST basic USER PASSWORD, or HOST header NAME: VALUE,
    /// a line each; the variable RPROF_PUSH_AUTH may hold the same
    #[arg(long, value_name = "FILE")]
    pub push_auth: Option<PathBuf>,
    /// PEM file of the certificates to trust instead of Mozilla's
    #[arg(long, value_name = "FILE")]
    pub push_ca: Option<PathBuf>,
    /// Time that one profile is of
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub push_every: Duration,
    /// How long a receiver that is down may miss windows and still get them later
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_time)]
    pub push_keep: Duration,
    /// How long after its end a window is sent: for tests
    #[arg(long, value_name = "TIME", default_value = "80s", value_parser = parse_time, hide = true)]
    pub push_settle: Duration,
    /// How long one request may take: for tests
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_time, hide = true)]
    pub push_timeout: Duration,
    /// The wait after a first failure: for tests
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_time, hide = true)]
    pub push_back_off: Duration,
}
