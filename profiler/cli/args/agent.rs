//! `rprof agent`.

use std::{path::PathBuf, time::Duration};

use clap::Args as Group;

use super::{
    PushSettings, TargetArgs,
    parse::{parse_room, parse_share, parse_time},
};
use crate::push::Address;

const STORE: &str = "/var/lib/rprof";

#[derive(Group)]
pub struct AgentArgs {
    /// What to measure: stacks, latency and events
    #[arg(short, long, default_value = "cpu", value_name = "SOURCE", value_delimiter = ',')]
    pub source: Vec<String>,
    /// Samples a second on each CPU; fewer where the budget does not allow it
    #[arg(short = 'F', long, value_name = "HZ", default_value_t = 19)]
    pub frequency: u64,
    /// Folder of recordings
    #[arg(long, value_name = "DIR", default_value = STORE)]
    pub store: PathBuf,
    /// How long recordings are kept
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = parse_time)]
    pub keep: Duration,
    /// How large the folder may become; the oldest recordings go first
    #[arg(long, value_name = "SIZE", default_value = "2GB", value_parser = parse_room)]
    pub max_size: u64,
    /// What the agent may cost, its BPF programs included, of one CPU
    #[arg(long, value_name = "SHARE", default_value = "1%", value_parser = parse_share)]
    pub max_overhead: f64,
    /// What memory it may take
    #[arg(long, value_name = "SIZE", default_value = "128MB", value_parser = parse_room)]
    pub max_memory: u64,
    /// Locked kernel memory for unwind tables, MB
    #[arg(long, value_name = "MB", default_value_t = 256)]
    pub table_memory: u64,
    /// Where the viewer listens; none: no viewer
    #[arg(long, value_name = "ADDR", default_value = "localhost:7171")]
    pub listen: String,
    /// User that the viewer runs as; rprof if there is one, else nobody
    #[arg(long, value_name = "USER")]
    pub web_user: Option<String>,
    /// Leave out what happens: exec, exit, kills, collections of Java
    #[arg(long)]
    pub no_marks: bool,
    /// How often what was recorded is made durable: for tests
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time, hide = true)]
    pub window: Duration,
    /// Push what is recorded to an engine (several times for several): pyroscope+http://HOST:4040,
    /// otlp+grpc://HOST:4317, otlp+http://HOST:4318, parca+grpc://HOST:7070,
    /// pprof+https://HOST/PATH, coroot+https://HOST, file:///DIR, s3://BUCKET/PREFIX
    #[arg(long, value_name = "URL")]
    pub push: Vec<Address>,
    #[command(flatten)]
    pub push_settings: PushSettings,
    #[command(flatten)]
    pub target: TargetArgs,
}
