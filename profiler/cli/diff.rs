//! `rprof diff`.

use std::{
    fs,
    io::{self, IsTerminal},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result, bail};

use super::args::DiffArgs;
use crate::{
    model::{Detail, Moment, Profile, View},
    output::{self, Gate},
    store::Store,
};

/// Characters of a function's name.
const NAME: usize = 120;

/// The exit status where something got too much.
const TOO_MUCH: u8 = 3;

/// Tells what got more and what got less, and whether that is too much.
pub fn diff(args: &DiffArgs) -> Result<ExitCode> {
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
    let gate = |limit| Gate { limit, confidence: args.confidence, same_work: args.same_work };
    let verdict = args.fail_above.map(|limit| diff.judge(gate(limit)));
    if let Some(file) = &args.svg {
        let of_shares = !diff.is_of_amounts() && !args.same_work;
        let svg = output::difference(&base, &new, of_shares, &view)?;
        fs::write(file, svg).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let mut bytes = Vec::new();
    if args.json {
        diff.write_json(verdict.as_ref(), &mut bytes)?;
    } else if args.markdown {
        diff.write_markdown(verdict.as_ref(), args.limit, args.all, &mut bytes)?;
    } else {
        let width = terminal_size::terminal_size().map(|(width, _)| width.0.into());
        let width = width.filter(|_| io::stdout().is_terminal());
        diff.write(&view, args.limit, args.all, width, &mut bytes)?;
    }
    super::print(&bytes)?;
    let Some(verdict) = verdict else { return Ok(ExitCode::SUCCESS) };
    say!("rprof: {}", verdict.line());
    for judged in verdict.total.iter().chain(&verdict.functions).filter(|judged| judged.failed) {
        let name = if judged.name.is_empty() { "the whole" } else { &judged.name };
        let name = output::shorten(name, NAME);
        let (growth, least) = (100.0 * judged.growth, 100.0 * judged.at_least);
        say!("rprof:   {growth:+.2}%, at least {least:+.2}%: {}", output::clean(&name));
    }
    Ok(if verdict.passed { ExitCode::SUCCESS } else { ExitCode::from(TOO_MUCH) })
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
