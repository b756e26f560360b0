//! What a batch of 300 addresses costs, in CPU time. Not a test that can
//! fail: `cargo test --release -p symbolizer --test cost -- --ignored
//! --nocapture`.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use blazesym::symbolize::{Input, Symbolizer, source};
use symbolizer::Image;

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn sample(path: &Path, count: usize) -> Vec<u64> {
    let mut all = common::instructions(path);
    all.sort_unstable();
    let step = (all.len() / count).max(1);
    all.into_iter().step_by(step).take(count).collect()
}

fn measure(path: &Path, addresses: &[u64]) {
    let before = (cpu(), Instant::now(), resident());
    let image = Image::open_path(path).unwrap();
    let _ = image.symbolize(&addresses[..1]);
    let first = cpu();
    let found = image.symbolize(addresses);
    let cold = cpu();
    let again = image.symbolize(addresses);
    let warm = cpu();
    let after = resident();
    assert_eq!(found, again);
    let named = found.iter().filter(|symbols| !symbols.is_empty()).count();
    let lines = found.iter().filter(|symbols| symbols.first().is_some_and(|s| s.line > 0)).count();
    drop(image);
    symbolizer::cache::clear();
    let us = |from: Duration, to: Duration| (to - from).as_micros();
    println!(
        "{}: first {} us, 300 cold {} us, warm {} us, rss {} -> {} MB, named {named}, lines {lines}",
        path.display(),
        us(before.0, first),
        us(first, cold),
        us(cold, warm),
        before.2,
        after
    );
}

fn measure_blazesym(path: &Path, addresses: &[u64]) {
    let before = (cpu(), resident());
    let symbolizer = Symbolizer::builder()
        .enable_code_info(true)
        .enable_inlined_fns(true)
        .enable_auto_reload(false)
        .build();
    let source = source::Source::Elf(source::Elf::new(path));
    let found = symbolizer.symbolize(&source, Input::VirtOffset(addresses)).unwrap();
    let cold = cpu();
    let _ = symbolizer.symbolize(&source, Input::VirtOffset(addresses)).unwrap();
    let warm = cpu();
    let named = found.iter().filter(|one| one.as_sym().is_some()).count();
    println!(
        "  blazesym: cold {} us, warm {} us, rss {} -> {} MB, named {named}",
        (cold - before.0).as_micros(),
        (warm - cold).as_micros(),
        before.1,
        resident(),
    );
}

#[test]
#[ignore = "a measurement"]
fn of_a_batch() {
    let c = common::Built::new("cc", "c.c", common::C, &["-g", "-O2"]);
    let extra = std::env::var("COST_FILES").unwrap_or_default();
    let mut files = vec![
        "/lib/x86_64-linux-gnu/libc.so.6".to_owned(),
        "/usr/bin/node".to_owned(),
        c.program.display().to_string(),
        std::env::current_exe().unwrap().display().to_string(),
    ];
    files.extend(extra.split_whitespace().map(str::to_owned));
    for file in files {
        let path = Path::new(&file);
        let addresses = sample(path, 300);
        measure(path, &addresses);
        measure_blazesym(path, &addresses);
    }
}
