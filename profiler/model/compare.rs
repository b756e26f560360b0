//! Comparing two profiles: how much of each a part has, and whether sampling noise explains the
//! difference.
//!
//! A sample either is in a part (a function, a box of a flame graph) or is not, so the share of
//! the part is a proportion, and two shares are compared by the two-proportion z test. Samples of
//! unequal weight count for less: their effective number is Kish's. Where many parts are compared,
//! some differ by chance alone; Benjamini and Hochberg's procedure bounds the share of such among
//! those that are called significant.

/// The share of false discoveries that is allowed among what is called significant.
pub const FALSE_DISCOVERIES: f64 = 0.05;

/// The samples of one side of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Side {
    /// Sum of all samples' values.
    pub total: f64,
    /// Effective number of samples: with equal weights, their count.
    pub samples: f64,
}

impl Side {
    /// Of samples with these values, each given with how many samples it is the sum of, which
    /// [`super::SourceInfo::samples_in`] says.
    ///
    /// The effective number is `(sum w)^2 / sum w^2` (L. Kish, Survey Sampling, 1965, 11.7). Where
    /// several samples were added up, each is taken to have their mean weight.
    pub fn of(values: impl IntoIterator<Item = (f64, u64)>) -> Self {
        let (mut total, mut squares, mut count) = (0.0, 0.0, 0.0);
        for (samples, value) in values.into_iter().filter(|(samples, _)| *samples > 0.0) {
            let value = value as f64;
            total += value;
            squares += value * value / samples;
            count += samples;
        }
        let samples = if squares > 0.0 { total * total / squares } else { count };
        Self { total, samples }
    }

    /// Share of the samples that `value` is; 0 of nothing.
    pub fn share(&self, value: f64) -> f64 {
        if self.total > 0.0 { value / self.total } else { 0.0 }
    }
}

/// By how many standard errors the share of a part differs: positive where it has more of `new`
/// than of `base`. 0 where there is nothing to compare.
///
/// The pooled two-proportion z test: `(p2 - p1) / sqrt(p (1 - p) (1/n1 + 1/n2))` with `p` of both
/// sides together (e.g. NIST/SEMATECH e-Handbook of Statistical Methods, 7.3.3).
pub fn z(base: &Side, base_value: f64, new: &Side, new_value: f64) -> f64 {
    let (n1, n2) = (base.samples, new.samples);
    if n1 < 1.0 || n2 < 1.0 {
        return 0.0;
    }
    let (p1, p2) = (base.share(base_value).min(1.0), new.share(new_value).min(1.0));
    let pooled = (p1 * n1 + p2 * n2) / (n1 + n2);
    let error = (pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n2)).sqrt();
    if error > 0.0 { (p2 - p1) / error } else { 0.0 }
}

/// By how many standard errors two amounts differ: `squares` are those of the weights of all samples
/// that only one of them has, whose sum is about the variance of the difference (see
/// [`super::SourceInfo::samples_in`]). 0 where there is nothing to compare.
pub fn difference_z(difference: f64, squares: f64) -> f64 {
    if squares > 0.0 { difference / squares.sqrt() } else { 0.0 }
}

/// The probability that chance alone gives a z as far from 0 as this one: two-sided, of the normal
/// distribution.
pub fn p_value(z: f64) -> f64 {
    erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// The z above which one sample of the normal distribution is with a probability of `1 - confidence`:
/// one-sided, of a confidence of 0.5 to 1.
pub fn quantile(confidence: f64) -> f64 {
    let (mut low, mut high) = (0.0, 40.0);
    // To the last bit that `p_value` is good for.
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if p_value(middle) / 2.0 > 1.0 - confidence {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

/// The standard error of the difference of two shares, each side's by itself: what an interval around
/// the difference is made of, where `z` asks whether there is one.
pub fn share_error(base: &Side, base_value: f64, new: &Side, new_value: f64) -> f64 {
    let of = |side: &Side, value: f64| {
        let share = side.share(value).min(1.0);
        if side.samples > 0.0 { share * (1.0 - share) / side.samples } else { 0.0 }
    };
    (of(base, base_value) + of(new, new_value)).sqrt()
}

/// The standard error of the difference of two amounts, of which each sample is one by chance.
pub fn amount_error(base: &Side, base_value: f64, new: &Side, new_value: f64) -> f64 {
    let of = |side: &Side, value: f64| {
        if side.samples > 0.0 { value * side.total / side.samples } else { 0.0 }
    };
    (of(base, base_value) + of(new, new_value)).sqrt()
}

/// The complementary error function of `x >= 0`, to a relative error of 1.2e-7: the Chebyshev fit
/// of W. J. Cody's kind in Press et al., Numerical Recipes, 6.2 ("erfcc").
fn erfc(x: f64) -> f64 {
    const FIT: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let t = 1.0 / (1.0 + 0.5 * x);
    let sum = FIT.iter().rev().fold(0.0, |sum, factor| sum * t + factor);
    (t * (-x * x + sum).exp()).min(1.0)
}

/// For each z of a table, whether it is significant: whether it is among the `k` most extreme,
/// where `k` is the largest with `p(k) <= k / m * FALSE_DISCOVERIES` (Y. Benjamini and Y. Hochberg,
/// J. R. Statist. Soc. B 57, 1995).
pub fn significant(z: &[f64]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..z.len()).collect();
    order.sort_by(|a, b| z[*b].abs().total_cmp(&z[*a].abs()));
    let limit = |rank: usize| (rank + 1) as f64 / z.len() as f64 * FALSE_DISCOVERIES;
    let last = (0..order.len()).rev().find(|rank| p_value(z[order[*rank]]) <= limit(*rank));
    let mut significant = vec![false; z.len()];
    for index in order.iter().take(last.map_or(0, |last| last + 1)) {
        significant[*index] = true;
    }
    significant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_distribution_is_that_of_tables() {
        for (z, p) in [(0.0, 1.0), (1.0, 0.317_310_5), (1.959_964, 0.05), (3.0, 0.002_699_8)] {
            assert!((p_value(z) - p).abs() < 1e-6, "{z}: {}", p_value(z));
            assert_eq!(p_value(-z), p_value(z));
        }
        assert!((p_value(6.0) / 1.973_175e-9 - 1.0).abs() < 1e-5);
        assert_eq!(p_value(f64::INFINITY), 0.0);
    }

    #[test]
    fn quantiles_are_those_of_tables() {
        for (confidence, z) in
            [(0.5, 0.0), (0.95, 1.644_854), (0.99, 2.326_348), (0.999, 3.090_232)]
        {
            assert!((quantile(confidence) - z).abs() < 1e-5, "{confidence}");
        }
    }

    #[test]
    fn an_interval_holds_the_difference_as_often_as_it_says() {
        // Shares of 0.2 and 0.3, drawn 2,000 times of 500 samples each.
        let mut state = 88_172_645_463_325_252u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let z = quantile(0.95);
        let mut beyond = [0, 0];
        for _ in 0..2000 {
            let mut count = |p: f64| (0..500).filter(|_| random() < p).count() as f64;
            let (a, b) = (count(0.2), count(0.3));
            let side = Side::of([(500.0, 500)]);
            let least = (b - a) / 500.0 - z * share_error(&side, a, &side, b);
            beyond[0] += usize::from(least > 0.1);
            // As amounts the two are less sure: how many there are in all is chance, too.
            beyond[1] += usize::from(b - a - z * amount_error(&side, a, &side, b) > 50.0);
        }
        // 100 are to be expected, five standard deviations are 49.
        assert!((51..150).contains(&beyond[0]), "{beyond:?}");
        assert!(beyond[1] < beyond[0], "{beyond:?}");
    }

    #[test]
    fn equal_shares_do_not_differ() {
        let (base, new) = (Side::of([(100.0, 1000)]), Side::of([(400.0, 8000)]));
        assert_eq!(z(&base, 250.0, &new, 2000.0), 0.0);
        assert_eq!(z(&base, 0.0, &new, 0.0), 0.0);
        assert_eq!(z(&base, 1000.0, &new, 8000.0), 0.0);
        assert_eq!(z(&Side::default(), 0.0, &new, 5.0), 0.0);
    }

    #[test]
    fn a_difference_by_hand() {
        // 50 of 200 and 75 of 200: p = 0.3125, error = sqrt(0.21484375 * 0.01).
        let (base, new) = (Side::of([(200.0, 200)]), Side::of([(200.0, 200)]));
        let expected = 0.125 / (0.214_843_75f64 * 0.01).sqrt();
        assert!((z(&base, 50.0, &new, 75.0) - expected).abs() < 1e-12);
        assert!((z(&new, 75.0, &base, 50.0) + expected).abs() < 1e-12);
    }

    #[test]
    fn unequal_weights_count_for_less() {
        assert_eq!(Side::of([(1.0, 5); 40]).samples, 40.0);
        assert_eq!(Side::of([(40.0, 200)]).samples, 40.0);
        let uneven = Side::of([(90.0, 90), (10.0, 900)]);
        assert!(uneven.samples < 20.0 && uneven.samples > 10.0, "{}", uneven.samples);
        assert_eq!(Side::of([]), Side::default());
    }

    #[test]
    fn false_discoveries_are_bounded() {
        // p: 0.0001, 0.02, 0.04, 0.9 of four: limits 0.0125, 0.025, 0.0375, 0.05.
        let z = [0.125_661, 3.890_59, 2.053_749, -2.326_348];
        assert_eq!(significant(&z), [false, true, false, true]);
        assert_eq!(significant(&[]), [] as [bool; 0]);
        assert!(significant(&[0.0; 100]).iter().all(|one| !one));
    }

    #[test]
    fn of_comparisons_without_a_difference_few_are_significant() {
        // Shares of 1,000 functions drawn twice from the same distribution, 200 times.
        let mut state = 88_172_645_463_325_252u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state >> 11
        };
        let mut wrong = 0;
        for _ in 0..200 {
            let mut counts = [[0u64; 50]; 2];
            for side in &mut counts {
                for _ in 0..2000 {
                    side[(random() % 50) as usize] += 1;
                }
            }
            let sides = counts.map(|counts| Side::of(counts.map(|count| (count as f64, count))));
            let z: Vec<f64> = (0..50)
                .map(|i| z(&sides[0], counts[0][i] as f64, &sides[1], counts[1][i] as f64))
                .collect();
            wrong += usize::from(significant(&z).contains(&true));
        }
        // One in twenty is what the procedure allows.
        assert!(wrong < 30, "{wrong} of 200 tables");
    }
}
