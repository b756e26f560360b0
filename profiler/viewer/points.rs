//! Values over time, sample by sample: for views that tell apart what the store's series do not.

use std::{ops::Range, time::Instant};

use web::Refusal;

use super::{
    answers::{Question, gone},
    broken, refusal,
};
use crate::query::{self, Gather, Lens, Points, Shown};

/// Samples are read in stretches of so long, ns, so that a question can be given up between two.
const STRETCH: u64 = 600_000_000_000;
/// The most of them: two years.
const STRETCHES: u64 = 100_000;
impl Question<'_> {
    /// What is shown of the samples of a stretch of time, one by one.
    pub(super) fn points(
        &mut self,
        shown: Shown<'_>,
        time: &Range<u64>,
    ) -> Result<Points, Refusal> {
        let mut samples = Vec::new();
        for part in self.stretches(time)? {
            timely(self.until)?;
            let read = &mut |sample| samples.push(sample);
            self.data.samples(0, &shown.source.name, &part, read).map_err(broken)?;
        }
        let mut gather = Gather::new(self.lens(shown)?);
        samples.iter().for_each(|sample| gather.add(sample));
        Ok(gather.finish())
    }

    /// What is in use in a stretch of time, as that changes. What is taken counts from the age on
    /// that the view asks for, unless it was freed before.
    pub(super) fn in_use(
        &mut self,
        shown: Shown<'_>,
        time: &Range<u64>,
    ) -> Result<Points, Refusal> {
        let (source, older) = (&shown.source.name, shown.view.older.unwrap_or_default());
        let store = self.data.store(0).map_err(broken)?;
        let first = store.in_use_since(source, time.start.max(1)).unwrap_or(time.start);
        let starts = store.spans().into_iter().map(|span| span.time.start);
        let mut starts: Vec<u64> = starts.filter(|at| (first + 1..time.end).contains(at)).collect();
        starts.insert(0, first);
        starts.push(time.end);
        let mut read = Vec::new();
        for recording in starts.windows(2) {
            let (mut samples, mut frees) = (Vec::new(), Vec::new());
            for part in self.stretches(&(recording[0]..recording[1]))? {
                timely(self.until)?;
                self.data
                    .samples(0, source, &part, &mut |one| samples.push(one))
                    .map_err(broken)?;
                self.data.frees(0, source, &part, &mut |one| frees.push(one)).map_err(broken)?;
            }
            read.push((recording[1], samples, frees));
        }
        let mut gather = Gather::in_use(self.lens(shown)?);
        for (end, samples, frees) in read {
            for mut sample in samples {
                sample.time = sample.time.saturating_add(older);
                if sample.time < end {
                    gather.add(&sample);
                }
            }
            for free in frees {
                let of_age = free.born.saturating_add(older);
                if of_age < end {
                    gather.free(&free, free.sample.time.max(of_age));
                }
            }
            if end < time.end {
                gather.forget(end);
            }
        }
        Ok(gather.finish())
    }

    /// What is in use at the end of a stretch of time, by when it was taken within it.
    pub(super) fn born(&mut self, shown: Shown<'_>, time: &Range<u64>) -> Result<Points, Refusal> {
        let (source, older) = (&shown.source.name, shown.view.older.unwrap_or_default());
        let store = self.data.store(0).map_err(broken)?;
        let since = store.in_use_since(source, time.end).unwrap_or(time.end);
        let taken = time.start.max(since)..time.end.saturating_sub(older);
        let (mut samples, mut frees) = (Vec::new(), Vec::new());
        for part in self.stretches(&(taken.start..time.end))? {
            timely(self.until)?;
            self.data.samples(0, source, &part, &mut |one| samples.push(one)).map_err(broken)?;
            self.data.frees(0, source, &part, &mut |one| frees.push(one)).map_err(broken)?;
        }
        let mut gather = Gather::in_use(self.lens(shown)?);
        let samples = samples.iter().filter(|sample| taken.contains(&sample.time));
        samples.for_each(|sample| gather.add(sample));
        let frees = frees.iter().filter(|free| taken.contains(&free.born));
        frees.for_each(|free| gather.free(free, free.born));
        Ok(gather.finish())
    }

    /// A stretch of time in parts, so that a question can be given up between two.
    fn stretches(&self, time: &Range<u64>) -> Result<Vec<Range<u64>>, Refusal> {
        let count = time.end.saturating_sub(time.start).div_ceil(STRETCH);
        if count > STRETCHES {
            return Err(refusal(query::Error::TooLong));
        }
        let part = |index: u64| {
            let start = time.start + index * STRETCH;
            start..(start + STRETCH).min(time.end)
        };
        Ok((0..count).map(part).collect())
    }

    /// What shows what the store's last answers have.
    fn lens<'a>(&'a mut self, shown: Shown<'a>) -> Result<Lens<'a>, Refusal> {
        self.data.names();
        let Some((part, names)) = self.data.part(0) else { return Err(gone()) };
        Lens::new(part, names, shown, self.until).map_err(refusal)
    }
}

fn timely(until: Instant) -> Result<(), Refusal> {
    if Instant::now() < until { Ok(()) } else { Err(refusal(query::Error::TooLong)) }
}
