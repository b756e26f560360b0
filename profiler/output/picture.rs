//! What rprof adds to inferno's picture: the counts, a legend, a font, and times or sizes on hover.
//!
//! Inferno has a title and one more line and no way to add to them. So its SVG is taken as text
//! and opened at a few known places, all of them before the first name that a profiled program
//! could have chosen.

use anyhow::{Context, Result};
use inferno::flamegraph::color::Color;

use super::{
    palette::{LEGEND, Palette},
    summary, text,
};
use crate::model::{Profile, View};

/// Pixels that are added above the frames for the legend.
const ROOM: i64 = 27;

/// Pixels between two lines of counts.
const LINE: i64 = 17;

/// Characters of a line of counts, so that it fits into 1200 pixels.
const WIDTH: usize = 165;

/// Where the first line of counts stands, pixels from the top.
const COUNTS: i64 = 67;

/// Where inferno draws the line of details, pixels from the top, at its font size of 12.
const DETAILS: i64 = 64;

/// Where it draws what a search matched, pixels from the bottom.
const MATCHED: i64 = 11;

/// The width of a character of the legend, pixels: 0.6 of the size in nearly all monospace fonts.
const CHARACTER: f64 = 7.2;

/// Finishes inferno's `svg` of `profile`, of which `cut` says what is not drawn.
pub fn finish(svg: &str, profile: &Profile, view: &View, cut: Option<String>) -> Result<String> {
    let palette = Palette::of(profile);
    let root = view.by.map(|label| (None, summary::label(label)));
    let kinds = LEGEND.iter().map(|(kind, word)| (Some(*kind), *word));
    let entries = root.into_iter().chain(kinds);
    let entries: Vec<_> = entries.map(|(kind, word)| (palette.typical(kind), word)).collect();
    finish_with(svg, profile, view, cut, &entries)
}

/// As [`finish`], with these colours and their words for a legend.
pub fn finish_with(
    svg: &str,
    profile: &Profile,
    view: &View,
    cut: Option<String>,
    entries: &[(Color, &str)],
) -> Result<String> {
    let changed = || "inferno draws its flame graph in another way than rprof knows";
    let height = between(svg, " height=\"", "\"").with_context(changed)?;
    let counts = [summary::counts(profile)].into_iter().chain(cut).collect::<Vec<_>>().join(" · ");
    let counts = text::wrap(&counts, WIDTH);
    let room = ROOM + counts.len() as i64 * LINE;
    let taller = height.parse::<i64>().with_context(changed)? + room;
    let box_before = between(svg, " viewBox=\"", &format!("{height}\"")).with_context(changed)?;
    let background = "fill=\"url(#background)\"/>";
    // What a search matched stands below the frames, out of sight: up to the line of details.
    let matched = DETAILS + room - (taller - room - MATCHED);
    let shift = |id: &str, by: i64| {
        let text = format!("<text id=\"{id}\"");
        (text.clone(), format!("{text} transform=\"translate(0,{by})\""))
    };
    // In the order in which they stand in the picture.
    let places = [
        (format!(" height=\"{height}\""), format!(" height=\"{taller}\"")),
        (
            format!(" viewBox=\"{box_before}{height}\""),
            format!(" viewBox=\"{box_before}{taller}\""),
        ),
        (
            format!("height=\"{height}\" {background}"),
            format!(
                "height=\"{taller}\" {background}{}",
                additions(profile, view, &counts, entries)
            ),
        ),
        shift("details", room),
        shift("matched", matched),
        ("<svg id=\"frames\"".to_owned(), format!("<svg id=\"frames\" y=\"{room}\"")),
    ];
    let mut out = String::with_capacity(svg.len() + 8192);
    let mut rest = svg;
    for (place, with) in places {
        let (before, after) = rest.split_once(&place).with_context(changed)?;
        out.push_str(before);
        out.push_str(&with);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// The first text between `start` and `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    Some(text.split_once(start)?.1.split_once(end)?.0)
}

/// Style, script, counts and legend.
fn additions(
    profile: &Profile,
    view: &View,
    counts: &[String],
    entries: &[(Color, &str)],
) -> String {
    let source = &profile.source;
    let known = ["nanoseconds", "bytes"].into_iter().find(|unit| *unit == source.value.unit);
    // Only where each sample stands for the same is a frame's time known from its width.
    let even = profile.count().checked_mul(source.period) == Some(profile.value());
    let mut out = format!(
        "<style>{}</style><script type=\"text/ecmascript\"><![CDATA[var per_sample = {}, unit = \
         \"{}\";\n{}]]></script>",
        include_str!("flamegraph.css"),
        match view.is_by_value(profile) {
            true => u64::from(known.is_some()),
            false if even && known.is_some() => source.period,
            false => 0,
        },
        known.unwrap_or_default(),
        include_str!("flamegraph.js"),
    );
    let mut y = COUNTS;
    for line in counts {
        let line = escape(line.trim());
        out += &format!("<text class=\"counts\" x=\"50%\" y=\"{y}\">{line}</text>");
        y += LINE;
    }
    out + &legend(entries, y - 6)
}

/// A coloured square and a word for each of `entries`, around the middle of the picture at height `y`.
fn legend(entries: &[(Color, &str)], y: i64) -> String {
    let width = |word: &str| 17.0 + word.len() as f64 * CHARACTER + 16.0;
    let all: f64 = entries.iter().map(|(_, word)| width(word)).sum();
    // Lengths in per cent follow the window; what is inside is measured from there.
    let mut out = format!("<svg id=\"legend\" x=\"50%\" y=\"{y}\" overflow=\"visible\">");
    let mut x = -all / 2.0;
    for (color, word) in entries {
        let Color { r, g, b } = color;
        out += &format!(
            "<rect x=\"{x:.1}\" y=\"0\" width=\"12\" height=\"12\" fill=\"rgb({r},{g},{b})\"/>\
             <text x=\"{:.1}\" y=\"10\">{word}</text>",
            x + 17.0
        );
        x += width(word);
    }
    out + "</svg>"
}

/// `text` as XML character data.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
