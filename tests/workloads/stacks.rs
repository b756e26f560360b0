//! Recurses through a closure and a trait object for as many seconds of work as it is told.

use std::{hint::black_box, time::Instant};

trait Step {
    fn step(&self, depth: u32) -> u64;
}

struct Wheel;

impl Step for Wheel {
    #[inline(never)]
    fn step(&self, depth: u32) -> u64 {
        if depth <= 1 { spin() } else { black_box(self as &dyn Step).step(depth - 1) + 1 }
    }
}

#[inline(never)]
fn spin() -> u64 {
    let mut x = black_box(1u64);
    for _ in 0..200_000 {
        x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    }
    black_box(x)
}

fn main() {
    let seconds: f64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < seconds {
        black_box(black_box(&Wheel as &dyn Step).step(20) + 1);
    }
}
