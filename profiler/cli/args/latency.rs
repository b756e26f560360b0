//! `rprof latency`.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, Result};
use clap::Args as Group;

use super::{
    TargetArgs,
    parse::{parse_probe, parse_time},
};
use crate::model::Key;

#[derive(Group)]
pub struct LatencyArgs {
    /// What to measure: runqlat, hardirqs, softirqs, gc, tcpconnlat or tcprtt
    #[arg(value_name = "NAME", required_unless_present = "probe")]
    pub name: Option<String>,
    /// A function, such as uprobe:/usr/bin/bash:execute_command: how long it takes from its entry to
    /// its return; `rprof list` tells which there are
    #[arg(short = 'e', long = "probe", value_name = "PROBE", conflicts_with = "name")]
    #[arg(value_parser = parse_probe)]
    pub probe: Option<String>,
    /// Print every so often, not at the end alone
    #[arg(short, long, value_name = "TIME", value_parser = parse_time)]
    pub interval: Option<Duration>,
    /// How long; else until Ctrl-C or until the target ends
    #[arg(short, long, value_name = "TIME", value_parser = parse_time)]
    pub duration: Option<Duration>,
    /// What to keep apart, such as process, thread, cgroup, pidns, cpu; none: nothing
    #[arg(long, value_name = "KEY", value_delimiter = ',', value_parser = parse_key)]
    pub by: Option<Vec<KeyWord>>,
    /// Histograms to show, those with the most time
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub limit: usize,
    /// Bars for each of several histograms too
    #[arg(long)]
    pub bars: bool,
    /// Times in ms, and all that took less than one in one bar
    #[arg(long)]
    pub ms: bool,
    /// Only what took at least this, such as 500us or 10ms
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub min: Option<Duration>,
    /// Only on this CPU
    #[arg(long, value_name = "CPU")]
    pub cpu: Option<u32>,
    /// Tell each by itself too, when it is over
    #[arg(long)]
    pub each: bool,
    /// Only connections by IPv4
    #[arg(short = '4', conflicts_with = "ipv6", help_heading = "Connections")]
    pub ipv4: bool,
    /// Only connections by IPv6
    #[arg(short = '6', help_heading = "Connections")]
    pub ipv6: bool,
    /// Only connections whose own end has this address
    #[arg(long, value_name = "ADDRESS", help_heading = "Connections")]
    pub local_address: Option<IpAddr>,
    /// Only connections whose own end has this port
    #[arg(long, value_name = "PORT", help_heading = "Connections")]
    pub local_port: Option<u16>,
    /// Only connections whose other end has this address
    #[arg(long, value_name = "ADDRESS", help_heading = "Connections")]
    pub remote_address: Option<IpAddr>,
    /// Only connections whose other end has this port
    #[arg(long, value_name = "PORT", help_heading = "Connections")]
    pub remote_port: Option<u16>,
    /// As JSON: an object on a line for each interval, with every histogram
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub target: TargetArgs,
}

impl LatencyArgs {
    /// What is measured: a source, or a function.
    pub fn what(&self) -> &str {
        self.name.as_deref().or(self.probe.as_deref()).unwrap_or_default()
    }
}

/// A key, or `none`. A type of its own, for clap's sake.
#[derive(Clone, Copy)]
pub struct KeyWord(pub Option<Key>);

fn parse_key(text: &str) -> Result<KeyWord> {
    if text == "none" {
        return Ok(KeyWord(None));
    }
    let known = || Key::ALL.map(Key::word).join(", ");
    let key = Key::find(text).with_context(|| format!("there is {}, and none", known()))?;
    Ok(KeyWord(Some(key)))
}
