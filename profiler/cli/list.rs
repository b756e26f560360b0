//! `rprof list`.

use std::fmt::Write;

use anyhow::Result;
use serde_json::json;

use super::args::ListArgs;
use crate::{
    output::printable,
    probe::{Entry, list as find},
    target::Target,
};

/// Width that names are given, where what they are follows.
const WIDTH: usize = 48;

/// Lists what can be probed. `verbose` is that of all commands.
pub fn list(args: &ListArgs, verbose: bool) -> Result<()> {
    let target = Target { pids: args.pids.clone(), ..Target::default() };
    target.check()?;
    let listed = find(args.pattern.as_deref(), &target, args.long || args.json || verbose)?;
    let mut text = String::new();
    for entry in &listed.entries {
        match args.json {
            true => object(entry, &mut text),
            false => line(entry, &mut text),
        }
    }
    super::print(text.as_bytes())?;
    if listed.more > 0 {
        say!("rprof: {} more are not listed; a longer pattern asks for less", listed.more);
    }
    for note in &listed.notes {
        say!("rprof: {note}");
    }
    Ok(())
}

fn line(entry: &Entry, text: &mut String) {
    let probe = printable(entry.probe.as_bytes());
    let also = printable(entry.also.as_bytes());
    let _ = match also.is_empty() {
        true => writeln!(text, "{probe}"),
        false => writeln!(text, "{probe:WIDTH$}  {also}"),
    };
    for line in &entry.tells {
        let _ = writeln!(text, "    {}", printable(line.as_bytes()));
    }
}

fn object(entry: &Entry, text: &mut String) {
    let Entry { probe, also, tells } = entry;
    let _ = writeln!(text, "{}", json!({ "probe": probe, "also": also, "tells": tells }));
}
