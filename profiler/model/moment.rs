//! Moments: how a view says when something begins or ends.
//!
//! A person may count from the start of a recording or back from its end, may name a time of day
//! or a date; a program names milliseconds since the Unix epoch. All of them become one number
//! once it is known what recording they are about.

use std::{fmt, time::Duration};

use anyhow::{Context, Result, bail};
use jiff::{Timestamp, ToSpan, civil, tz::TimeZone};

/// Digits from which on a whole number is taken for ms since the Unix epoch (2001 and later), and
/// not for seconds.
const EPOCH_DIGITS: usize = 12;

/// A moment, as a view says it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Moment {
    /// So many ns after the start of the recording.
    AfterStart(u64),
    /// So many ns before its end.
    BeforeEnd(u64),
    /// ns since the Unix epoch.
    At(u64),
    /// The last time before the recording's end that clocks here showed this.
    Clock(civil::Time),
}

impl Moment {
    /// Reads `10s` (after the start), `-1h` (before the end), `03:12` or `03:12:30` (local time),
    /// an RFC 3339 time (without a zone: local time), or a number of 12 digits or more: ms since
    /// the Unix epoch.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(text: &str) -> Result<Self> {
        let no_moment = || {
            format!(
                "{text:?} is not a moment; try 10s (after the start), -1h (before the end), \
                 03:12 or 2026-11-21T03:12:00Z"
            )
        };
        if let Some(at) = parse_epoch(text) {
            return Ok(Self::At(at));
        }
        if let Some(before) = text.strip_prefix('-') {
            return Ok(Self::BeforeEnd(nanoseconds(parse_span(before)?)));
        }
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(epoch_ns(at).with_context(no_moment)?));
        }
        if text.contains('-') {
            let local: civil::DateTime = text.parse().with_context(no_moment)?;
            let at = local.to_zoned(TimeZone::system()).with_context(no_moment)?;
            return Ok(Self::At(epoch_ns(at.timestamp()).with_context(no_moment)?));
        }
        if text.contains(':') {
            return Ok(Self::Clock(text.parse().with_context(no_moment)?));
        }
        Ok(Self::AfterStart(nanoseconds(parse_span(text)?)))
    }

    /// The moment in a recording from `start` to `end`; all in ns since the Unix epoch.
    pub fn resolve(self, start: u64, end: u64) -> u64 {
        match self {
            Self::AfterStart(after) => start.saturating_add(after),
            Self::BeforeEnd(before) => end.saturating_sub(before),
            Self::At(at) => at,
            Self::Clock(time) => last_at(time, end, &TimeZone::system()).unwrap_or(end),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |ns: &u64| humantime::format_duration(Duration::from_nanos(*ns));
        match self {
            Self::AfterStart(after) => span(after).fmt(f),
            Self::BeforeEnd(before) => write!(f, "-{}", span(before)),
            Self::At(at) => match Timestamp::from_nanosecond((*at).into()) {
                Ok(at) => at.fmt(f),
                Err(_) => write!(f, "{at} ns"),
            },
            Self::Clock(time) => time.fmt(f),
        }
    }
}

/// The last time that is `time` of a day in `zone` and not after `end`; ns since the Unix epoch.
fn last_at(time: civil::Time, end: u64, zone: &TimeZone) -> Option<u64> {
    let end = Timestamp::from_nanosecond(end.into()).ok()?;
    let today = end.to_zoned(zone.clone()).date();
    // A day on which clocks skipped that time has it later, as jiff resolves it.
    let at =
        |date: civil::Date| Some(date.to_datetime(time).to_zoned(zone.clone()).ok()?.timestamp());
    let last = at(today).filter(|at| *at <= end);
    epoch_ns(last.or_else(|| at(today.checked_sub(1.day()).ok()?))?)
}

fn epoch_ns(at: Timestamp) -> Option<u64> {
    u64::try_from(at.as_nanosecond()).ok()
}

/// ns of a number that is ms since the Unix epoch.
fn parse_epoch(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() < EPOCH_DIGITS || !digits(whole) || !digits(fraction) {
        return None;
    }
    let ms: u64 = whole.parse().ok()?;
    let below: f64 = format!("0.{fraction}0").parse().ok()?;
    ms.checked_mul(1_000_000)?.checked_add((below * 1e6) as u64)
}

fn nanoseconds(span: Duration) -> u64 {
    span.as_nanos().min(u64::MAX.into()) as u64
}

/// A stretch of time such as 10s, 500ms, 1m30s, 2h, 7d; a bare number is seconds.
///
/// # Errors
/// It is something else.
pub fn parse_span(text: &str) -> Result<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, unit_on) = rest.split_at(end);
        let end = unit_on.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit_on.len());
        let (unit, next) = unit_on.split_at(end);
        let number: f64 =
            number.parse().with_context(|| format!("{text:?} is not a time; try 10s or 5m"))?;
        let seconds = match unit {
            "" | "s" => 1.0,
            "ms" => 0.001,
            "us" => 0.000_001,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => bail!("{unit:?} is no unit of time; there are us, ms, s, m, h and d"),
        };
        let part =
            Duration::try_from_secs_f64(number * seconds).context("that time is too long")?;
        sum = sum.checked_add(part).context("that time is too long")?;
        rest = next;
    }
    if text.is_empty() {
        bail!("a time has to be something; try 10s or 5m");
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn every_way_to_say_a_moment() {
        let at = |text: &str| Moment::parse(text).unwrap().resolve(1000 * S, 5000 * S);
        assert_eq!(at("10s"), 1010 * S);
        assert_eq!(at("0"), 1000 * S);
        assert_eq!(at("-1h"), 1400 * S);
        assert_eq!(at("-7d"), 0);
        assert_eq!(at("1970-01-01T00:50:00Z"), 3000 * S);
        assert_eq!(at("1970-01-01T01:50:00+01:00"), 3000 * S);
        assert_eq!(at("1795246854123"), 1_795_246_854_123_000_000);
        assert_eq!(at("1795246854123.25"), 1_795_246_854_123_250_000);
        assert_eq!(Moment::parse("03:12:30").unwrap(), Moment::Clock(civil::time(3, 12, 30, 0)));
        assert!(matches!(Moment::parse("2026-11-21T03:12:00").unwrap(), Moment::At(_)));
        assert!(matches!(Moment::parse("2026-11-21 03:12").unwrap(), Moment::At(_)));
    }

    #[test]
    fn what_is_no_moment() {
        for wrong in [
            "",
            "-",
            "--1h",
            "10x",
            "25:00",
            "03:",
            "2026-13-01T00:00:00Z",
            "1890-01-01T00:00:00Z",
            "99999999999999999999999",
            "1e400s",
            "now",
            "12345678901234x",
        ] {
            assert!(Moment::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_of_day_is_the_last_one() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let end: Timestamp = "2026-11-21T10:00:00+01:00".parse().unwrap();
        let last = |hour, minute| {
            let at = last_at(civil::time(hour, minute, 0, 0), epoch_ns(end).unwrap(), &zone);
            Timestamp::from_nanosecond(at.unwrap().into()).unwrap().to_string()
        };
        assert_eq!(last(3, 12), "2026-11-21T02:12:00Z");
        assert_eq!(last(10, 0), "2026-11-21T09:00:00Z");
        assert_eq!(last(10, 1), "2026-11-20T09:01:00Z");
    }

    #[test]
    fn spans() {
        let ms = |text| parse_span(text).unwrap().as_millis();
        assert_eq!(ms("10s"), 10_000);
        assert_eq!(ms("1m30s"), 90_000);
        assert_eq!(ms("250ms"), 250);
        assert_eq!(ms("2"), 2_000);
        assert_eq!(ms("7d"), 7 * 86_400_000);
        for wrong in ["", "10x", "s", "-1s", "1e400s", "1..2s", &"9".repeat(400)] {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
    }
}
