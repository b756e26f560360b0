//! With a rate, sums of weights are right within the luck that so many samples may have, and the
//! frees that are announced are those of the samples and no others.

use std::{path::Path, process::Command};

use super::{
    JEMALLOC,
    listen::{Heard, Listener},
    workload::{Workshop, require_program, require_root, run},
};

/// Asserts that a sum of weights is what it stands for. The bytes of the set that a sum comes from
/// are binomial, with a mean of truth / rate, so the variance of the sum is below truth * rate; five
/// standard deviations are one failure in two million.
fn near(what: &str, sum: u64, truth: u64, rate: u64) {
    let bound = 5.0 * (truth as f64 * rate as f64).sqrt();
    let error = sum as f64 - truth as f64;
    assert!(error.abs() < bound, "{what}: {sum} is not {truth}, give or take {bound:.0}");
}

fn leak(program: &Path, rate: u64, rounds: u64) {
    let listener = Listener::start(rate);
    let (_, heard) = listener.run(Command::new(program).args(["leak", &rounds.to_string()]));
    near("small", heard.held(40), rounds * 16_000_000, rate);
    near("middle", heard.held(4000), rounds * 32_000_000, rate);
    near("large", heard.held(1_000_000), rounds * 20_000_000, rate);
    near("churn", heard.allocated(100), rounds * 20_000_000, rate);
    let objects: f64 =
        heard.live.values().map(|(size, weight)| *weight as f64 / *size as f64).sum();
    // Nearly all are small ones, of 40 bytes.
    let truth = rounds as f64 * 408_020.0;
    let bound = 5.0 * (rounds as f64 * 16e6 * rate as f64).sqrt() / 40.0;
    assert!((objects - truth).abs() < bound, "{objects} objects, not {truth} +- {bound}");
    exact(&heard);
    assert_eq!(heard.held(100), 0);
}

/// Every free that is announced is of a sample, and no sample is announced twice.
fn exact(heard: &Heard) {
    assert!(heard.frees > 20, "{} frees", heard.frees);
    assert_eq!((heard.twice, heard.unknown), (0, 0));
}

#[test]
fn leaks_of_all_sizes_are_estimated_without_bias() {
    if require_root() {
        let shop = Workshop::new();
        leak(&shop.c("heap"), 4096, 3);
    }
}

#[test]
fn so_they_are_at_the_default_rate() {
    if require_root() {
        let shop = Workshop::new();
        leak(&shop.c("heap"), 512 << 10, 10);
    }
}

#[test]
fn so_they_are_in_jemalloc_and_musl() {
    if !require_root() || !require_program(JEMALLOC) || !require_program("/usr/bin/musl-gcc") {
        return;
    }
    let shop = Workshop::new();
    let flags = ["-O1", "-pthread", "-Wl,--no-as-needed", "-l:libjemalloc.so.2"];
    leak(&shop.build("heap", "jemalloc", &flags), 8192, 2);
    leak(&shop.compile("musl-gcc", "heap.c", "musl", &["-O1"]), 8192, 2);
}

/// Runs `tests/workloads/sampler.c`: the shim's own arithmetic, apart from any allocator.
fn draw(program: &Path, rate: u64, size: u64) -> [f64; 6] {
    const NUMBER: f64 = 1e6;
    let words = [rate.to_string(), size.to_string(), NUMBER.to_string()];
    let text = run(Command::new(program).args(words));
    let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

#[test]
fn intervals_are_geometric() {
    let shop = Workshop::new();
    let include = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/shim");
    let program = shop.build("sampler", "sampler", &["-O2", include, "-Wl,--no-as-needed", "-lm"]);
    for (rate, size) in
        [(1, 3), (2, 1), (3, 40), (100, 99), (4096, 40), (512, 1 << 20), (1 << 40, 1 << 39)]
    {
        let [mean, squares, weight, sampled, logarithm, unit] = draw(&program, rate, size);
        let (r, s, n) = (rate as f64, size as f64, 1e6f64);
        let chance = -(-1.0 / r).exp_m1();
        // In units of the mean 1 / chance: the mean of the squares is 2 - chance, and their variance
        // below 20.
        assert!((mean - 1.0).abs() < 5.0 / n.sqrt(), "{rate}: mean {mean}");
        assert!((squares + chance - 2.0).abs() < 5.0 * (20.0 / n).sqrt(), "{rate}: {squares}");
        // n * s bytes, of which n * s * chance are drawn, or fewer.
        assert!((weight - s).abs() < 5.0 * (s / chance / n).sqrt(), "{rate}: {size} is {weight}");
        let share = -(-s / r).exp_m1();
        assert!((sampled - share).abs() < 5.0 * (share / n).sqrt(), "{rate}: {sampled} of {share}");
        assert!(logarithm < 1e-8 && unit < 4e-5, "{logarithm} and {unit} off");
    }
}

#[test]
fn threads_free_what_others_allocated() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let rate = 1000;
    let (_, heard) = Listener::start(rate).run(Command::new(shop.c("heap")).arg("threads"));
    near("blocks", heard.allocated(200), 80_000_000, rate);
    assert_eq!(heard.held(200), 0);
    exact(&heard);
}

#[test]
fn more_samples_than_it_can_hold_lose_no_free() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    // 400,000 blocks of 40 bytes, each the sample of 10 bytes on the mean: three times its room.
    let (_, heard) = Listener::start(10).run(Command::new(shop.c("heap")).arg("leak"));
    near("small", heard.held(40), 16_000_000, 10);
    assert_eq!(heard.held(100), 0);
    assert_eq!(heard.twice, 0);
}

#[test]
fn a_child_frees_what_its_parent_allocated() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let rate = 1000;
    let (_, heard) = Listener::start(rate).run(Command::new(shop.c("heap")).arg("fork"));
    near("parent", heard.allocated(300), 300_000, rate);
    near("child", heard.allocated(500), 500_000, rate);
    // Live in the parent still; the child announces its frees of the very same.
    let held: Vec<_> = heard.live.iter().filter(|(_, (size, _))| *size == 300).collect();
    assert_eq!(heard.unknown, held.len() as u64);
    let of = |size| heard.live.iter().find(|(_, (each, _))| *each == size).unwrap().0.0;
    assert_ne!(of(300), of(500));
}
