//! The second process of the kept recording: generics, a trait, and inlined functions, in Rust.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

trait Shade {
    fn shade(&self, step: u64) -> u64;
}

struct Chalk(u64);

impl Shade for Chalk {
    #[inline(never)]
    fn shade(&self, step: u64) -> u64 {
        (0..1 << 18).fold(self.0, |color, i| black_box(color.rotate_left(7) ^ (i * step)))
    }
}

#[inline(never)]
fn fill<T: Shade>(shade: &T) -> u64 {
    (1..8).map(|step| shade.shade(step)).sum::<u64>() + 1
}

fn main() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        black_box(fill(&Chalk(black_box(3))));
    }
}
