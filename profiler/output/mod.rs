//! Outputs: a file per format, one trait, one table.
//!
//! Each output turns a [`Profile`] that a view has narrowed into bytes. None of them knows where
//! the profile came from, and none decides what is shown: names come from the model, and the
//! counts of what was lost or cut short from `summary`, which all of them show.

use std::collections::HashMap;
use std::io::Write;

use anyhow::Result;

use crate::model::{Detail, Profile, View};

mod diff;
mod events;
mod firefox;
mod flamegraph;
mod fold;
mod folded;
mod goprofile;
mod histogram;
mod json;
mod llvm;
mod markdown;
mod marks;
mod palette;
mod picture;
mod pprof;
mod report;
mod sites;
mod speedscope;
mod summary;
mod table;
mod tally;
mod text;
mod verdict;

#[cfg(test)]
mod example;

pub use diff::{Change, Diff, diff};
pub use events::{Lines, WallClock, cell, printable, stack_lines};
pub use flamegraph::{Flamegraph, difference};
pub use histogram::{Bars, write_each, write_json};
pub use marks::{write_marks, write_marks_json};
pub use pprof::series as pprof_series;
pub use report::{Report, ReportJson};
pub use summary::{NO_STACK, counts, origin, title};
pub use table::{Column, left, lines, right};
pub use text::{clean, quantity, shorten, thousands};
pub use verdict::{Gate, Judged, Verdict};

/// A map that is fast on small numbers, of which nearly all keys here are made.
type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// One format.
pub trait Output: Sync {
    /// Its word on the command line.
    fn name(&self) -> &'static str;

    /// What it has to be told apart.
    fn detail(&self) -> Detail {
        Detail::default()
    }

    /// True if its bytes are not for a terminal.
    fn is_binary(&self) -> bool {
        false
    }

    /// Writes `profile`, in which there is at least one sample.
    fn write(&self, profile: &Profile, view: &View, out: &mut dyn Write) -> Result<()>;
}

/// Every format of `export -f`, in the order in which help lists them.
pub const OUTPUTS: &[&dyn Output] = &[
    &pprof::Pprof,
    &folded::Folded,
    &speedscope::Speedscope,
    &firefox::Firefox,
    &json::Json,
    &goprofile::GoProfile,
    &llvm::LlvmSample,
];

/// The format called `name`, if there is one.
pub fn find(name: &str) -> Option<&'static dyn Output> {
    OUTPUTS.iter().copied().find(|output| output.name() == name)
}

/// The names of all formats of `export -f`.
pub fn names() -> impl Iterator<Item = &'static str> {
    OUTPUTS.iter().map(|output| output.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_is_found_under_its_own_name() {
        for name in names() {
            assert_eq!(find(name).unwrap().name(), name);
        }
        assert!(find("xml").is_none());
    }

    #[test]
    fn the_same_profile_gives_the_same_bytes() {
        let (profile, view) = (example::profile(), View::default());
        let mut outputs = OUTPUTS.to_vec();
        // These read the binaries.
        outputs.retain(|output| !["goprofile", "llvm-sample"].contains(&output.name()));
        outputs.extend([
            &Flamegraph as &dyn Output,
            &Report { limit: 30, width: None },
            &ReportJson,
        ]);
        for output in outputs {
            let bytes = || {
                let mut bytes = Vec::new();
                output.write(&profile, &view, &mut bytes).unwrap();
                bytes
            };
            assert!(!bytes().is_empty(), "{}", output.name());
            assert_eq!(bytes(), bytes(), "{}", output.name());
        }
    }
}
