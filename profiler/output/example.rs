//! A small profile by hand, with a frame of each kind and names that mean harm, for tests.

use std::sync::Arc;

use crate::model::{
    Binary, EMPTY_STACK, Frame, FrameKind, Free, Function, Info, Line, Overhead, Process, Profile,
    Sample, SourceInfo, Stats, Thread, ValueType,
};

/// ns that one sample stands for, at 99 Hz.
pub const PERIOD: u64 = 10_101_010;

/// A name that tries to leave its line, its cell, its element and its terminal.
pub const HOSTILE: &str = "</title><script>alert(1)</script>;\"'&\x1b[31m\u{202e}\nx 12";

/// What `profile` is as folded stacks.
pub const FOLDED: &str = "\
app 1
app;</title><script>alert(1)</script>:\"'&\u{fffd}[31m\u{fffd}\u{fffd}x_12 1
app;[libfoo.so] 2
app;[stack cut];main;work 1
app;_start;main;work;asm_sysvec_apic_timer_interrupt_[k];memcpy_[k] 2
app;_start;main;work;copy_all_[i];fast_copy_[i] 7
app;_start;main;work;memcpy 4
node;_start;LazyCompile:*f a.js_[j];[jit]_[j] 5
";

/// A profile without samples, made by a recording of ten seconds at 99 Hz.
pub fn empty() -> Profile {
    let mut profile = Profile {
        info: Info {
            version: "0.1.0".into(),
            host: "box".into(),
            kernel: "6.12.1".into(),
            architecture: "x86_64".into(),
            cpus: 2,
            target: "process 10 (app)".into(),
            start: 1_795_246_854_000_000_000,
            duration: 10_000_000_000,
            complete: true,
            begun_by: String::new(),
        },
        source: SourceInfo {
            name: "cpu".into(),
            event: "cpu-clock".into(),
            frequency: 99,
            period: PERIOD,
            value: ValueType::new("cpu", "nanoseconds"),
            ..SourceInfo::default()
        },
        to: 10_000_000_000,
        ..Profile::default()
    };
    thread(&mut profile, 10, 10, "app", "app");
    profile
}

/// Adds a thread; gives its index.
pub fn thread(profile: &mut Profile, pid: u32, tid: u32, comm: &str, name: &str) -> u32 {
    let tables = Arc::make_mut(&mut profile.tables);
    let exe = tables.strings.intern(&format!("/usr/bin/{comm}"));
    let cmdline = tables.strings.intern(&format!("/usr/bin/{comm} --serve"));
    let (comm, name) = (tables.strings.intern(comm), tables.strings.intern(name));
    let cgroup = tables.strings.intern("/user.slice/app.scope");
    let service = if pid == 20 { tables.strings.intern("shop") } else { 0 };
    let process = Process { pid, comm, exe, cmdline, uid: 1000, cgroup, service };
    let process = tables.processes.intern(process);
    tables.threads.intern(Thread { process, tid, name })
}

/// Adds a frame; each of `names` is `function file line`, innermost first. Gives its index.
pub fn frame(
    profile: &mut Profile,
    kind: FrameKind,
    (path, build_id): (&str, &str),
    address: u64,
    names: &[(&str, &str, u32)],
) -> u32 {
    let tables = Arc::make_mut(&mut profile.tables);
    let path = tables.strings.intern(path);
    let build_id = tables.strings.intern(build_id);
    let binary = tables.binaries.intern(Binary { path, build_id });
    let frame = tables.frame(Frame { kind, binary, address });
    let lines = names.iter().map(|(name, file, line)| {
        let name = tables.strings.intern(name);
        let file = tables.strings.intern(file);
        let function = tables.functions.intern(Function { name, system_name: name, file });
        Line { function, line: *line, column: 3 }
    });
    tables.lines[frame as usize] = lines.collect();
    frame
}

/// Adds `count` samples of a stack, root first, a second apart.
pub fn samples(profile: &mut Profile, thread: u32, frames: &[u32], count: u64) {
    let tables = Arc::make_mut(&mut profile.tables);
    let stack = frames.iter().fold(EMPTY_STACK, |parent, frame| tables.stacks.push(parent, *frame));
    for _ in 0..count {
        let time = profile.samples.len() as u64 * 400_000_000;
        let cpu = profile.samples.len() as u32 % 2;
        profile.samples.push(Sample { time, cpu, thread, stack, count: 1, value: PERIOD });
    }
}

/// Adds one sample of user functions, root first.
pub fn add(profile: &mut Profile, names: &[&str]) {
    let frames: Vec<u32> = (0..)
        .zip(names)
        .map(|(index, name)| {
            let address = 0x1000 + index * 16 + name.len() as u64 * 4096;
            frame(profile, FrameKind::User, ("/usr/bin/app", ""), address, &[(name, "", 0)])
        })
        .collect();
    samples(profile, 0, &frames, 1);
}

/// A heap, sampled each 512 KiB: `cache` took 4 objects of 1 MiB and freed 3 of them, `leak` took
/// 1000 of 40 bytes. As what was taken, with the frees, and beside it what is in use.
pub fn heap() -> Profile {
    let mut profile = empty();
    add(&mut profile, &["main", "cache"]);
    add(&mut profile, &["main", "leak"]);
    let [cache, leak] = [profile.samples[0], profile.samples[1]];
    let object = |number: u64| Sample {
        time: number * 1_000_000_000,
        count: 1,
        value: 1 << 20,
        cpu: 0,
        ..cache
    };
    let leak = Sample { count: 1000, value: 40_000, cpu: 0, ..leak };
    profile.samples = (1..5).map(object).chain([leak]).collect();
    let free = |number: u64| Free {
        sample: Sample { time: number * 1_000_000_000 + 500_000_000, ..object(number) },
        born: number * 1_000_000_000,
    };
    profile.frees = (1..4).map(free).collect();
    profile.in_use = vec![object(4), leak];
    profile.source = SourceInfo {
        name: "heap".into(),
        event: "malloc".into(),
        period: 512 << 10,
        count: ValueType::new("alloc_objects", "count"),
        value: ValueType::new("alloc_space", "bytes"),
        held: true,
        ..SourceInfo::default()
    };
    profile.stats.samples = 5;
    profile
}

/// The same as a view shows it that says nothing: what is in use.
pub fn heap_in_use() -> Profile {
    let mut profile = heap();
    profile.samples = std::mem::take(&mut profile.in_use);
    profile.frees = Vec::new();
    profile.measure.in_use = true;
    profile
}

/// A profile of two processes with each kind of frame.
pub fn profile() -> Profile {
    let mut profile = empty();
    let app = ("/usr/bin/app", "0123456789abcdef0123456789abcdef01234567");
    let start = frame(&mut profile, FrameKind::User, app, 0x1010, &[("_start", "", 0)]);
    let main = frame(&mut profile, FrameKind::User, app, 0x1200, &[("main", "src/main.c", 12)]);
    let work = frame(&mut profile, FrameKind::User, app, 0x1300, &[("work", "src/work.c", 7)]);
    let inlined =
        [("fast_copy", "src/copy.h", 3), ("copy_all", "src/copy.h", 9), ("work", "src/work.c", 8)];
    let copy = frame(&mut profile, FrameKind::User, app, 0x1310, &inlined);
    let hostile = frame(&mut profile, FrameKind::User, app, 0x1400, &[(HOSTILE, "a;b.c", 1)]);
    let libc = ("/usr/lib/libc.so.6", "ff");
    let memcpy = frame(&mut profile, FrameKind::User, libc, 0x9000, &[("memcpy", "", 0)]);
    let library = ("/opt/libfoo.so", "abcd");
    let unnamed = frame(&mut profile, FrameKind::User, library, 0x55, &[]);
    let kernel = ("[kernel.kallsyms]", "");
    let interrupt = [("asm_sysvec_apic_timer_interrupt", "", 0)];
    let entry = frame(&mut profile, FrameKind::Kernel, kernel, 0xffff_ffff_8100_0000, &interrupt);
    let kernel_copy =
        frame(&mut profile, FrameKind::Kernel, kernel, 0xffff_ffff_8100_2000, &[("memcpy", "", 0)]);
    let jit = ("[jit]", "");
    let script = frame(
        &mut profile,
        FrameKind::Jit,
        jit,
        0x7f00_0000_1000,
        &[("LazyCompile:*f a.js", "", 0)],
    );
    let stub = frame(&mut profile, FrameKind::Jit, jit, 0x7f00_0000_2000, &[]);
    let note = Arc::make_mut(&mut profile.tables).note("[stack cut]");

    let pool = thread(&mut profile, 10, 11, "app", "pool-1");
    let node = thread(&mut profile, 20, 20, "node", "node");
    samples(&mut profile, 0, &[start, main, copy], 4);
    samples(&mut profile, pool, &[start, main, copy], 3);
    samples(&mut profile, 0, &[start, main, work, memcpy], 4);
    samples(&mut profile, 0, &[start, main, work, entry, kernel_copy], 2);
    samples(&mut profile, node, &[start, script, stub], 5);
    samples(&mut profile, 0, &[unnamed], 2);
    samples(&mut profile, 0, &[note, main, work], 1);
    samples(&mut profile, 0, &[hostile], 1);
    samples(&mut profile, 0, &[], 1);
    profile.stats = Stats {
        samples: 23,
        lost: 2,
        truncated: 1,
        unwind_failed: [("no frame pointer".to_owned(), 3)].into(),
        unsymbolized_frames: 2,
        overhead: Overhead {
            cpu_seconds: 0.05,
            bpf_ns: 46_000,
            bpf_runs: 23,
            peak_rss_bytes: 20_000_000,
            rss_bytes: 0,
        },
        ..Stats::default()
    };
    profile
}
