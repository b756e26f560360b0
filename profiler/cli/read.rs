//! The commands that read a recording: `flamegraph`, `report`, `export`.

use std::{
    io::{self, IsTerminal},
    path::Path,
};

use anyhow::{Result, bail};

use super::{
    args::{ExportArgs, FlamegraphArgs, ReportArgs},
    past::{self, Shape},
};
use crate::{
    model::{Profile, View},
    output::{self, Output},
    store::Store,
};

/// `rprof flamegraph`
pub fn flamegraph(args: &FlamegraphArgs) -> Result<()> {
    show(&args.file, &args.view.view(), &output::Flamegraph, "rprof flamegraph > out.svg")
}

/// `rprof report`
pub fn report(args: &ReportArgs) -> Result<()> {
    let view = args.view.view();
    let width = terminal_size::terminal_size().map(|(width, _)| width.0.into());
    let width = width.filter(|_| io::stdout().is_terminal());
    let shape = Shape { json: args.json, limit: args.limit, width };
    if let Some(bytes) = lane(&args.file, &view, shape)? {
        return super::print(&bytes);
    }
    if args.json {
        return show(&args.file, &view, &output::ReportJson, "");
    }
    show(&args.file, &view, &output::Report { limit: args.limit, width }, "")
}

/// `rprof export`
pub fn export(args: &ExportArgs) -> Result<()> {
    let Some(format) = output::find(&args.format) else {
        let known: Vec<&str> = output::names().collect();
        bail!("no format {:?}; there is: {}", args.format, known.join(", "));
    };
    let (redirect, view) = (format!("rprof export -f {} > out", args.format), args.view.view());
    if args.format == "json" {
        let shape = Shape { json: true, limit: usize::MAX, width: None };
        if let Some(bytes) = lane(&args.file, &view, shape)? {
            return super::print(&bytes);
        }
    }
    show(&args.file, &view, format, &redirect)
}

/// What a view shows that is of no stacks; none if it is of some.
fn lane(file: &Path, view: &View, shape: Shape) -> Result<Option<Vec<u8>>> {
    if view.source.is_none() {
        return Ok(None);
    }
    let mut store = Store::open(file)?;
    let shown = past::show(&mut store, view, shape)?;
    if shown.is_some() {
        store.remarks().iter().for_each(|remark| say!("rprof: {remark}"));
    }
    Ok(shown)
}

fn show(file: &Path, view: &View, output: &dyn Output, redirect: &str) -> Result<()> {
    if output.is_binary() && io::stdout().is_terminal() {
        bail!("{} is not for a terminal; write it to a file: {redirect}", output.name());
    }
    let mut store = Store::open(file)?;
    let profile = store.profile(view, output.detail());
    for remark in store.remarks() {
        say!("rprof: {remark}");
    }
    let profile = profile?;
    check_samples(&profile, file)?;
    // As a whole, so that an error cannot leave half of it.
    let mut bytes = Vec::new();
    output.write(&profile, view, &mut bytes)?;
    super::print(&bytes)
}

/// Fails, with the reason, if there is nothing to show.
pub fn check_samples(profile: &Profile, file: &Path) -> Result<()> {
    if !profile.samples.is_empty() || !profile.in_use.is_empty() {
        return Ok(());
    }
    let all = profile.stats.samples;
    match all {
        1.. if profile.measure.in_use => bail!(
            "{} shows nothing in use that matches what was asked for; --type {} shows what was \
             allocated",
            file.display(),
            profile.source.value.name
        ),
        0 => bail!("{} holds no samples", file.display()),
        _ => bail!("none of the {all} samples in {} match what was asked for", file.display()),
    }
}
