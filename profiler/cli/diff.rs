//! `rprof diff`.

use std::{
    io::{self, IsTerminal},
    path::Path,
};

use anyhow::{Result, bail};

use super::args::DiffArgs;
use crate::{
    model::{Detail, Moment, Profile, View},
    output,
    store::Store,
};

/// Tells what got more and what got less.
pub fn diff(args: &DiffArgs) -> Result<()> {
    let view = args.view.view();
    let other_time = args.base_from.is_some() || args.base_to.is_some();
    if args.new.is_none() && !other_time {
        bail!("with what? Name a second recording, or another time with --base-from and --base-to");
    }
    let mut base_view = view.clone();
    if other_time {
        (base_view.from, base_view.to) = (args.base_from, args.base_to);
    }
    let base = profile(&args.base, &base_view)?;
    let new = profile(args.new.as_ref().unwrap_or(&args.base), &view)?;
    let common = if args.new.is_none() { common(&args.base, &base, &new, &view)? } else { None };
    let diff = output::diff(&base, &new, common.as_ref(), &view)?;
    let mut bytes = Vec::new();
    if args.json {
        diff.write_json(&mut bytes)?;
    } else {
        let width = terminal_size::terminal_size().map(|(width, _)| width.0.into());
        let width = width.filter(|_| io::stdout().is_terminal());
        diff.write(&view, args.limit, args.all, width, &mut bytes)?;
    }
    super::print(&bytes)
}

/// What of the memory in use at one of two times was in use at the other, too. None of what is no
/// memory in use, and where each time has a recording of its own.
fn common(path: &Path, base: &Profile, new: &Profile, view: &View) -> Result<Option<Profile>> {
    let times = [base, new].map(|profile| (profile.from, profile.to));
    if !new.measure.in_use || times[0].0 != times[1].0 || base.older != new.older {
        return Ok(None);
    }
    let (first, last) = (times[0].1.min(times[1].1), times[0].1.max(times[1].1));
    let view = View {
        from: None,
        to: Some(Moment::AfterStart(last)),
        older: Some((last - first).saturating_add(new.older)),
        ..view.clone()
    };
    Store::open(path)?.profile(&view, Detail::default()).map(Some)
}

fn profile(path: &Path, view: &View) -> Result<Profile> {
    let mut store = Store::open(path)?;
    let profile = store.profile(view, Detail::default());
    for remark in store.remarks() {
        say!("rprof: {remark}");
    }
    let profile = profile?;
    super::read::check_samples(&profile, path)?;
    Ok(profile)
}
