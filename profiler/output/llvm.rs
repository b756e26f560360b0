//! llvm-sample: the text of a sample profile, which `clang -fprofile-sample-use=` reads, and rustc.
//!
//! ```text
//! function:total:head
//!  offset[.discriminator]: count [callee:count ...]
//!  offset[.discriminator]: inlined function:total
//!   offset: count
//! ```
//!
//! <https://clang.llvm.org/docs/UsersManual.html#sample-profile-text-format>. Lines count from the one
//! that their function begins on. The count of a line is that of its most sampled instruction, as
//! AutoFDO has it; a line that calls was executed as well where it was seen on a stack, and counts
//! as often as that. What came in by which call is not known of samples: `head` is the count of the
//! first line.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;

use anyhow::{Result, bail};

use super::{
    Map, Output,
    sites::{Site, Sites},
    summary, text,
};
use crate::model::{Profile, View};

/// LLVM keeps offsets in 16 bits (`FunctionSamples::getOffset`).
const OFFSET: u32 = 0xffff;

/// Sample profile as text.
pub struct LlvmSample;

impl Output for LlvmSample {
    fn name(&self) -> &'static str {
        "llvm-sample"
    }

    fn write(&self, profile: &Profile, _view: &View, out: &mut dyn Write) -> Result<()> {
        if profile.source.is_memory() {
            bail!("compilers want to know where CPU time goes: -s cpu");
        }
        let sites = Sites::of(profile)?;
        for line in
            [summary::origin(profile), summary::counts(profile)].iter().chain(&sites.left_out)
        {
            writeln!(out, "# {}", text::clean(line))?;
        }
        let functions = functions(profile, &sites);
        let mut order: Vec<(&String, &Body, u64)> =
            functions.iter().map(|(name, body)| (name, body, body.total())).collect();
        order.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(b.0)));
        for (name, body, total) in order {
            writeln!(out, "{name}:{total}:{}", body.head())?;
            body.write(1, out)?;
        }
        Ok(())
    }
}

/// Offset of a line from its function's first, and the discriminator.
type Place = (u32, u32);

/// The lines of a function, or of one place where it is inlined.
#[derive(Debug, Default)]
struct Body {
    lines: BTreeMap<Place, Line>,
}

#[derive(Debug, Default)]
struct Line {
    count: u64,
    calls: BTreeMap<String, u64>,
    inlined: BTreeMap<String, Body>,
}

/// All functions, by their names for the linker.
fn functions(profile: &Profile, sites: &Sites) -> BTreeMap<String, Body> {
    let tables = &profile.tables;
    let mut stacks: Map<u32, u64> = Map::default();
    for sample in &profile.samples {
        *stacks.entry(sample.stack).or_default() += sample.count;
    }
    // How often each place was on a stack, and what it called. Once for each stack: a function that
    // calls itself did not run more often for it.
    let mut counts: Map<u32, u64> = Map::default();
    let mut calls: Map<(u32, &str), u64> = Map::default();
    for (stack, count) in stacks {
        let mut seen = HashSet::new();
        let mut callee: Option<&str> = None;
        for frame in tables.stacks.frames(stack) {
            let chain = sites.get(frame);
            if seen.insert((frame, callee)) {
                if let Some(callee) = callee.filter(|_| chain.is_some()) {
                    *calls.entry((frame, callee)).or_default() += count;
                }
                let first = seen.insert((frame, Some("")));
                *counts.entry(frame).or_default() += if first { count } else { 0 };
            }
            callee = chain.and_then(|chain| chain.first()).map(|site| &*site.function);
        }
    }
    let mut functions: BTreeMap<String, Body> = BTreeMap::new();
    for (frame, count) in counts {
        let line = sites.get(frame).and_then(|chain| line_of(&mut functions, chain));
        if let Some(line) = line {
            line.count = line.count.max(count);
        }
    }
    for ((frame, callee), count) in calls {
        let line = sites.get(frame).and_then(|chain| line_of(&mut functions, chain));
        if let Some(line) = line.filter(|_| is_plain(callee)) {
            *line.calls.entry(callee.to_owned()).or_default() += count;
        }
    }
    functions
}

/// The line that a chain of inlined functions leads to; none if it cannot be told.
fn line_of<'f>(functions: &'f mut BTreeMap<String, Body>, chain: &[Site]) -> Option<&'f mut Line> {
    let known = |site: &Site| site.start > 0 && site.line > 0 && is_plain(&site.function);
    let (first, rest) = chain.split_first()?;
    if !chain.iter().all(known) {
        return None;
    }
    let mut body = functions.entry(first.function.clone()).or_default();
    let mut at = place(first);
    for site in rest {
        let line = body.lines.entry(at).or_default();
        body = line.inlined.entry(site.function.clone()).or_default();
        at = place(site);
    }
    Some(body.lines.entry(at).or_default())
}

fn place(site: &Site) -> Place {
    (site.line.wrapping_sub(site.start) & OFFSET, base_discriminator(site.discriminator))
}

/// A discriminator without what optimisations wrote into it
/// (`DILocation::getBaseDiscriminatorFromDiscriminator`).
fn base_discriminator(discriminator: u32) -> u32 {
    if discriminator & 1 == 1 {
        return 0;
    }
    let half = discriminator >> 1;
    if half & 0x20 == 0 { half & 0x1f } else { (half >> 1) & 0xfe0 | half & 0x1f }
}

/// A name that is one word, as all of a linker's that this format can tell.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Body {
    fn total(&self) -> u64 {
        let of = |line: &Line| line.count + line.inlined.values().map(Self::total).sum::<u64>();
        self.lines.values().map(of).sum()
    }

    fn head(&self) -> u64 {
        let Some(first) = self.lines.values().next() else { return 0 };
        first.inlined.values().map(Self::head).fold(first.count, u64::max)
    }

    fn write(&self, depth: usize, out: &mut dyn Write) -> Result<()> {
        for ((offset, discriminator), line) in &self.lines {
            let place = match discriminator {
                0 => offset.to_string(),
                discriminator => format!("{offset}.{discriminator}"),
            };
            if line.count > 0 {
                write!(out, "{:depth$}{place}: {}", "", line.count)?;
                for (callee, count) in &line.calls {
                    write!(out, " {callee}:{count}")?;
                }
                writeln!(out)?;
            }
        }
        // After all lines of its own, as LLVM writes them.
        for ((offset, discriminator), line) in &self.lines {
            let place = match discriminator {
                0 => offset.to_string(),
                discriminator => format!("{offset}.{discriminator}"),
            };
            for (name, body) in &line.inlined {
                writeln!(out, "{:depth$}{place}: {name}:{}", "", body.total())?;
                body.write(depth + 1, out)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(function: &str, start: u32, line: u32, discriminator: u32) -> Site {
        Site { function: function.into(), start, line, discriminator }
    }

    #[test]
    fn inlined_functions_stand_below_their_calls() {
        let mut functions = BTreeMap::new();
        for (chain, count) in [
            (vec![site("main", 10, 12, 0)], 5),
            (vec![site("main", 10, 14, 4), site("work", 3, 7, 0)], 90),
            (vec![site("main", 10, 14, 4), site("work", 3, 7, 0)], 70),
            (vec![site("main", 10, 14, 4), site("work", 3, 3, 0)], 1),
            (vec![site("_ZN1a1bEv", 20, 19, 0)], 2),
            (vec![site("two words", 1, 2, 0)], 9),
            (vec![site("unknown", 0, 2, 0)], 9),
        ] {
            let Some(line) = line_of(&mut functions, &chain) else { continue };
            line.count = line.count.max(count);
        }
        line_of(&mut functions, &[site("main", 10, 12, 0)])
            .unwrap()
            .calls
            .insert("_ZN1a1bEv".into(), 2);
        let mut bytes = Vec::new();
        for (name, body) in &functions {
            writeln!(bytes, "{name}:{}:{}", body.total(), body.head()).unwrap();
            body.write(1, &mut bytes).unwrap();
        }
        let expected = "_ZN1a1bEv:2:2\n 65535: 2\nmain:96:5\n 2: 5 _ZN1a1bEv:2\n 4.2: work:91\n  \
                        0: 1\n  4: 90\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn discriminators_are_those_of_the_source() {
        // Base 1 and 3; base 2 of a loop that was unrolled; what is no base at all.
        for (raw, base) in [(0, 0), (2, 1), (6, 3), (4 | 3 << 7, 2), (1, 0), (3, 0)] {
            assert_eq!(base_discriminator(raw), base, "{raw}");
        }
    }
}
