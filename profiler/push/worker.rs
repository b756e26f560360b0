//! Brings windows of a store to receivers, each at its own pace: a thread a receiver, one reader of
//! the store for all.
//!
//! No receiver can hold up another, since a batch is read and packed before it is sent, and nothing
//! is locked while one waits for an answer.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};

use super::{
    Address, Parcel, Progress, Receiver, Refusal, Settings, batch::Batch, progress, receiver,
    retry::BackOff,
};
use crate::store::Store;

/// What is in use is told once in so many windows: it is told as a whole each time.
const HELD_EVERY: u64 = 6;
/// Attempts to send one parcel of a recording.
const ATTEMPTS: u64 = 6;
/// How often a failure that lasts is told again.
const TELL_AGAIN: Duration = Duration::from_secs(600);

/// When what is sent.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time of a window.
    pub window: Duration,
    /// How long after its end it is sent: samples come late, and names later.
    pub settle: Duration,
    /// What is older is given up.
    pub keep: Duration,
    /// The wait after a first failure.
    pub back_off: Duration,
}

/// A store that several receivers are fed from.
pub struct Feed {
    store: Mutex<(Store, Option<Arc<Batch>>)>,
    window: u64,
}

impl Feed {
    /// Opens the store at `path`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: &Path, window: Duration) -> Result<Self> {
        let store = Mutex::new((Store::open(path)?, None));
        Ok(Self { store, window: window.as_nanos() as u64 })
    }

    /// What there is of the window of that number: they are counted from the Unix epoch.
    fn batch(&self, slot: u64, refresh: bool) -> Result<Arc<Batch>> {
        let time = slot * self.window..(slot + 1) * self.window;
        let mut locked = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let (store, last) = &mut *locked;
        // Most of the time receivers want the same one.
        if let Some(last) = last.as_ref().filter(|last| last.time == time) {
            return Ok(last.clone());
        }
        if refresh {
            store.refresh()?;
        }
        // A recording may end before its last windows do.
        let last_of_all = !refresh && time.end >= store.time().end;
        let held = ((slot + 1).is_multiple_of(HELD_EVERY) || last_of_all).then(|| {
            let first = slot / HELD_EVERY * HELD_EVERY;
            first * self.window..time.end
        });
        let batch = Arc::new(Batch::read(store, &time, held.as_ref())?);
        *last = Some(batch.clone());
        Ok(batch)
    }

    /// The windows of all that there is.
    fn slots(&self) -> Range<u64> {
        let locked = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let time = locked.0.time();
        time.start / self.window..time.end.div_ceil(self.window)
    }
}

/// Sends all of a recording to a receiver; gives what came of it.
///
/// # Errors
/// Something was not taken: says why.
pub fn push_all(
    feed: &Feed,
    address: &Address,
    settings: &Settings,
    pace: &Pace,
) -> Result<Progress> {
    let mut receiver = receiver(address, settings)?;
    let mut progress = Progress { receiver: address.to_string(), ..Progress::default() };
    for slot in feed.slots() {
        let batch = feed.batch(slot, false)?;
        for parcel in receiver.pack(&batch)? {
            let mut back_off = BackOff::new(pace.back_off);
            loop {
                match receiver.send(&parcel) {
                    Ok(not_taken) => {
                        progress.note(&parcel, not_taken.as_ref());
                        if let Some((refused, why)) = not_taken {
                            tracing::warn!("{address} left out {refused} profiles: {why}");
                        }
                        break;
                    }
                    Err(Refusal::Later(why, after)) => {
                        if back_off.failures + 1 >= ATTEMPTS {
                            bail!("{address} does not take it after {ATTEMPTS} attempts: {why}");
                        }
                        let wait = back_off.wait(after);
                        tracing::info!("{address}: {why}; next attempt in {wait:.1?}");
                        progress.failed += 1;
                        thread::sleep(wait);
                    }
                    Err(refusal) => bail!("{address} does not take it: {refusal}"),
                }
            }
        }
        progress.windows += u64::from(!batch.parts.is_empty());
        progress.crowded += batch.crowded;
    }
    Ok(progress)
}

impl Progress {
    fn note(&mut self, parcel: &Parcel, not_taken: Option<&(u64, String)>) {
        let refused = not_taken.map_or(0, |(refused, _)| *refused).min(parcel.profiles);
        self.profiles += parcel.profiles - refused;
        self.refused += refused;
        self.bytes += parcel.body.len() as u64;
    }
}

/// Feeds a receiver from an agent's store, and never returns.
pub fn follow(feed: &Feed, store: &Path, address: &Address, settings: &Settings, pace: Pace) -> ! {
    let mut back_off = BackOff::new(pace.back_off);
    let receiver = loop {
        match receiver(address, settings) {
            Ok(receiver) => break receiver,
            Err(error) => {
                tracing::warn!("{address}: {error:#}");
                thread::sleep(back_off.wait(None));
            }
        }
    };
    let folder = progress::folder(store);
    let progress = Progress::read(&folder, address);
    Follower {
        feed,
        address,
        receiver,
        pace,
        folder,
        progress,
        back_off: BackOff::new(pace.back_off),
        told: None,
        unwritten: false,
    }
    .run()
}

/// One receiver of a store that grows.
struct Follower<'a> {
    feed: &'a Feed,
    address: &'a Address,
    receiver: Box<dyn Receiver>,
    pace: Pace,
    folder: PathBuf,
    progress: Progress,
    back_off: BackOff,
    /// When it was last told that nothing is taken, and what was dropped until then.
    told: Option<(SystemTime, u64)>,
    /// True once it was told that progress cannot be kept.
    unwritten: bool,
}

impl Follower<'_> {
    fn run(mut self) -> ! {
        tracing::info!("pushing to {}", self.address);
        let window = self.pace.window.as_nanos() as u64;
        loop {
            let slot = self.next(window);
            let due = (slot + 1) * window + self.pace.settle.as_nanos() as u64;
            let left = Duration::from_nanos(due.saturating_sub(now()));
            if !left.is_zero() {
                // Not all of them at once, where clocks are changed.
                thread::sleep(left.min(Duration::from_secs(60)));
                continue;
            }
            match self.deliver(slot) {
                Ok(true) => self.progress.windows += 1,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!("{}: a window is left out: {error:#}", self.address);
                    self.progress.dropped += 1;
                }
            }
            self.progress.until = (slot + 1) * window;
            self.keep();
            // What was missed is not to take all of a CPU, nor all of a network.
            thread::sleep(self.pace.window / 10);
        }
    }

    /// The number of the window that is next; what is too old is given up.
    fn next(&mut self, window: u64) -> u64 {
        let now = now();
        let settled = now.saturating_sub(self.pace.settle.as_nanos() as u64);
        let until = self.progress.until;
        // New here; or clocks went back by more than a window takes to be sent.
        if until == 0 || until > now.saturating_add(window) {
            self.progress.until = settled / window * window;
        }
        let oldest = settled.saturating_sub(self.pace.keep.as_nanos() as u64);
        if self.progress.until < oldest / window * window {
            let lost = oldest / window - self.progress.until / window;
            self.progress.dropped += lost;
            self.progress.until = oldest / window * window;
            tracing::warn!(
                "{}: {lost} windows have waited too long and are left out",
                self.address
            );
        }
        self.progress.until / window
    }

    /// Sends a window, however often it takes; false where there is nothing in it or it is too old
    /// by now.
    fn deliver(&mut self, slot: u64) -> Result<bool> {
        let batch = self.feed.batch(slot, true)?;
        self.progress.crowded += batch.crowded;
        if batch.parts.is_empty() {
            return Ok(false);
        }
        let parcels = self.receiver.pack(&batch).context("it cannot be written")?;
        let end = batch.time.end;
        drop(batch);
        let patience = (self.pace.keep + self.pace.settle).as_nanos() as u64;
        for parcel in parcels {
            while let Err((refusal, after)) = self.send(&parcel) {
                self.progress.failed += 1;
                let wait = self.back_off.wait(after);
                self.tell(&refusal);
                self.keep();
                thread::sleep(wait);
                if now() > end.saturating_add(patience) {
                    bail!("it has waited too long");
                }
            }
        }
        Ok(true)
    }

    /// One attempt. What will never be taken is counted and is done with.
    fn send(&mut self, parcel: &Parcel) -> Result<(), (String, Option<Duration>)> {
        match self.receiver.send(parcel) {
            Ok(not_taken) => {
                if let Some((refused, why)) = &not_taken {
                    tracing::warn!("{} left out {refused} profiles: {why}", self.address);
                }
                self.progress.note(parcel, not_taken.as_ref());
                if self.back_off.failures > 0 {
                    let failures = self.back_off.failures;
                    tracing::info!(
                        "{} takes profiles again, after {failures} failures",
                        self.address
                    );
                }
                self.back_off.reset();
                self.told = None;
                Ok(())
            }
            Err(Refusal::Never(why)) => {
                tracing::warn!("{} refuses {} profiles: {why}", self.address, parcel.profiles);
                self.progress.refused += parcel.profiles;
                self.back_off.reset();
                Ok(())
            }
            Err(Refusal::Later(why, after)) => Err((why, after)),
            Err(Refusal::Setup(why)) => Err((why, None)),
        }
    }

    /// Tells of a failure: the first, and then now and again.
    fn tell(&mut self, why: &str) {
        let now = SystemTime::now();
        let due = self
            .told
            .is_none_or(|(at, _)| now.duration_since(at).is_ok_and(|since| since >= TELL_AGAIN));
        if due {
            self.told = Some((now, self.progress.dropped));
            tracing::warn!("{} takes nothing: {why}", self.address);
        } else {
            tracing::debug!("{}: {why}", self.address);
        }
    }

    fn keep(&mut self) {
        if let Err(error) = self.progress.write(&self.folder, self.address) {
            if !self.unwritten {
                tracing::warn!("{}: {error:#}; a restart begins anew", self.address);
            }
            self.unwritten = true;
        }
    }
}

/// ns since the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}
