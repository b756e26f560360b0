//! Answers about a recording: pure functions from what the store gives to what a program reads.
//!
//! All of them are made of the same samples and the same view, so their sums agree: the total of a
//! flame graph is that of the table and that of the time line. Nothing here knows of HTTP.

use std::time::Instant;

mod callers;
mod labels;
mod lanes;
mod marks;
mod names;
#[cfg(test)]
mod oracle;
mod pictures;
mod straight;
mod summary;
mod table;
mod time;
mod tree;
mod weights;

pub use labels::{Labels, labels};
pub use lanes::{EventsLane, Grid, Lane, Latency, LatencyLane, Quantiles, StacksLane, Whom};
pub use marks::{Mark, Marks, Processes, Run, distinct, listed, processes};
pub use names::{Mapping, Names};
pub use pictures::{Sandwich, flamegraph, sandwich, table};
pub use straight::Scratch;
pub use summary::{Honesty, Span, Summary, honesty, summary, unnamed};
pub use table::Table;
pub use time::{
    COLUMNS_MAX, Gather, Heatmap, Points, Timeline, heatmap, heatmap_range, lane, timeline,
};
pub use tree::{BOXES_MAX, Flamegraph, Sides};
pub use weights::{Lens, Part, Shown, Weights};

/// Why there is no answer.
#[derive(Debug, Eq, PartialEq)]
pub enum Error {
    /// It took longer than whoever asked waits.
    TooLong,
    /// There is nothing of that name.
    Missing(String),
}

/// An answer, or why there is none.
pub type Result<T> = std::result::Result<T, Error>;

/// Fails once it is `until`.
fn timely(until: Instant) -> Result<()> {
    if Instant::now() < until { Ok(()) } else { Err(Error::TooLong) }
}

/// The most that all values of an answer may come to: a damaged recording may say anything, and
/// sums are made of these without end.
const SUM_MAX: u64 = 1 << 62;
