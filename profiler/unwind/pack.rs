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
