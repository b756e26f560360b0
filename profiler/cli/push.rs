//! `rprof push`: a recording to engines that others run; and, as a child of an agent, all that comes.

use std::{path::Path, process::ExitCode, sync::Arc, thread, time::Duration};

use anyhow::{Context, Result};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::args::{PushArgs, PushSettings};
use crate::{
    output::quantity,
    push::{Address, Feed, Keys, Pace, Settings, follow, push_all},
};

/// Sends a recording.
pub fn push(args: &PushArgs) -> Result<ExitCode> {
    if args.child {
        set_parent_process_death_signal(Some(Signal::TERM)).context("cannot follow the agent")?;
        // The agent runs ahead of all others; this need not.
        let _ = rustix::process::setpriority_process(None, 0);
    }
    let settings = settings(&args.settings, &args.to)?;
    let pace = pace(&args.settings);
    let feed = Feed::open(&args.file, pace.window)?;
    if args.child {
        follow_all(&feed, &args.file, &args.to, &settings, pace);
    }
    for address in &args.to {
        let done = push_all(&feed, address, &settings, &pace)?;
        if done.windows == 0 {
            anyhow::bail!("{} holds no samples", args.file.display());
        }
        say!(
            "rprof: {} profiles, {}, to {address}{}",
            done.profiles,
            quantity(done.bytes, "bytes"),
            match done.refused {
                0 => String::new(),
                refused => format!("; {refused} were refused"),
            }
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Feeds each receiver by a thread of its own, for as long as the agent lives.
fn follow_all(feed: &Feed, store: &Path, to: &[Address], settings: &Settings, pace: Pace) {
    thread::scope(|scope| {
        for address in to {
            scope.spawn(move || follow(feed, store, address, settings, pace));
        }
    });
}

/// What connections need, checked before anything is sent.
pub fn settings(args: &PushSettings, to: &[Address]) -> Result<Settings> {
    let keys = Keys::open(args.push_auth.clone())?;
    for address in to.iter().filter(|address| address.is_open()) {
        let (host, port) = address.host();
        if keys.has(&host, port) {
            tracing::warn!("credentials go to {address} in clear; https or grpcs would hide them");
        }
    }
    if let Some(path) = &args.push_ca {
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(Settings { ca: args.push_ca.clone(), keys: Arc::new(keys), timeout: args.push_timeout })
}

/// The times of the settings, by the option that sets each.
pub fn times(args: &PushSettings) -> Vec<(&'static str, Duration)> {
    vec![
        ("--push-every", args.push_every),
        ("--push-keep", args.push_keep),
        ("--push-settle", args.push_settle),
        ("--push-timeout", args.push_timeout),
        ("--push-back-off", args.push_back_off),
    ]
}

/// When what is sent.
fn pace(args: &PushSettings) -> Pace {
    Pace {
        window: args.push_every,
        settle: args.push_settle,
        keep: args.push_keep,
        back_off: args.push_back_off,
    }
}
