//! Events out of ring buffers, in the order of their time.
//!
//! Each source has a ring buffer of its own, and each CPU writes when it gets to it. So what was read
//! waits until nothing older can come, and is then handed on sorted, all sources together.

use std::{cell::RefCell, mem, os::fd::BorrowedFd, rc::Rc};

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, RingBuffer, RingBufferBuilder};

use crate::{bpf, machine};

/// What one look at a ring buffer takes at most, so that memory is bounded and a storm in one
/// source does not keep others waiting.
const LOOK: usize = 8192;

/// From when an event takes its time to when it can be read, ns, on a busy machine.
const SLACK: u64 = 5_000_000;

/// Where the record of an event is.
#[derive(Clone, Copy)]
struct Place {
    time: u64,
    source: usize,
    start: usize,
    bytes: usize,
}

/// Records that were read and not handed on.
#[derive(Default)]
struct Waiting {
    records: Vec<u8>,
    places: Vec<Place>,
    last: u64,
}

impl Waiting {
    fn push(&mut self, source: usize, record: &[u8]) {
        let Some(event) = bpf::read::<bpf::event>(record) else { return };
        let start = self.records.len();
        self.records.extend_from_slice(record);
        self.last = event.time;
        self.places.push(Place { time: event.time, source, start, bytes: record.len() });
    }

    /// Hands on what happened until `limit`, sorted; keeps the rest.
    fn hand_on(
        &mut self,
        limit: u64,
        each: &mut dyn FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        self.places.sort_by_key(|place| place.time);
        let ready = self.places.partition_point(|place| place.time <= limit);
        for place in &self.places[..ready] {
            each(place.source, &self.records[place.start..place.start + place.bytes])?;
        }
        if ready == self.places.len() {
            self.places.clear();
            self.records.clear();
            return Ok(());
        }
        let old = mem::take(&mut self.records);
        let mut places = self.places.split_off(ready);
        for place in &mut places {
            let start = self.records.len();
            self.records.extend_from_slice(&old[place.start..place.start + place.bytes]);
            place.start = start;
        }
        self.places = places;
        Ok(())
    }
}

/// The ring buffers of all sources.
#[derive(Default)]
pub struct EventRings {
    rings: Vec<RingBuffer<'static>>,
    waiting: Rc<RefCell<Waiting>>,
}

impl EventRings {
    /// Adds the ring buffer of the next source; their numbers count from 0.
    ///
    /// # Errors
    /// It cannot be mapped.
    pub fn add(&mut self, map: &dyn MapCore) -> Result<()> {
        let (waiting, source) = (Rc::clone(&self.waiting), self.rings.len());
        let mut builder = RingBufferBuilder::new();
        builder.add(map, move |record: &[u8]| {
            waiting.borrow_mut().push(source, record);
            0
        })?;
        self.rings.push(builder.build().context("cannot map the ring buffer")?);
        Ok(())
    }

    /// Become readable when a ring buffer fills.
    pub fn wakeup_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rings.iter().map(bpf::epoll_fd)
    }

    /// Reads what there is, and hands on what nothing older can come to any more: the number of its
    /// source, and the record. True if there is more to read at once.
    ///
    /// # Errors
    /// A ring buffer cannot be read; or the first that `each` has.
    pub fn read(&mut self, each: &mut dyn FnMut(usize, &[u8]) -> Result<()>) -> Result<bool> {
        let mut limit = machine::monotonic_ns().saturating_sub(SLACK);
        let mut more = false;
        for ring in &self.rings {
            if self.look(ring)? == LOOK {
                // Whatever comes next from this one is hardly older than what it gave last.
                limit = limit.min(self.waiting.borrow().last.saturating_sub(SLACK));
                more = true;
            }
        }
        self.waiting.borrow_mut().hand_on(limit, each)?;
        Ok(more)
    }

    /// Hands on all that there is: nothing comes any more.
    ///
    /// # Errors
    /// As of [`EventRings::read`].
    pub fn finish(&mut self, each: &mut dyn FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
        while self.read(each)? {}
        self.waiting.borrow_mut().hand_on(u64::MAX, each)
    }

    fn look(&self, ring: &RingBuffer<'_>) -> Result<usize> {
        let read = ring.consume_raw_n(LOOK);
        usize::try_from(read).with_context(|| format!("cannot read the ring buffer: error {read}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(time: u64, text: &str) -> Vec<u8> {
        let event = bpf::event { time, ..Default::default() };
        [bpf::bytes(&event), text.as_bytes()].concat()
    }

    #[test]
    fn events_of_several_sources_come_in_the_order_of_their_time() {
        let mut waiting = Waiting::default();
        let mut seen = Vec::new();
        let head = mem::size_of::<bpf::event>();
        for (source, time, text) in [(0, 30, "c"), (1, 10, "aa"), (0, 20, "b"), (1, 50, "late")] {
            waiting.push(source, &record(time, text));
        }
        let mut each = |source: usize, record: &[u8]| {
            seen.push((source, String::from_utf8(record[head..].to_vec())?));
            Ok(())
        };
        waiting.hand_on(30, &mut each).unwrap();
        waiting.push(0, &record(40, "d"));
        waiting.hand_on(u64::MAX, &mut each).unwrap();
        let expected = [(1, "aa"), (0, "b"), (0, "c"), (0, "d"), (1, "late")];
        assert_eq!(seen, expected.map(|(source, text)| (source, text.to_owned())));
        assert!(waiting.records.is_empty() && waiting.places.is_empty());
    }

    #[test]
    fn a_record_cut_short_is_none() {
        let mut waiting = Waiting::default();
        waiting.push(0, &record(1, "")[..20]);
        assert!(waiting.places.is_empty());
    }
}
