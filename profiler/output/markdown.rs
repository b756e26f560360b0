//! A comparison as Markdown, for the comment that a build pipeline leaves on a change.

use std::io::Write;

use anyhow::Result;

use super::{
    diff::{Change, Diff},
    text,
    verdict::{Judged, Verdict},
};

/// Characters of a name.
const NAME: usize = 120;

impl Diff {
    /// Writes it as Markdown, with at most `limit` functions that got more, and as many that got less;
    /// with `all`, also those of which sampling noise explains it.
    ///
    /// # Errors
    /// `out` does.
    pub fn write_markdown(
        &self,
        verdict: Option<&Verdict>,
        limit: usize,
        all: bool,
        out: &mut dyn Write,
    ) -> Result<()> {
        if let Some(verdict) = verdict {
            writeln!(out, "**rprof: {}**\n", verdict.line())?;
            self.judged(verdict, out)?;
        }
        let shown = |change: &&Change| change.significant || all && change.change != 0.0;
        let functions: Vec<&Change> = self.functions.iter().filter(shown).collect();
        if functions.is_empty() {
            writeln!(out, "No function changed by more than sampling noise explains.\n")?;
        }
        for (word, sign) in [("more", 1.0), ("less", -1.0)] {
            let rows: Vec<&Change> =
                functions.iter().filter(|change| change.change * sign > 0.0).copied().collect();
            self.changes(word, &rows, limit, out)?;
        }
        for (side, name) in [(&self.base, "base"), (&self.new, "new")] {
            let line = format!("{name}: {} · {}", side.origin, side.counts);
            writeln!(out, "<sub>{}</sub>\n", plain(&line))?;
        }
        Ok(())
    }

    /// The whole, and what grew too much.
    fn judged(&self, verdict: &Verdict, out: &mut dyn Write) -> Result<()> {
        let rows: Vec<&Judged> = verdict.total.iter().chain(&verdict.functions).collect();
        if rows.is_empty() {
            return Ok(());
        }
        writeln!(out, "| | base | new | grew by | at least |")?;
        writeln!(out, "|---|--:|--:|--:|--:|")?;
        for row in rows {
            let name = if row.name.is_empty() { "all".into() } else { code(&row.name) };
            let [base, new] = [row.base, row.new].map(|value| text::quantity(value, &self.unit));
            let mark = if row.failed { " ❌" } else { "" };
            let (growth, least) = (100.0 * row.growth, 100.0 * row.at_least);
            writeln!(out, "| {name} | {base} | {new} | {growth:+.2}% | {least:+.2}%{mark} |")?;
        }
        writeln!(out)?;
        Ok(())
    }

    fn changes(
        &self,
        word: &str,
        rows: &[&Change],
        limit: usize,
        out: &mut dyn Write,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        writeln!(out, "| {word} | base | new | z | function |")?;
        writeln!(out, "|--:|--:|--:|--:|---|")?;
        for row in rows.iter().take(limit) {
            let (change, [base, new]) = if self.of_amounts {
                let values = [row.base, row.new].map(|value| text::quantity(value, &self.unit));
                let sign = if row.change < 0.0 { '-' } else { '+' };
                let change = text::quantity(row.base.abs_diff(row.new), &self.unit);
                (format!("{sign}{change}"), values)
            } else {
                let of = |value, side: &super::diff::Whole| {
                    text::percent(value, side.amount(self.by_count))
                };
                let shares = [of(row.base, &self.base), of(row.new, &self.new)];
                (format!("{:+.2}%", 100.0 * row.change), shares)
            };
            let noise = if row.significant { "" } else { "?" };
            let name = code(&row.name);
            writeln!(out, "| {change} | {base} | {new} | {:+.1}{noise} | {name} |", row.z)?;
        }
        if rows.len() > limit {
            let more = text::thousands((rows.len() - limit) as u64);
            writeln!(out, "| | | | | … and {more} more |")?;
        }
        writeln!(out)?;
        Ok(())
    }
}

/// A name as code: nothing in it is Markdown or HTML. In a cell a bar has to be escaped, even so.
fn code(name: &str) -> String {
    let name = text::clean(name);
    let name = text::shorten(&name, NAME).replace('|', "\\|");
    // A run of ticks ends only at one that is as long.
    let longest = name.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    match longest {
        0 => format!("`{name}`"),
        _ => {
            let ticks = "`".repeat(longest + 1);
            format!("{ticks} {name} {ticks}")
        }
    }
}

/// Text that is neither Markdown nor HTML.
fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for c in text::clean(line).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if c.is_ascii_punctuation() && !".,:;()%+-=/".contains(c) => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::View,
        output::{diff, example, verdict::Gate},
    };

    fn gate(limit: f64, same_work: bool) -> Gate {
        Gate { limit, confidence: 0.99, same_work }
    }

    fn grown() -> Diff {
        let (base, mut new) = (example::profile(), example::profile());
        for sample in &mut new.samples[..4] {
            (sample.count, sample.value) = (100, 100 * example::PERIOD);
        }
        diff(&base, &new, None, &View::default()).unwrap()
    }

    #[test]
    fn what_grew_too_much_fails_and_noise_does_not() {
        let profile = example::profile();
        let same = diff(&profile, &profile, None, &View::default()).unwrap();
        for same_work in [false, true] {
            let verdict = same.judge(gate(0.001, same_work));
            assert!(verdict.passed && verdict.functions.is_empty());
            assert_eq!(verdict.total.is_some(), same_work);
            assert!(verdict.line().starts_with("passed: nothing got 0.1% more"));
        }
        let verdict = grown().judge(gate(0.05, false));
        assert!(!verdict.passed && verdict.total.is_none());
        let first = &verdict.functions[0];
        assert_eq!(first.name, "fast_copy");
        assert!(first.growth > first.at_least && first.at_least > 0.05);
        let line = verdict.line();
        assert!(line.starts_with("failed: "), "{line}");
        assert!(line.ends_with(" got more than 5% more, with a confidence of 99%"), "{line}");
        // The same against a limit that it does not reach.
        assert!(grown().judge(gate(0.9, false)).passed);
        let whole = grown().judge(gate(0.05, true)).total.unwrap();
        assert!(whole.failed && whole.growth > 10.0, "{whole:?}");
    }

    #[test]
    fn a_row_stays_a_row_whatever_names_say() {
        for name in ["a|b", "a`b``c", example::HOSTILE, "operator||<T>"] {
            let cell = code(name);
            assert!(!cell.replace("\\|", "").contains('|'), "{cell}");
            assert!(!cell.contains('\n'));
        }
        assert_eq!(code("a`b``c"), "``` a`b``c ```");
        let diff = grown();
        let verdict = diff.judge(gate(0.05, true));
        let mut bytes = Vec::new();
        diff.write_markdown(Some(&verdict), 10, true, &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("**rprof: failed: the whole and "), "{text}");
        for line in text.lines().filter(|line| line.starts_with('|')) {
            assert_eq!(line.replace("\\|", "").matches('|').count(), 6, "{line}");
        }
        assert!(text.contains(" ❌ |") && text.contains("`fast_copy` |"), "{text}");
    }
}
