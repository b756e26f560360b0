//! `rprof agent`.

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use super::{args::AgentArgs, push, record::check_sources, signals::Signals, web::addresses};
use crate::{
    agent::{
        Agent, Bound, Config, MEMORY_LEAST, PushSettings, ViewerSettings, WallClock, Why,
        viewer_user,
    },
    lanes::Settings,
    session::Plan,
    sources::{MemoryOptions, Options},
    store::Limits,
};

/// What `--listen` says for no page at all.
const NOWHERE: &str = "none";

/// How long a process that is new may wait until we read what it is: each wake-up costs, and some
/// machines start processes all the time.
const WAKEUP_PAUSE: Duration = Duration::from_millis(250);

/// What probes of allocators may cost the programs that they are in, of their CPU time.
const TARGET_OVERHEAD: f64 = 0.05;

/// Runs until it is told to end: by SIGTERM, SIGINT or SIGQUIT. SIGHUP begins a new recording.
pub fn agent(args: &AgentArgs) -> Result<ExitCode> {
    let config = config(args)?;
    // Nothing that is started from here may gain what we do not have, by a set-id bit or by
    // capabilities of a file.
    if let Err(error) = rustix::thread::set_no_new_privs(true) {
        tracing::warn!("children could gain privileges: {error}");
    }
    let mut signals = Signals::catch()?;
    let mut agent = Agent::open(config, Box::new(WallClock))?;
    agent.start()?;
    tracing::info!("recording {} into {}", args.source.join(", "), args.store.display());
    loop {
        agent.step(&[signals.fd()])?;
        for (signal, _) in signals.pending() {
            if signal == Signal::SIGHUP {
                agent.renew(Why::Asked);
                continue;
            }
            tracing::info!("{signal}: ending");
            let summary = agent.finish()?;
            for (source, stats) in summary.sources {
                let (name, samples, lost) = (source.name, stats.samples, stats.lost);
                tracing::info!("{samples} {name} samples in this recording, {lost} lost");
            }
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn config(args: &AgentArgs) -> Result<Config> {
    let target = args.target.target()?;
    target.check()?;
    if args.max_memory < MEMORY_LEAST {
        let least = MEMORY_LEAST >> 20;
        bail!("--max-memory: the agent itself takes half of {least}MB; give it that at least");
    }
    check_sources(&args.source)?;
    let viewer = match &*args.listen {
        NOWHERE => None,
        listen => Some(ViewerSettings {
            listen: listen.to_owned(),
            open: !addresses(listen)?.iter().all(|address| address.ip().is_loopback()),
            user: viewer_user(args.web_user.as_deref())?,
        }),
    };
    let push = match &*args.push {
        [] => None,
        to => {
            let settings = &args.push_settings;
            push::settings(settings, to)?;
            Some(PushSettings {
                to: to.to_vec(),
                auth: settings.push_auth.clone(),
                ca: settings.push_ca.clone(),
                times: push::times(settings),
                user: viewer_user(args.web_user.as_deref())?,
            })
        }
    };
    let memory = Bound(args.max_memory);
    Ok(Config {
        plan: Plan {
            sources: args.source.clone(),
            lanes: Settings { marks: !args.no_marks, always_on: true },
            target: target.to_string(),
            options: Options {
                target,
                frequency: args.frequency,
                wakeup_pause: WAKEUP_PAUSE.min(args.window),
                memory: MemoryOptions { max_overhead: TARGET_OVERHEAD, ..Default::default() },
                ..Options::default()
            },
            table_bytes: args.table_memory << 20,
            limits: memory.limits(),
            // In parallel, they would only need more memory at once.
            workers: 1,
            commit: args.window,
            poll: args.window,
            naming: 6 * args.window,
            keep_empty: true,
        },
        store: args.store.clone(),
        limits: Limits { keep: args.keep, max_bytes: args.max_size },
        overhead: args.max_overhead,
        memory,
        viewer,
        push,
    })
}
