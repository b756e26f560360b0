//! Names, found by a thread of its own: files in parallel, each address once.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Instant,
};

use anyhow::{Context, Result};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use symbolizer::{Image, PerfMap, Symbol, Symbols, vdso};

/// A frame whose name was found.
pub struct Named {
    /// Frame.
    pub frame: u32,
    /// Its functions, innermost inlined one first; never empty.
    pub symbols: Symbols,
}

/// One question: what is there to ask, and for which frames at which addresses.
struct Question {
    about: Subject,
    frames: Vec<u32>,
    addresses: Vec<u64>,
}

enum Subject {
    File(Arc<Image>),
    Vdso,
    /// The perf map of a process, opened while it lived.
    Jit(Arc<PerfMap>),
}

/// Asks for names and collects the answers.
pub struct Naming {
    waiting: HashMap<Key, Question, foldhash::fast::RandomState>,
    perf_maps: HashMap<u32, Option<Arc<PerfMap>>>,
    questions: Sender<Vec<Question>>,
    answers: Receiver<Vec<Named>>,
    unanswered: usize,
    /// Of those, how many nobody waits for any more: they come first.
    forgotten: usize,
}

#[derive(Eq, Hash, PartialEq)]
enum Key {
    File(*const Image),
    Vdso,
    Jit(u32),
}

/// Perf maps kept open.
const PERF_MAPS_MAX: usize = 1024;

impl Naming {
    /// Starts the thread.
    ///
    /// # Errors
    /// No more threads are allowed.
    pub fn start() -> Result<Self> {
        let (questions, inbox) = channel::<Vec<Question>>();
        let (outbox, answers) = channel();
        thread::Builder::new()
            .name("rprof-names".into())
            .spawn(move || {
                while let Ok(batch) = inbox.recv() {
                    let named = batch.into_par_iter().flat_map_iter(answer).collect();
                    if outbox.send(named).is_err() {
                        return;
                    }
                }
            })
            .context("cannot start a thread")?;
        Ok(Self {
            waiting: HashMap::default(),
            perf_maps: HashMap::new(),
            questions,
            answers,
            unanswered: 0,
            forgotten: 0,
        })
    }

    /// Asks for the name of an address in a file.
    pub fn file(&mut self, image: Arc<Image>, address: u64, frame: u32) {
        self.ask(Key::File(Arc::as_ptr(&image)), || Subject::File(image), address, frame);
    }

    /// Asks for the name of an offset in the vdso.
    pub fn vdso(&mut self, offset: u64, frame: u32) {
        self.ask(Key::Vdso, || Subject::Vdso, offset, frame);
    }

    /// Asks for the name of an address in code that process `pid` made, if it keeps a perf map.
    pub fn jit(&mut self, pid: u32, address: u64, frame: u32) {
        if self.perf_maps.len() >= PERF_MAPS_MAX {
            self.perf_maps.clear();
        }
        let open = || PerfMap::open(pid).ok().map(Arc::new);
        let map = self.perf_maps.entry(pid).or_insert_with(open);
        if let Some(map) = map.clone() {
            self.ask(Key::Jit(pid), || Subject::Jit(map), address, frame);
        }
    }

    /// Sends off what was asked since the last call.
    pub fn send(&mut self) {
        // A process may start its perf map at any time: look again with the next batch.
        self.perf_maps.retain(|_, map| map.is_some());
        if self.waiting.is_empty() {
            return;
        }
        let batch = self.waiting.drain().map(|(_, question)| question).collect();
        // It fails only if the thread is gone, and then frames stay without names.
        self.unanswered += usize::from(self.questions.send(batch).is_ok());
    }

    /// The answers that are there, and those that come until `deadline`.
    pub fn receive(&mut self, deadline: Instant) -> Vec<Named> {
        let mut named = Vec::new();
        while self.unanswered > 0 {
            let patience = deadline.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(patience) {
                Ok(_) if self.forgotten > 0 => self.forgotten -= 1,
                Ok(mut batch) => named.append(&mut batch),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    (self.unanswered, self.forgotten) = (0, 0);
                    break;
                }
            }
            self.unanswered -= 1;
        }
        named
    }

    /// True if no question waits for its answer.
    pub fn is_idle(&self) -> bool {
        self.unanswered == 0
    }

    /// Drops all questions, also those that were sent: the frames are nobody's any more.
    pub fn forget(&mut self) {
        self.waiting.clear();
        self.forgotten = self.unanswered;
    }

    fn ask(&mut self, key: Key, about: impl FnOnce() -> Subject, address: u64, frame: u32) {
        let question = self.waiting.entry(key).or_insert_with(|| Question {
            about: about(),
            frames: Vec::new(),
            addresses: Vec::new(),
        });
        question.frames.push(frame);
        question.addresses.push(address);
    }
}

fn answer(question: Question) -> impl Iterator<Item = Named> {
    let Question { about, frames, addresses } = question;
    let symbols = match about {
        Subject::File(image) => image.symbolize(&addresses),
        Subject::Vdso => vdso::symbolize(&addresses),
        Subject::Jit(map) => map
            .symbolize(&addresses)
            .unwrap_or_default()
            .into_iter()
            .map(|name| name.map(jit_symbol).into_iter().collect())
            .collect(),
    };
    let named = frames.into_iter().zip(symbols);
    named
        .filter(|(_, symbols)| !symbols.is_empty())
        .map(|(frame, symbols)| Named { frame, symbols })
}

fn jit_symbol(name: String) -> Symbol {
    Symbol { name, system_name: None, file: None, line: 0, column: 0 }
}
