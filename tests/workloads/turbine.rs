//! turbine DRIVES: a generic function that calls a method of a trait, that many times; 40,000 are
//! about a second of CPU time. A number and not a time, since std has no clock of CPU time.

use std::hint::black_box;

mod engine {
    use std::hint::black_box;

    pub trait Turn {
        fn turn(&self, rounds: u64) -> u64;
    }

    pub struct Turbine;

    impl Turn for Turbine {
        #[inline(never)]
        fn turn(&self, rounds: u64) -> u64 {
            let mut x = black_box(1u64);
            for _ in 0..rounds {
                x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            }
            black_box(x)
        }
    }

    #[inline(never)]
    pub fn drive<T: Turn>(machine: &T) -> u64 {
        black_box(machine.turn(20_000)) + 1
    }
}

fn main() {
    let drives: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(40_000);
    for _ in 0..drives {
        black_box(engine::drive(&engine::Turbine));
    }
}
