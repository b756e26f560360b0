//! The viewer's side of a store: turns each question of the API into a view, asks `query`, and
//! gives the answer as bytes. What listens and who may ask is the crate `web`'s.

mod answers;
mod data;
mod lanes;
mod metrics;
mod points;
mod words;

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use web::{Answer, Backend, Reason, Refusal, Request};

use crate::query;
use answers::Question;
use data::Data;
use words::invalid;

/// How long may be read before anything was asked.
const WARM_UP: Duration = Duration::from_secs(60);

const JSON: &str = "application/json";

/// A store, and perhaps another to compare it with, for the viewer.
pub struct Viewer {
    /// One question at a time: they are short, share what they read, and would only take the
    /// machine's CPUs from one another.
    data: Mutex<Data>,
}

impl Viewer {
    /// The viewer of the recording or folder at `path`, to be compared with that at `base`.
    pub fn new(path: &Path, base: Option<&Path>) -> Self {
        Self { data: Mutex::new(Data::new(path, base)) }
    }

    /// Reads what the page asks for first, so that it is there by then.
    pub fn warm_up(&self) {
        let until = Instant::now() + WARM_UP;
        // What fails here fails again when it is asked for, and is said then.
        let _ = Question { data: &mut self.data(), until }.answer("flamegraph", &[]);
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Viewer {
    fn state(&self, _: &Request) -> Result<String, Refusal> {
        Ok(self.data().state())
    }

    fn answer(&self, request: &Request) -> Result<Answer, Refusal> {
        let mut data = self.data();
        // It may have waited for another question all its time.
        if Instant::now() > request.until {
            return Err(refusal(query::Error::TooLong));
        }
        data.begin();
        if request.name == "metrics" {
            return metrics::metrics(&mut data);
        }
        Question { data: &mut data, until: request.until }.answer(&request.name, &request.words)
    }

    fn end(&self) -> Option<f64> {
        let time = self.data().store(0).ok()?.time();
        (!time.is_empty()).then_some(time.end as f64 / 1e6)
    }
}

fn broken(error: anyhow::Error) -> Refusal {
    Refusal::new(Reason::Broken, format!("{error:#}"))
}

fn refusal(error: query::Error) -> Refusal {
    match error {
        query::Error::TooLong => {
            let words = "this takes too long; ask for less time, or filter less";
            Refusal::new(Reason::Busy, words)
        }
        query::Error::Missing(words) => Refusal::new(Reason::Missing, words),
    }
}
