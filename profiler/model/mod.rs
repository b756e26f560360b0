//! The profile model: small integers into tables.
//!
//! Strings, binaries, functions, frames, stacks, processes and threads are each kept once and referred to by
//! index, so a sample is a handful of numbers. The model knows nothing of BPF, of files or of
//! formats: capture fills it, the store keeps it, a view narrows it, an output walks it.

mod allocator;
mod compare;
mod event;
mod histogram;
mod idle;
mod info;
mod label;
mod lane;
mod moment;
mod names;
mod profile;
mod stack;
mod state;
mod table;
mod view;

pub use allocator::{ALLOCATORS, is_allocator};
pub use compare::{
    FALSE_DISCOVERIES, Side, amount_error, difference_z, p_value, quantile, share_error,
    significant, z,
};
pub use event::{CallTotals, Event, Field, Value};
pub use histogram::{BUCKETS, Bucket, Histogram, Interval, Key, Series};
pub use idle::{Idle, is_idle};
pub use info::{Info, Overhead, SourceInfo, Stats, UnwindTables, ValueType};
pub use label::{Label, UID_UNKNOWN, container, unit};
pub use lane::{LaneInfo, LaneKind, LaneStats, Mark, Slice};
pub use moment::{Moment, parse_span};
pub use names::{Name, NameKind};
pub use profile::{
    Binary, Frame, FrameKind, Free, Function, Line, Process, Profile, Sample, Tables, Thread,
};
pub use stack::{EMPTY_STACK, Stacks};
pub use state::{IDLE, WaitState};
pub use table::{Strings, Table};
pub use view::{Detail, Measure, Only, View, parse_by};
