//! What a store of days takes on disk, and how long questions to it take.
//!
//! ```text
//! cargo run --release --example store -- generate DIR [DAYS]     a made-up store, as an agent writes it
//! cargo run --release --example store -- copy RECORDING DIR      a real recording, as an agent writes it
//! cargo run --release --example store -- measure DIR             bytes and times, as JSON
//! ```
//!
//! The made-up machine has 8 CPUs that are 85 % busy at 19 Hz: 11 million samples a day, of 48
//! processes with 2 threads each, and stacks that some 600,000 nodes make up; two thirds of what a
//! program does in an hour it does in no other. Times are CPU times of this process in ms, the
//! median of several runs; `first` is the first question to a store that was just opened, which
//! reads the names.

use std::{collections::HashMap, env, fs, hint::black_box, ops::Range, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use rprof::{
    model::{
        Binary, Detail, EMPTY_STACK, Frame, FrameKind, Function, Info, Line, Process, Sample,
        SourceInfo, Stats, Tables, Thread, ValueType, View,
    },
    store::{Folder, Limits, SourceState, Store, Writer},
};

const S: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * S;
/// 2026-11-14T00:00:00Z.
const START: u64 = 1_794_614_400 * S;
const HZ: u64 = 19;
const PERIOD: u64 = S / HZ;
const CPUS: u32 = 8;
const COMMIT: u64 = 10 * S;

fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["generate", folder] => generate(Path::new(folder), 1),
        ["generate", folder, days] => generate(Path::new(folder), days.parse()?),
        ["copy", recording, folder] => copy(Path::new(recording), Path::new(folder)),
        ["measure", folder] => measure(Path::new(folder)),
        _ => bail!("see the top of bench/store.rs"),
    }
}

/// xorshift64*: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// Small numbers far more often than large ones, about as `1 / n`.
    fn skewed(&mut self, limit: u64) -> u64 {
        let unit = self.next() as f64 / (1u64 << 53) as f64;
        ((limit as f64).powf(unit) as u64 - 1).min(limit - 1)
    }
}

/// An agent's folder, one recording a day, committed every 10 s.
struct Agent {
    folder: Folder,
    writer: Option<Writer>,
    info: Info,
    source: SourceInfo,
    stats: Stats,
    named: usize,
}

impl Agent {
    fn open(folder: &Path) -> Result<Self> {
        let limits = Limits { keep: Duration::from_secs(365 * 86400), max_bytes: u64::MAX };
        let value = ValueType::new("cpu", "nanoseconds");
        Ok(Self {
            folder: Folder::open(folder, limits, None)?,
            writer: None,
            info: Info { host: "made-up".into(), cpus: CPUS, ..Info::default() },
            source: SourceInfo {
                name: "cpu".into(),
                event: "cpu-clock".into(),
                frequency: HZ,
                period: PERIOD,
                value,
                ..SourceInfo::default()
            },
            stats: Stats::default(),
            named: 0,
        })
    }

    fn begin(&mut self, start: u64) -> Result<()> {
        self.writer = Some(self.folder.begin(start)?);
        (self.info.start, self.info.duration, self.info.complete) = (start, 0, false);
        (self.stats, self.named) = (Stats::default(), 0);
        Ok(())
    }

    fn commit(
        &mut self,
        at: u64,
        samples: &mut Vec<Sample>,
        tables: &Tables,
        last: bool,
    ) -> Result<()> {
        self.stats.samples += samples.len() as u64;
        (self.info.duration, self.info.complete) = (at, last);
        let named: Vec<u32> = (self.named as u32..tables.frames.len() as u32).collect();
        self.named = tables.frames.len();
        let state =
            SourceState { info: &self.source, stats: &self.stats, samples, frees: &mut Vec::new() };
        let writer = self.writer.as_mut().context("no recording was begun")?;
        writer.commit(&self.info, &mut [state], tables, &named)?;
        if last && let Some(writer) = self.writer.take() {
            writer.finish()?;
        }
        Ok(())
    }
}

/// The made-up machine.
struct Machine {
    random: Random,
    tables: Tables,
    frames: Vec<u32>,
    threads: u64,
    /// Stacks that were made so far, by number.
    stacks: HashMap<u64, u32>,
}

impl Machine {
    fn new() -> Self {
        let mut machine = Self {
            random: Random(42),
            tables: Tables::default(),
            frames: Vec::new(),
            threads: 48 * 2,
            stacks: HashMap::new(),
        };
        for index in 0..35_000 {
            machine.frame(index);
        }
        machine
    }

    fn frame(&mut self, index: u64) {
        let strings = &mut self.tables.strings;
        let path = strings.intern(&format!("/usr/lib/libmade{}.so", index % 60));
        let build_id = strings.intern(&format!("{:040x}", index % 60));
        let name = strings.intern(&format!("made::up{}::Function<{}>::call", index % 700, index));
        let file = strings.intern(&format!("src/part{}/file{}.rs", index % 60, index % 3000));
        let binary = self.tables.binaries.intern(Binary { path, build_id });
        let frame = self.tables.frame(Frame {
            kind: FrameKind::User,
            binary,
            address: 0x1000 + index * 48,
        });
        let function = self.tables.functions.intern(Function { name, system_name: name, file });
        self.tables.lines[frame as usize] =
            [Line { function, line: (index % 900) as u32 + 1, column: 5 }].into();
        self.frames.push(frame);
    }

    fn thread(&mut self, number: u64) -> u32 {
        let (process, thread) = (number / 2, number % 2);
        let strings = &mut self.tables.strings;
        let comm = strings.intern(&format!("program{}", process % 20));
        let exe = strings.intern(&format!("/usr/bin/program{}", process % 20));
        let cmdline =
            strings.intern(&format!("/usr/bin/program{} --worker {process}", process % 20));
        let unit = format!("/system.slice/program{}.service", process % 20);
        let process = Process {
            pid: 1000 + process as u32 * 10,
            comm,
            exe,
            cmdline,
            uid: 1000,
            cgroup: strings.intern(&unit),
            service: 0,
        };
        let tid = process.pid + thread as u32;
        let name = strings.intern(&format!("worker-{thread}"));
        let process = self.tables.processes.intern(process);
        self.tables.threads.intern(Thread { process, tid, name })
    }

    /// A stack out of `number`: its callers are those of many near it.
    fn stack(&mut self, number: u64) -> u32 {
        if let Some(stack) = self.stacks.get(&number) {
            return *stack;
        }
        let depth = 8 + (number % 5) * 5;
        let mut stack = EMPTY_STACK;
        for level in 0..depth {
            // Numbers that agree in their high bits share the frames near the root.
            let share = number >> (depth - 1 - level).min(40);
            let hash = (share * 31 + level).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            let frame = self.frames[(hash % self.frames.len() as u64) as usize];
            stack = self.tables.stacks.push(stack, frame);
        }
        self.stacks.insert(number, stack);
        stack
    }

    /// Samples of all CPUs in `time`, ns since the start of the day.
    fn run(&mut self, time: Range<u64>, samples: &mut Vec<Sample>) {
        let hour = time.start / (3600 * S);
        for cpu in 0..CPUS {
            let phase = u64::from(cpu) * PERIOD / u64::from(CPUS);
            let mut thread = self.random.skewed(self.threads);
            for tick in time.start / PERIOD..time.end / PERIOD {
                let jitter = self.random.below(60_000);
                if self.random.below(100) < 30 {
                    thread = self.random.skewed(self.threads);
                }
                if self.random.below(100) >= 85 {
                    continue;
                }
                let program = thread / 2 % 20;
                let favourite = self.random.skewed(600);
                // A third of what an hour does, the next does too.
                let epoch = if favourite.is_multiple_of(3) { 0 } else { hour + 1 };
                let stack = self.stack(program << 24 | epoch << 14 | favourite);
                let (thread, at) = (self.thread(thread), tick * PERIOD + phase + jitter);
                samples.push(Sample { time: at, cpu, thread, stack, count: 1, value: PERIOD });
            }
        }
    }
}

fn generate(folder: &Path, days: u64) -> Result<()> {
    let mut agent = Agent::open(folder)?;
    for day in 0..days {
        let mut machine = Machine::new();
        agent.begin(START + day * DAY)?;
        let mut samples = Vec::new();
        for window in 0..DAY / COMMIT {
            machine.run(window * COMMIT..(window + 1) * COMMIT, &mut samples);
            let last = window + 1 == DAY / COMMIT;
            agent.commit((window + 1) * COMMIT, &mut samples, &machine.tables, last)?;
        }
        eprintln!(
            "day {day}: {} samples, {} nodes",
            agent.stats.samples,
            machine.tables.stacks.len()
        );
    }
    Ok(())
}

/// Writes what a recording holds as an agent would have.
fn copy(recording: &Path, folder: &Path) -> Result<()> {
    let mut store = Store::open(recording)?;
    let profile = store.profile(&View::default(), Detail { time: true, cpu: true, both: false })?;
    let mut agent = Agent::open(folder)?;
    agent.source = profile.source.clone();
    agent.begin(profile.info.start)?;
    let mut tables = Tables::default();
    let mut copier = Copier { from: &profile.tables, frames: HashMap::new() };
    let (mut samples, mut next) = (Vec::new(), COMMIT);
    for sample in &profile.samples {
        while sample.time >= next {
            agent.commit(next, &mut samples, &tables, false)?;
            next += COMMIT;
        }
        let (thread, stack) = copier.copy(sample, &mut tables);
        samples.push(Sample { thread, stack, ..*sample });
    }
    agent.commit(profile.info.duration.max(next), &mut samples, &tables, true)
}

/// Brings what samples point into from one set of tables to another, in the order of need.
struct Copier<'a> {
    from: &'a Tables,
    frames: HashMap<u32, u32>,
}

impl Copier<'_> {
    fn copy(&mut self, sample: &Sample, to: &mut Tables) -> (u32, u32) {
        let text = |to: &mut Tables, index| to.strings.intern(self.from.strings.get(index));
        let thread = self.from.threads.get(sample.thread).copied();
        let process = self.from.process_of(sample.thread).copied();
        let thread = thread.zip(process).map_or(0, |(thread, process)| {
            let process = Process {
                comm: text(to, process.comm),
                exe: text(to, process.exe),
                cmdline: text(to, process.cmdline),
                cgroup: text(to, process.cgroup),
                service: text(to, process.service),
                ..process
            };
            let process = to.processes.intern(process);
            let name = text(to, thread.name);
            to.threads.intern(Thread { process, name, ..thread })
        });
        let mut frames: Vec<u32> = self.from.stacks.frames(sample.stack).collect();
        frames.reverse();
        let mut stack = EMPTY_STACK;
        for index in frames {
            let frame = match self.frames.get(&index) {
                Some(frame) => *frame,
                None => {
                    let frame = self.frame(index, to);
                    self.frames.insert(index, frame);
                    frame
                }
            };
            stack = to.stacks.push(stack, frame);
        }
        (thread, stack)
    }

    fn frame(&self, index: u32, to: &mut Tables) -> u32 {
        let from = self.from;
        let text = |to: &mut Tables, index| to.strings.intern(from.strings.get(index));
        let Some(frame) = from.frames.get(index).copied() else { return 0 };
        if frame.kind == FrameKind::Note {
            return to.note(from.strings.get(frame.address as u32));
        }
        let binary = from.binaries.get(frame.binary).copied();
        let binary = binary.map_or(0, |binary| {
            let (path, build_id) = (text(to, binary.path), text(to, binary.build_id));
            to.binaries.intern(Binary { path, build_id })
        });
        let copied = to.frame(Frame { binary, ..frame });
        let lines = from.lines(index).iter().map(|line| {
            let function = from.functions.get(line.function).copied();
            let function = function.map_or(0, |function| {
                let function = Function {
                    name: text(to, function.name),
                    system_name: text(to, function.system_name),
                    file: text(to, function.file),
                };
                to.functions.intern(function)
            });
            Line { function, ..*line }
        });
        let lines: Vec<Line> = lines.collect();
        to.lines[copied as usize] = lines.into();
        copied
    }
}

/// CPU time of this process so far, ms.
fn cpu_ms() -> f64 {
    let now = nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID.now();
    now.map_or(0.0, |now| now.tv_sec() as f64 * 1e3 + now.tv_nsec() as f64 / 1e6)
}

/// Median of several runs, ms of CPU time.
fn time<T>(mut run: impl FnMut() -> T) -> f64 {
    let mut times: Vec<f64> = (0..7)
        .map(|_| {
            let start = cpu_ms();
            black_box(run());
            cpu_ms() - start
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn measure(folder: &Path) -> Result<()> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    let open = time(|| Store::open(folder).map(|store| store.time().end));
    let mut store = Store::open(folder)?;
    let (all, source) = (store.time(), store.source(None)?.name);
    let samples = store.stats(&source, &all).samples;
    let begun = cpu_ms();
    store.sums(&source, &(all.end.saturating_sub(DAY)..all.end));
    let first = cpu_ms() - begun;
    let last = |span: u64| all.end.saturating_sub(span)..all.end;
    // Neither begins nor ends with an hour.
    let askew =
        |span: u64| all.end.saturating_sub(span + 1234 * S)..all.end.saturating_sub(1234 * S);
    let hours = (all.end - all.start) as f64 / (3600 * S) as f64;
    let report = serde_json::json!({
        "bytes": bytes,
        "samples": samples,
        "bytes_a_sample": bytes as f64 / samples as f64,
        "megabytes_a_day": bytes as f64 / 1e6 / hours * 24.0,
        "hours": hours,
        "open_ms": open,
        "sums_24h_first_ms": first,
        "sums_24h_ms": time(|| store.sums(&source, &last(DAY)).len()),
        "sums_24h_askew_ms": time(|| store.sums(&source, &askew(DAY)).len()),
        "sums_all_ms": time(|| store.sums(&source, &all).len()),
        "sums_1h_ms": time(|| store.sums(&source, &askew(3600 * S)).len()),
        "pairs_24h": store.sums(&source, &last(DAY)).len(),
        "series_24h_ms": time(|| store.series(&source, &last(DAY), 1200).cells.len()),
        "series_1h_ms": time(|| store.series(&source, &askew(3600 * S), 1200).cells.len()),
        "samples_1h_ms": time(|| {
            let mut count = 0;
            store.samples(&source, &askew(3600 * S), &mut |_| count += 1);
            count
        }),
        "refresh_ms": time(|| store.refresh().ok()),
    });
    println!("{report:#}");
    Ok(())
}
