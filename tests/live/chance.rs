//! What chance can do to a number of samples. A sample is a draw: of `whole` draws, `part` fall to
//! what has a share `p` of the time, give or take the square root of `whole * p * (1 - p)`. Bounds
//! are five of those, which luck breaks less than once in a million times, and one sample for the edges.

/// Standard deviations that luck is allowed.
const SIGMAS: f64 = 5.0;

/// Asserts that `part` of `whole` samples may be of what has a share `p` of the time.
pub fn assert_share(what: &str, part: u64, whole: u64, p: f64) {
    let mean = whole as f64 * p;
    let bound = SIGMAS * (mean * (1.0 - p)).sqrt() + 1.0;
    assert!(
        (part as f64 - mean).abs() <= bound,
        "{what}: {part} of {whole} samples, not {mean:.0} give or take {bound:.0}"
    );
}

/// Asserts that no more of `whole` samples are so than what happens with a chance of `p` gives.
pub fn assert_rare(what: &str, part: u64, whole: u64, p: f64) {
    let most = most(whole as f64 * p);
    assert!(part as f64 <= most, "{what}: {part} of {whole} samples, not {most:.0} at most");
}

/// Asserts that `samples` may come from that much CPU time. Never more than the time gives; less
/// where a hypervisor takes the CPU away, since to the guest that still is time on the CPU.
pub fn assert_time(what: &str, samples: u64, seconds: f64, frequency: u32) {
    let mean = seconds * f64::from(frequency);
    let (least, most) = (mean / 2.0, most(mean));
    assert!(
        (least..=most).contains(&(samples as f64)),
        "{what}: {samples} samples in {seconds} s of CPU time, not {least:.0} to {most:.0}"
    );
}

/// What chance makes of a mean at most.
fn most(mean: f64) -> f64 {
    mean + SIGMAS * mean.sqrt() + 1.0
}
