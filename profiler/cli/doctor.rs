//! `rprof doctor`.

use std::{fmt::Write, process::ExitCode};

use anyhow::Result;

use super::args::DoctorArgs;
use crate::doctor::{Verdict, examine};

/// Prints what this machine allows. Fails if it does not allow recording.
pub fn doctor(args: &DoctorArgs) -> Result<ExitCode> {
    let checks = examine();
    let mut out = String::new();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&checks)?)?;
    } else {
        for check in &checks {
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
        }
    }
    super::print(out.as_bytes())?;
    let works = checks.iter().all(|check| check.verdict != Verdict::No);
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
