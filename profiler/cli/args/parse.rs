//! Words that mean a quantity.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{model::parse_span, probe::Probe, sources::split_period};

/// A stretch of time such as 10s, 1m30s, 2h, and more than nothing.
pub fn parse_time(text: &str) -> Result<Duration> {
    let time = parse_span(text)?;
    if time.is_zero() {
        bail!("a time has to be more than nothing");
    }
    Ok(time)
}

/// A size such as 2GB, 128MB, 500kB; a bare number is bytes.
pub fn parse_size(text: &str) -> Result<u64> {
    let end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 =
        number.parse().with_context(|| format!("{text:?} is not a size; try 2GB or 128MB"))?;
    let unit: u64 = match &*unit.trim_start().to_ascii_lowercase() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => bail!("{unit:?} is no unit of size; there are kB, MB, GB and TB"),
    };
    let bytes = number * unit as f64;
    if bytes >= u64::MAX as f64 {
        bail!("{text:?} is more than any machine has");
    }
    Ok(bytes as u64)
}

/// A size that is more than nothing.
pub fn parse_room(text: &str) -> Result<u64> {
    match parse_size(text)? {
        0 => bail!("it has to be more than nothing"),
        bytes => Ok(bytes),
    }
}

/// A share such as 1% or 0.5%, of one; more than nothing.
pub fn parse_share(text: &str) -> Result<f64> {
    match parse_any_share(text)? {
        0.0 => bail!("a share has to be more than nothing"),
        share => Ok(share),
    }
}

/// A share such as 1% or 0.5%, of one; or 0.
pub fn parse_any_share(text: &str) -> Result<f64> {
    let number = text.strip_suffix('%').or((text == "0").then_some(text));
    let number = number.with_context(|| format!("{text:?} is no share; try 1%"))?;
    let share =
        number.trim_end().parse::<f64>().with_context(|| format!("{text:?} is no share"))?;
    if !(share >= 0.0 && share.is_finite()) {
        bail!("a share cannot be less than nothing");
    }
    Ok(share / 100.0)
}

/// A probe, and how many hits there are to a sample if that follows.
pub fn parse_probe(text: &str) -> Result<String> {
    Probe::parse(split_period(text).0)?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_shares() {
        assert_eq!(parse_size("2GB").unwrap(), 2 << 30);
        assert_eq!(parse_size("128 mb").unwrap(), 128 << 20);
        assert_eq!(parse_size("1.5k").unwrap(), 1536);
        assert_eq!(parse_size("77").unwrap(), 77);
        assert_eq!(parse_size("0").unwrap(), 0);
        for wrong in ["", "GB", "1x", "-1", "1e9", "inf", "99999999TB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        assert!(parse_room("0").is_err());
        assert_eq!(parse_share("1%").unwrap(), 0.01);
        assert_eq!(parse_share("0.5%").unwrap(), 0.005);
        for wrong in ["", "1", "%", "0%", "-1%", "inf%", "NaN%"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_any_share("0").unwrap(), 0.0);
    }

    #[test]
    fn times() {
        let ms = |text| parse_time(text).unwrap().as_millis();
        assert_eq!(ms("10s"), 10_000);
        assert_eq!(ms("1m30s"), 90_000);
        assert_eq!(ms("250ms"), 250);
        assert_eq!(ms("2"), 2_000);
        assert_eq!(ms("7d"), 7 * 86_400_000);
        for wrong in ["", "0", "10x", "s", "-1s", "1e400s", "1..2s"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
