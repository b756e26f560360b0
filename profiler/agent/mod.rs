//! The agent: records all the time, into a store of days, and governs itself.
//!
//! ```text
//! session ─► folder (store)          a window each 10 s, a recording a day
//!    ▲          ▲      ├─► viewer    a child without privilege, which only reads
//!    │          │      └─► pusher    another, which sends what it reads to engines
//! governor  calendar, memory         the rate; when a new recording begins
//! ```
//!
//! All of it is one loop of one thread: [`Agent::step`] waits, takes in what the kernel has, and at
//! the end of each window looks at what it cost. Nothing that goes wrong with the store or a child
//! ends the agent: it is told, counted, and tried again.

mod calendar;
mod child;
mod governor;
mod memory;
mod pusher;
mod service;
mod viewer;

use std::{os::fd::BorrowedFd, path::PathBuf, time::Duration};

use anyhow::Result;

use self::{
    calendar::Moment,
    child::Child,
    memory::{Relief, give_back},
    service::Service,
};
pub use self::{
    calendar::{Clock, WallClock, Why},
    governor::Governor,
    memory::{Bound, LEAST as MEMORY_LEAST},
    pusher::Settings as PushSettings,
    viewer::{Settings as ViewerSettings, user as viewer_user},
};
use crate::{
    machine,
    model::Overhead,
    session::{Plan, Session, Summary},
    store::{Folder, Limits as FolderLimits},
};

/// How long the end may wait for names: it is to be over within a second.
const PATIENCE: Duration = Duration::from_millis(600);
/// How much resident memory has to grow before the allocator is asked to give back what is free of
/// it: that has a price, and what it took for a moment it may take again.
const WORTH_IT: u64 = 4 << 20;
/// How often a state of affairs that lasts is told again.
const TELL_AGAIN: Duration = Duration::from_secs(3600);

/// What an agent is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// What to record, and how.
    pub plan: Plan,
    /// The folder to record into.
    pub store: PathBuf,
    /// How much it may hold.
    pub limits: FolderLimits,
    /// What the agent may cost, as a share of one CPU.
    pub overhead: f64,
    /// What memory it may take.
    pub memory: Bound,
    /// The viewer; none: no viewer.
    pub viewer: Option<ViewerSettings>,
    /// What is pushed to engines; none: nothing.
    pub push: Option<PushSettings>,
}

/// An agent at work.
pub struct Agent {
    session: Session,
    folder: Folder,
    clock: Box<dyn Clock>,
    /// When the recording began.
    began: Moment,
    governor: Governor,
    memory: Bound,
    /// Processes of its own.
    children: Vec<Child>,
    service: Service,
    /// Up to the end of the last window: when, and what was used.
    window: (u64, Overhead),
    /// Resident memory when the allocator was last asked to give some back, bytes.
    resident: u64,
    /// When it was last told that the budget is not kept, ns, CLOCK_MONOTONIC.
    told: Option<u64>,
}

impl Agent {
    /// Opens the store and loads everything. Nothing is measured yet.
    ///
    /// # Errors
    /// Says what is missing, and how to get it; or which other agent has the store.
    pub fn open(config: Config, clock: Box<dyn Clock>) -> Result<Self> {
        let Config { plan, store, limits, overhead, memory, viewer, push } = config;
        let user = viewer.as_ref().map(|viewer| &viewer.user);
        let reader = user.or(push.as_ref().map(|push| &push.user)).map(|user| user.gid);
        let rate = plan.options.frequency;
        let mut folder = None;
        let began = Moment::now(&*clock);
        let session = Session::open(plan, Why::Start.words(), || {
            let opened = folder.insert(Folder::open(&store, limits, reader)?);
            // Before there is one that must stay.
            expire(opened);
            viewer.iter().try_for_each(|viewer| viewer.make_token(&store))?;
            push.iter().try_for_each(|push| push.make_folder(&store))?;
            opened.begin(began.unix)
        })?;
        let viewer = viewer.map(|settings| viewer::child(&store, settings));
        let pusher = push.map(|settings| pusher::child(&store, settings));
        let folder = folder.ok_or_else(|| anyhow::anyhow!("the store was not opened"))?;
        Ok(Self {
            session,
            folder,
            clock,
            began,
            governor: Governor::new(overhead, rate),
            memory,
            children: viewer.into_iter().chain(pusher).collect(),
            service: Service::new(),
            window: (0, Overhead::default()),
            resident: 0,
            told: None,
        })
    }

    /// Begins to measure, starts the children, and tells the service manager.
    ///
    /// # Errors
    /// The kernel refuses to attach.
    pub fn start(&mut self) -> Result<()> {
        self.began = Moment::now(&*self.clock);
        // The children are to have nothing of how we run ahead.
        self.children.iter_mut().for_each(Child::tend);
        self.session.start(self.began.unix)?;
        self.window = (machine::monotonic_ns(), self.session.overhead());
        self.service.ready(&self.status());
        Ok(())
    }

    /// Waits for something to do, or for one of `others` to become readable, and does it.
    ///
    /// # Errors
    /// The kernel refuses something that it has allowed until now.
    pub fn step(&mut self, others: &[BorrowedFd<'_>]) -> Result<()> {
        let mut patience = Moment::now(&*self.clock).until_midnight().min(self.service.patience());
        for child in &self.children {
            patience = patience.min(child.rests());
        }
        self.session.wait(others, patience)?;
        self.service.alive();
        self.children.iter_mut().for_each(Child::tend);
        if let Some(why) = self.began.ends_by(&Moment::now(&*self.clock)) {
            self.renew(why);
        } else if self.session.until_commit().is_zero() {
            self.end_window()?;
        }
        Ok(())
    }

    /// Seals the recording and begins the next.
    pub fn renew(&mut self, why: Why) {
        self.began = Moment::now(&*self.clock);
        let (folder, start) = (&self.folder, self.began.unix);
        match self.session.begin(start, why.words(), || folder.begin(start)) {
            Ok(()) => tracing::info!("a new recording: {}", why.words()),
            Err(error) => tracing::error!("no new recording ({}): {error:#}", why.words()),
        }
        expire(&mut self.folder);
        self.resident = give_back();
    }

    /// Counts of the recording so far, and the rate in force, Hz.
    pub fn state(&self) -> (crate::model::Stats, u64) {
        (self.session.stats(), self.governor.rate())
    }

    /// Takes in what is left, names it, seals the recording and ends the children.
    ///
    /// # Errors
    /// The recording cannot be written; what was written before stays readable.
    pub fn finish(self) -> Result<Summary> {
        self.service.stopping();
        // They end while we name.
        self.children.iter().for_each(Child::stop);
        self.session.finish(PATIENCE)
    }

    fn end_window(&mut self) -> Result<()> {
        self.session.keep_up()?;
        if let Err(error) = self.session.commit() {
            tracing::error!("{error:#}; no samples are written until there is a place for them");
            self.session.abandon();
        } else if !self.session.is_writing() {
            self.renew(Why::Failure);
        } else if self.session.bytes() > self.folder.recording_bytes_max() {
            self.renew(Why::Size);
        }
        expire(&mut self.folder);
        self.govern();
        self.relieve();
        self.service.status(&self.status());
        Ok(())
    }

    /// Looks at what the window cost, and changes the rate where it must.
    fn govern(&mut self) {
        let (now, used) = (machine::monotonic_ns(), self.session.overhead());
        let (since, before) = std::mem::replace(&mut self.window, (now, used));
        let window = Duration::from_nanos(now - since);
        let cpu = Duration::from_secs_f64((used.cpu_seconds - before.cpu_seconds).max(0.0));
        let bpf = Duration::from_nanos(used.bpf_ns.saturating_sub(before.bpf_ns));
        let cost = cpu + bpf;
        let share = 100.0 * cost.as_secs_f64() / window.as_secs_f64();
        tracing::debug!(
            "{share:.2} % of a CPU ({:.1} ms, and {:.1} ms in BPF programs), {:.1} MB",
            1e3 * cpu.as_secs_f64(),
            1e3 * bpf.as_secs_f64(),
            machine::rss() as f64 / 1e6,
        );
        let before = self.governor.rate();
        let Some(rate) = self.governor.judge(window, cost) else {
            if self.governor.is_spent() && self.tell_again(now) {
                tracing::warn!("{share:.2} % of a CPU is over the budget even at {before} Hz");
            }
            return;
        };
        match self.session.set_rate(rate) {
            Ok(()) => tracing::info!("{share:.2} % of a CPU at {before} Hz: now {rate} Hz"),
            Err(error) => tracing::error!("cannot sample at {rate} Hz: {error:#}"),
        }
    }

    fn relieve(&mut self) {
        let tables = self.session.table_bytes() as u64;
        let mut resident = machine::rss();
        if resident > self.resident + WORTH_IT {
            resident = give_back();
            self.resident = resident;
        }
        let relief = self.memory.judge(tables, resident);
        if relief == Relief::DropCaches {
            self.session.drop_caches();
        }
        if relief == Relief::NewRecording
            || relief == Relief::DropCaches && self.memory.needs_more(give_back())
        {
            self.renew(Why::Memory);
        }
    }

    fn tell_again(&mut self, now: u64) -> bool {
        let due = self.told.is_none_or(|told| now - told >= TELL_AGAIN.as_nanos() as u64);
        if due {
            self.told = Some(now);
        }
        due
    }

    fn status(&self) -> String {
        format!("sampling at {} Hz", self.governor.rate())
    }
}

/// Removes what is too old or too much.
fn expire(folder: &mut Folder) {
    match folder.expire() {
        Ok(expired) if expired.recordings > 0 => tracing::info!(
            "removed the oldest {} recordings, {:.1} MB",
            expired.recordings,
            expired.bytes as f64 / 1e6
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!("old recordings stay: {error:#}"),
    }
}
