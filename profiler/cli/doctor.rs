//! `rprof doctor`.

use std::{
    env,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};

use super::args::DoctorArgs;
use crate::{
    doctor::{By, Check, Code, Grant, Symbols, Verdict, examine, examine_process},
    output::{clean, left, lines, right, thousands},
};

/// Prints what this machine allows, and fails if it does not allow recording; or what processes
/// have mapped.
pub fn doctor(args: &DoctorArgs) -> Result<ExitCode> {
    if args.setcap {
        return setcap(args);
    }
    if args.pids.is_empty() {
        return machine(args.json);
    }
    let mut codes = Vec::new();
    for &pid in &args.pids {
        codes.extend(examine_process(pid)?);
    }
    let mut out = Vec::new();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&codes)?)?;
    } else {
        codes
            .chunk_by(|one, next| one.pid == next.pid)
            .try_for_each(|codes| table(codes, &mut out))?;
    }
    super::print(&out)?;
    Ok(ExitCode::SUCCESS)
}

/// Gives the program's file what recording needs, or prints how.
fn setcap(args: &DoctorArgs) -> Result<ExitCode> {
    let file = env::current_exe().context("cannot tell where this program's file is")?;
    let grant = Grant::new(&file, args.group.as_deref())?;
    let mut out = Vec::new();
    if args.apply {
        grant.apply()?;
        writeln!(out, "{}", grant.who())?;
    } else {
        let by = if nix::unistd::geteuid().is_root() { "" } else { "sudo " };
        writeln!(out, "# With these, or --apply, {}:", grant.who())?;
        grant.commands().iter().try_for_each(|command| writeln!(out, "{by}{command}"))?;
        writeln!(out, "# Whoever only reads recordings needs none of it, in a copy of the file.")?;
    }
    super::print(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn machine(json: bool) -> Result<ExitCode> {
    let checks = examine();
    let mut out = Vec::new();
    match json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(&checks)?)?,
        false => checks.iter().try_for_each(|check| line(check, &mut out))?,
    }
    super::print(&out)?;
    let works = checks.iter().all(|check| check.verdict != Verdict::No);
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(check: &Check, out: &mut impl Write) -> io::Result<()> {
    let mark = match check.verdict {
        Verdict::Yes => "yes",
        Verdict::Less => "less",
        Verdict::No => "NO",
    };
    writeln!(out, "{mark:<5} {:<21} {}", check.name, check.found)?;
    if check.verdict != Verdict::Yes {
        writeln!(out, "{:27} lost: {}", "", check.lost)?;
        writeln!(out, "{:27} to get it: {}", "", check.remedy)?;
    }
    Ok(())
}

/// All code of one process.
fn table(codes: &[Code], out: &mut impl Write) -> io::Result<()> {
    const BUILD_ID: usize = 12;
    let columns = [
        left("STACKS BY"),
        right("ROWS"),
        right("BYTES"),
        left("SYMBOLS"),
        left("DEBUG"),
        left("BUILD ID"),
        left("FILE"),
    ];
    let cells: Vec<Vec<String>> = codes
        .iter()
        .map(|code| {
            let by = match code.unwind {
                By::Table => "table",
                By::FramePointers => "frame pointers",
            };
            let symbols = match code.symbols {
                Symbols::Full => "full",
                Symbols::Exported => "exported",
                Symbols::PerfMap => "perf map",
                Symbols::None => "none",
            };
            let debug = if code.debug_info { "yes" } else { "no" };
            let number = |number| match code.unwind {
                By::Table => thousands(number),
                By::FramePointers => "-".into(),
            };
            let build_id = code.build_id.chars().take(BUILD_ID).collect();
            let file = match code.unwind {
                By::Table => clean(&code.path).into_owned(),
                By::FramePointers => format!("{}: {}", clean(&code.path), clean(&code.reason)),
            };
            let words = [by, symbols, debug].map(str::to_owned);
            let [by, symbols, debug] = words;
            vec![by, number(code.rows), number(code.bytes), symbols, debug, build_id, file]
        })
        .collect();
    if let Some(first) = codes.first() {
        writeln!(out, "process {}", first.pid)?;
    }
    let width = terminal_size::terminal_size().map(|(width, _)| width.0.into());
    let width = width.filter(|_| io::stdout().is_terminal());
    lines(&columns, &cells, width).iter().try_for_each(|line| writeln!(out, "{line}"))
}
