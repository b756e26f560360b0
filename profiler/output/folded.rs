//! Folded stacks: the text format of FlameGraph, which most tools read.
//!
//! A line a stack, `comm;root;…;leaf COUNT`, where COUNT is samples, or their value if
//! the view says so. Kernel frames end in `_[k]`,
//! JIT in `_[j]`, inlined in `_[i]`, as stackcollapse-perf.pl writes them. The format has no place
//! for anything else, so what was lost or cut short has to be told beside it.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;

use super::Output;
use super::fold::fold;
use crate::model::{NameKind, Profile, View};

/// Folded stacks.
pub struct Folded;

impl Output for Folded {
    fn name(&self) -> &'static str {
        "folded"
    }

    fn write(&self, profile: &Profile, view: &View, out: &mut dyn Write) -> Result<()> {
        for (line, count) in lines(profile, view) {
            writeln!(out, "{line} {count}")?;
        }
        Ok(())
    }
}

/// Each distinct line without its count, and the count; in the order of `LC_ALL=C sort`.
fn lines(profile: &Profile, view: &View) -> BTreeMap<String, u64> {
    let fold = fold(profile, view);
    let mut lines = BTreeMap::new();
    for (path, count) in &fold.stacks {
        let mut line = String::new();
        for label in path.iter().filter_map(|label| fold.labels.get(*label as usize)) {
            if !line.is_empty() {
                line.push(';');
            }
            line.push_str(&label.text);
            line.push_str(label.kind.map_or("", NameKind::suffix));
        }
        // Kinds without a suffix of their own may make two stacks the same line.
        *lines.entry(line).or_default() += count;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Label;
    use crate::output::example;

    fn write(view: &View) -> String {
        let mut bytes = Vec::new();
        Folded.write(&example::profile(), view, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn every_kind_of_frame() {
        assert_eq!(write(&View::default()), example::FOLDED);
    }

    #[test]
    fn frames_turn_round_below_the_label() {
        let text = write(&View { inverted: true, ..View::default() });
        assert!(text.contains("app;fast_copy_[i];copy_all_[i];work;main;_start 7\n"), "{text}");
    }

    #[test]
    fn threads_have_their_own_lines() {
        let text = write(&View { by: Some(Label::Thread), ..View::default() });
        assert!(
            text.contains("pool-1 (11);_start;main;work;copy_all_[i];fast_copy_[i] 3\n"),
            "{text}"
        );
    }
}
