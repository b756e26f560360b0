//! Flame graph: an SVG that any browser opens, zooms and searches, drawn by inferno.
//!
//! Width is samples, or their value where they do not all stand for the same; colour is the kind of
//! code, and green where it is about memory. Roots are at the top and callees hang below them,
//! so that the picture opens at its beginning however deep stacks are, with what the pointer is
//! over told above it; drawn upwards, both are a page away in a deep picture. The suffixes of
//! folded lines keep a kernel function and a user function of one name apart here too; inferno
//! takes them off what it shows, and the colour says the same.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::str::FromStr;

use anyhow::{Context, Result};
use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap, SearchColor};
use inferno::flamegraph::{self as inferno_flamegraph, Direction, Options, TextTruncateDirection};

use super::fold::{Fold, Label, fold};
use super::{Output, palette::Palette, picture, summary, text};
use crate::model::{NameKind, Profile, View};

/// Characters of a name that are in the picture; longer names lose their middle.
const NAME: usize = 1000;

/// Share of the width, in per cent, under which a frame is not drawn: far less than a pixel.
const NARROWEST: f64 = 0.01;

/// A flame graph.
pub struct Flamegraph;

impl Output for Flamegraph {
    fn name(&self) -> &'static str {
        "flamegraph"
    }

    fn is_binary(&self) -> bool {
        true
    }

    fn write(&self, profile: &Profile, view: &View, out: &mut dyn Write) -> Result<()> {
        let fold = fold(profile, view);
        let names: Vec<String> = fold.labels.iter().map(name).collect();
        let lines = lines(&fold, &names);
        let mut colors = colors(&fold, &names, Palette::of(profile));
        let mut options = options(profile, view);
        options.palette_map = Some(&mut colors);
        let mut svg = Vec::new();
        // Given in reverse, because in this mode inferno turns the lines round and trusts their
        // order; in all others it sorts them as text, which tears stacks apart (see `fold`).
        options.flame_chart = true;
        let lines = lines.iter().rev().map(String::as_str);
        inferno_flamegraph::from_lines(&mut options, lines, &mut svg)
            .context("the flame graph could not be drawn")?;
        let svg = String::from_utf8(svg).context("inferno wrote something that is no text")?;
        out.write_all(picture::finish(&svg, profile, view, cut(profile, view))?.as_bytes())?;
        Ok(())
    }
}

/// Draws `new` with the colours of what changed since `base`: a differential flame graph. Where it is
/// `of_shares` that are compared, the base is taken to be as large as the new.
///
/// # Errors
/// Inferno does not draw it.
pub fn difference(base: &Profile, new: &Profile, of_shares: bool, view: &View) -> Result<String> {
    let [before, after] = [base, new].map(|profile| counted(&fold(profile, view)));
    let sum = |lines: &BTreeMap<Vec<String>, u64>| lines.values().sum::<u64>() as f64;
    let scale = if of_shares { sum(&after) / sum(&before).max(1.0) } else { 1.0 };
    let mut all: BTreeMap<&Vec<String>, (u64, u64)> = BTreeMap::new();
    for (path, count) in &before {
        all.entry(path).or_default().0 = (*count as f64 * scale).round() as u64;
    }
    for (path, count) in &after {
        all.entry(path).or_default().1 = *count;
    }
    // In reverse, as above.
    let lines = all.iter().rev();
    let lines = lines.map(|(path, (old, now))| format!("{} {old} {now}", path.join(";")));
    let lines: Vec<String> = lines.collect();
    let mut options = options(new, view);
    options.title = format!("{}: what changed", options.title);
    options.flame_chart = true;
    let mut svg = Vec::new();
    inferno_flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)
        .context("the flame graph could not be drawn")?;
    let svg = String::from_utf8(svg).context("inferno wrote something that is no text")?;
    // The darkest and the lightest of inferno's colours for a difference.
    let entries = [
        (Color { r: 255, g: 105, b: 105 }, "more of its own"),
        (Color { r: 105, g: 105, b: 255 }, "less"),
        (Color { r: 250, g: 250, b: 250 }, "as before"),
    ];
    picture::finish_with(&svg, new, view, cut(new, view), &entries)
}

/// Stacks by the names of their frames, in the order of those.
fn counted(fold: &Fold) -> BTreeMap<Vec<String>, u64> {
    let names: Vec<String> = fold.labels.iter().map(name).collect();
    let mut counted = BTreeMap::new();
    for (path, count) in &fold.stacks {
        let path = path.iter().filter_map(|label| names.get(*label as usize)).cloned().collect();
        *counted.entry(path).or_default() += count;
    }
    counted
}

/// The name of a frame for inferno, which hides the suffixes that it knows: `_[w]`, which no kind
/// has, keeps the label at the root apart from a function of its name.
fn name(label: &Label) -> String {
    let text: Cow<str> = text::shorten(&label.text, NAME);
    format!("{text}{}", label.kind.map_or("_[w]", NameKind::suffix))
}

/// Folded lines, sorted by frames.
fn lines(fold: &Fold, names: &[String]) -> Vec<String> {
    let line = |(path, count): &(Vec<u32>, u64)| {
        let mut line = String::new();
        for name in path.iter().filter_map(|label| names.get(*label as usize)) {
            line.push_str(name);
            line.push(';');
        }
        line.pop();
        line + " " + &count.to_string()
    };
    fold.stacks.iter().map(line).collect()
}

/// The colour of every name.
fn colors(fold: &Fold, names: &[String], palette: Palette) -> PaletteMap {
    let mut colors = PaletteMap::default();
    // The frame of all samples has no name.
    colors.insert("", Color { r: 226, g: 228, b: 232 });
    for (label, name) in fold.labels.iter().zip(names) {
        colors.insert(name, palette.color(label));
    }
    colors
}

fn options(profile: &Profile, view: &View) -> Options<'static> {
    let mut options = Options::default();
    options.direction = Direction::Inverted;
    options.title = summary::title(profile);
    options.subtitle = Some(summary::origin(profile));
    if let Ok(color) = SearchColor::from_str("#f26bff") {
        options.search_color = color;
    }
    options.name_type = String::new();
    options.count_name = match view.is_by_value(profile) {
        true => profile.value_type().unit,
        false => summary::noun(&profile.count_type()),
    };
    options.bgcolors = Some(BackgroundColor::Flat(Color { r: 255, g: 255, b: 255 }));
    options.font_width = 0.6;
    options.frame_height = 18;
    options.min_width = NARROWEST;
    options.text_truncate_direction = TextTruncateDirection::Right;
    options.notes = "made by rprof".into();
    options
}

/// What is said of frames too narrow to draw, where there can be any.
fn cut(profile: &Profile, view: &View) -> Option<String> {
    if view.is_by_value(profile) {
        let least = (profile.value() as f64 * NARROWEST / 100.0) as u64;
        let least = text::quantity(least, &profile.value_type().unit);
        return Some(format!("frames of less than {least} not drawn"));
    }
    let least = profile.count() as f64 * NARROWEST / 100.0;
    let what = summary::noun(&profile.count_type());
    (least > 1.0).then(|| format!("frames of less than {least:.0} {what} not drawn"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::example;

    fn draw(profile: &Profile) -> String {
        draw_view(profile, &View::default())
    }

    fn draw_view(profile: &Profile, view: &View) -> String {
        let mut bytes = Vec::new();
        Flamegraph.write(profile, view, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_picture_says_what_it_is_of() {
        let svg = draw(&example::profile());
        for text in [
            ">CPU time<",
            "process 10 (app) · 10.0 s · 99 Hz cpu-clock · 2026-11-21T07:40:54Z",
            "23 samples = 232 ms · 76.00% with complete stacks · 2 lost (8.00%) · 1 truncated",
            ">kernel</text>",
            "var per_sample = 10101010, unit = \"nanoseconds\";",
            "<title>fast_copy (7 samples, 30.43%)</title>",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(!svg.contains("not drawn"));
    }

    #[test]
    fn memory_is_green_and_in_bytes() {
        let svg = draw(&example::heap_in_use());
        for text in [
            ">Memory in use<",
            "<title>cache (1,048,576 bytes, 96.33%)</title>",
            "var per_sample = 1, unit = \"bytes\";",
            "1.04 MiB in 1,001 objects in use",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        let view = View { value_type: Some("inuse_objects".into()), ..View::default() };
        let mut profile = example::heap_in_use();
        profile.measure.by_count = true;
        let svg = draw_view(&profile, &view);
        assert!(svg.contains("<title>leak (1,000 objects, 99.90%)</title>"));
        assert!(svg.contains("per_sample = 0,"));
    }

    #[test]
    fn kinds_of_one_name_are_apart() {
        let svg = draw(&example::profile());
        assert!(svg.contains("<title>memcpy (2 samples, 8.70%)</title>"));
        assert!(svg.contains("<title>memcpy (4 samples, 17.39%)</title>"));
        assert!(!svg.contains("_["), "a suffix is shown");
    }

    #[test]
    fn names_cannot_leave_their_place() {
        let mut profile = example::profile();
        profile.info.target = "<script>alert(2)</script>".into();
        profile.stats.missed.insert("<b>".into(), 1);
        example::add(&mut profile, &[&format!("{}<end>", "x<y>".repeat(2500))]);
        let svg = draw(&profile);
        assert!(!svg.contains("<script>alert"));
        assert!(!svg.contains("<b>"));
        assert!(svg.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(svg.contains("…") && svg.contains("&lt;end&gt;"));
        assert!(svg.len() < 80_000, "{}", svg.len());
        assert!(!svg.chars().any(|c| c.is_control() && c != '\n'));
    }

    #[test]
    fn no_name_costs_samples() {
        let mut profile = example::empty();
        let names =
            ["", " ", "a 5", "a 5 6", "# x", ";;", "1", "\u{85}", "a\u{2028}b", "_[k]", "--"];
        for name in names {
            example::add(&mut profile, &[name]);
            let thread = example::thread(&mut profile, 30, 30, name, name);
            example::samples(&mut profile, thread, &[], 1);
        }
        let all = format!("<title>all ({} samples, 100%)</title>", 2 * names.len());
        assert!(draw(&profile).contains(&all));
    }

    #[test]
    fn many_reasons_take_more_lines() {
        let mut profile = example::profile();
        for reason in 0..8 {
            profile.stats.unwind_failed.insert(format!("reason number {reason}"), 1);
        }
        let svg = draw(&profile);
        assert_eq!(svg.matches("class=\"counts\"").count(), 3);
        assert!(svg.contains("<svg id=\"frames\" y=\"78\""));
    }

    #[test]
    fn callees_of_one_function_stand_under_one_frame() {
        let mut profile = example::empty();
        for names in [&["read", "x"][..], &["read"], &["read (deleted)"]] {
            example::add(&mut profile, names);
        }
        assert!(draw(&profile).contains("<title>read (2 samples, 66.67%)</title>"));
    }

    #[test]
    fn samples_too_many_to_draw_each_are_told() {
        let mut profile = example::profile();
        profile.samples[0].count = 30_000;
        let by_samples = View { value_type: Some("samples".into()), ..View::default() };
        profile.measure.by_count = true;
        let svg = draw_view(&profile, &by_samples);
        assert!(svg.contains("frames of less than 3 samples not drawn"));
        assert!(svg.contains("per_sample = 0,"), "samples stand for different times");
        profile.measure.by_count = false;
        // Unless told otherwise, such samples count by what they stand for.
        let svg = draw(&profile);
        assert!(svg.contains("<title>fast_copy (70,707,070 nanoseconds, 30.43%)</title>"));
        assert!(svg.contains("per_sample = 1,"));
    }
}
