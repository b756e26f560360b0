//! Spans of rows, laid over each other and packed into pages.
//!
//! Files overlap their functions, list them in any order and leave holes between them; what
//! comes out is one rule for each address. Where functions of one section overlap, the one that
//! starts later counts from its start on, which is what the binary search of every unwinder that
//! uses `.eh_frame_hdr` makes of it.

use super::error::{Error, bound};
use super::frames::{Frames, Row, Span};
use super::image::Segment;
use super::table::{MAX_PAGES, PAGE_BITS, Page, Table};

/// Shorter holes than this that end at a multiple of it are the padding that assemblers put
/// before a function. Nothing runs there, so they get no row of their own, and rows on both
/// sides of them can merge: a quarter of node's rows go that way.
pub const ALIGNMENT: u64 = 16;

/// Where in the spans of a [`Frames`] its layers end: `.eh_frame`, `.debug_frame`, PLTs. An
/// earlier one hides the later ones.
pub(super) type Layers = [usize; 3];

/// Packs `frames` into a table, within the executable segments.
pub(super) fn pack(
    mut frames: Frames,
    layers: Layers,
    segments: &[Segment],
) -> Result<Table, Error> {
    let mut spans = Vec::new();
    let mut from = 0;
    let mut covered = [0; 3];
    for (covered, to) in covered.iter_mut().zip(layers) {
        let layer = flatten(frames.spans[from..to].to_vec());
        let inside = clip(&layer, segments);
        frames.facts.outside += bytes(&layer) - bytes(&inside);
        spans = underlay(spans, &inside);
        *covered = bytes(&spans);
        from = to;
    }
    let (Some(first), Some(last)) = (spans.first(), spans.last()) else {
        return Err(Error::NoTable);
    };
    let (first, last) = (first.start >> PAGE_BITS, (last.end - 1) >> PAGE_BITS);
    bound("pages of 64 KiB", last - first + 1, MAX_PAGES)?;
    frames.facts.covered = covered[2];
    frames.facts.debug = covered[1] - covered[0];
    frames.facts.plt = covered[2] - covered[1];
    let mut packer = Packer::new(first);
    let mut end = spans[0].start;
    for span in &spans {
        if span.start > end && !is_padding(end, span.start) {
            packer.push(end, 0);
        }
        packer.span(span, &frames.rows);
        end = span.end;
    }
    if end >> PAGE_BITS <= last {
        packer.push(end, 0);
    }
    packer.open(last, false);
    packer.rows.shrink_to_fit();
    Ok(Table {
        first_page: first,
        pages: packer.pages,
        rows: packer.rows,
        rules: frames.rules.rules().to_vec(),
        facts: frames.facts,
    })
}

fn bytes(spans: &[Span]) -> u64 {
    spans.iter().map(|span| span.end - span.start).sum()
}

/// Whether no function can lie in the hole `start..end`.
pub(super) fn is_padding(start: u64, end: u64) -> bool {
    end - start < ALIGNMENT && end.is_multiple_of(ALIGNMENT)
}

/// Sorts spans and cuts each off where the next starts.
fn flatten(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by_key(|span| span.start);
    // Identical code that the linker folded has several entries: the first will do.
    spans.dedup_by_key(|span| span.start);
    for at in 1..spans.len() {
        let next = spans[at].start;
        let end = &mut spans[at - 1].end;
        *end = (*end).min(next);
    }
    spans
}

/// Keeps what lies in executable segments.
fn clip(spans: &[Span], segments: &[Segment]) -> Vec<Span> {
    let mut ranges: Vec<(u64, u64)> = segments
        .iter()
        .filter(|segment| segment.executable)
        .map(|segment| (segment.address, segment.address.saturating_add(segment.size)))
        .collect();
    ranges.sort_unstable();
    let mut out = Vec::with_capacity(spans.len());
    let mut reached = 0;
    for (start, end) in ranges {
        // Segments may overlap; each address counts once.
        let start = start.max(reached);
        reached = end.max(reached);
        let from = spans.partition_point(|span| span.end <= start);
        let inside = spans[from..].iter().take_while(|span| span.start < end);
        out.extend(inside.map(|span| Span {
            start: span.start.max(start),
            end: span.end.min(end),
            ..*span
        }));
    }
    out.retain(|span| span.start < span.end);
    out
}

/// Adds to `upper` what `lower` says of addresses that `upper` does not have. Both are sorted and
/// free of overlap, and so is the result.
fn underlay(upper: Vec<Span>, lower: &[Span]) -> Vec<Span> {
    let mut out = Vec::with_capacity(upper.len() + lower.len());
    let mut above = upper.iter().peekable();
    for span in lower {
        let mut start = span.start;
        while start < span.end {
            let next = above.peek().filter(|next| next.start < span.end);
            let end = next.map_or(span.end, |next| next.start);
            if start < end {
                out.push(Span { start, end, ..*span });
            }
            let Some(next) = next else { break };
            start = start.max(next.end);
            if next.end > span.end {
                break;
            }
            out.push(**next);
            above.next();
        }
    }
    out.extend(above);
    out
}

struct Packer {
    first_page: u64,
    pages: Vec<Page>,
    rows: Vec<u32>,
    /// The rule in force.
    rule: u16,
}

impl Packer {
    fn new(first_page: u64) -> Self {
        Self { first_page, pages: Vec::new(), rows: Vec::new(), rule: 0 }
    }

    /// All of one span. Its rows may start before it, where an earlier span hides them.
    fn span(&mut self, span: &Span, rows: &[Row]) {
        let rows = &rows[span.first as usize..(span.first + span.count) as usize];
        let hidden = span.start - span.origin;
        let next = rows.partition_point(|row| u64::from(row.offset) <= hidden);
        let head = next.checked_sub(1).map_or(0, |head| rows[head].rule);
        self.push(span.start, head);
        for row in &rows[next..] {
            let address = span.origin + u64::from(row.offset);
            if address >= span.end {
                break;
            }
            self.push(address, row.rule);
        }
    }

    /// From `address` on, `rule` is in force. Addresses must ascend.
    #[inline]
    fn push(&mut self, address: u64, rule: u16) {
        if rule == self.rule {
            return;
        }
        let low = (address as u32) << PAGE_BITS;
        self.open(address >> PAGE_BITS, low == 0);
        if let Some(page) = self.pages.last_mut() {
            if page.count == 0 && low != 0 {
                self.rows.push(0);
                page.count = 1;
            }
            self.rows.push(low | u32::from(rule));
            page.count += 1;
        }
        self.rule = rule;
    }

    /// Makes pages up to number `last`, each starting with the rule in force; without a row where
    /// that is none, as long as no other follows. `replaced`: a row for the first byte of `last`
    /// comes next.
    fn open(&mut self, last: u64, replaced: bool) {
        while self.first_page + self.pages.len() as u64 <= last {
            let is_last = self.first_page + self.pages.len() as u64 == last;
            let first = self.rows.len() as u32;
            let needed = !(is_last && replaced) && self.rule != 0;
            if needed {
                self.rows.push(u32::from(self.rule));
            }
            self.pages.push(Page { first, count: u32::from(needed) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::{Kind, Rule};
    use super::*;

    /// xorshift64.
    fn below(seed: &mut u64, limit: u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed % limit
    }

    /// Three layers of functions anywhere in three pages, of a few rows each.
    fn random(seed: &mut u64) -> (Frames, Layers) {
        let mut frames = Frames::new();
        let mut layers = [0; 3];
        for layer in &mut layers {
            for _ in 0..below(seed, 12) {
                // Odd, so that no hole before it counts as padding.
                let start = (0x1_0000 + below(seed, 0x3_0000)) | 1;
                let first = frames.rows.len();
                let mut offset = 0;
                for _ in 0..=below(seed, 4) {
                    let rule = Rule::plain(Kind::Sp, 8 * below(seed, 9) as i32);
                    frames.row(first, offset, rule);
                    offset += below(seed, 0x8000) as u32;
                }
                frames.span(start, start + 1 + below(seed, 0x1_8000), first);
            }
            *layer = frames.spans.len();
        }
        (frames, layers)
    }

    /// The rule at `address`, as one would look for it by hand.
    fn expected(frames: &Frames, layers: Layers, address: u64) -> Option<Rule> {
        let starts = [0, layers[0], layers[1]];
        starts.iter().zip(layers).find_map(|(&from, to)| {
            let spans = &frames.spans[from..to];
            let start = spans.iter().map(|span| span.start).filter(|start| *start <= address);
            let start = start.max()?;
            let span = spans.iter().find(|span| span.start == start)?;
            let rows = &frames.rows[span.first as usize..(span.first + span.count) as usize];
            let row = rows.iter().rfind(|row| span.origin + u64::from(row.offset) <= address)?;
            (address < span.end).then(|| frames.rules.rules()[usize::from(row.rule)])
        })
    }

    #[test]
    fn layers_and_pages_agree_with_a_search_by_hand() {
        let segment = |address, size| Segment { offset: 0, address, size, executable: true };
        let segments = [segment(0x1_0123, 0x1_8000), segment(0x2_8000, 0x1_0000)];
        let inside = |address: u64| {
            let within = |s: &Segment| (s.address..s.address + s.size).contains(&address);
            segments.iter().any(within)
        };
        let mut seed = 7;
        for _ in 0..300 {
            let (frames, layers) = random(&mut seed);
            let by_hand: Vec<(u64, Rule)> = (0..200)
                .map(|_| 0x1_0000 + below(&mut seed, 0x4_0000))
                .chain(frames.spans.iter().flat_map(|span| [span.start, span.end, span.end - 1]))
                .map(|address| (address, inside(address), expected(&frames, layers, address)))
                .map(|(address, inside, rule)| (address, rule.filter(|_| inside)))
                .map(|(address, rule)| (address, rule.unwrap_or(Rule::NONE)))
                .collect();
            let Ok(table) = pack(frames, layers, &segments) else {
                assert!(by_hand.iter().all(|(_, rule)| *rule == Rule::NONE));
                continue;
            };
            for (address, rule) in by_hand {
                assert_eq!(table.lookup(address), rule, "{address:#x}");
            }
        }
    }
}
