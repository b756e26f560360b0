//! The colours of flame graphs: a hue for each kind of frame, a shade for each name.
//!
//! User code is warm and the kernel is cold, so the border between them is seen at a glance; what
//! the profiler could not name is grey. User code is green where memory is shown, as FlameGraph's
//! palette `mem` has it, so that nobody takes it for time. Kinds differ in lightness as well as in hue, for eyes that
//! do not tell hues apart, and black text is readable on all of them.

use inferno::flamegraph::color::Color;

use super::fold::Label;
use crate::model::{IDLE, NameKind, Profile, WaitState};

/// The range that the colours of one kind of frame are from: degrees, and per cent twice.
struct Range {
    hue: (f32, f32),
    saturation: (f32, f32),
    lightness: (f32, f32),
}

/// The kinds of functions in the order of a legend, each in the words of one.
pub const LEGEND: &[(NameKind, &str)] = &[
    (NameKind::User, "user"),
    (NameKind::Inlined, "inlined"),
    (NameKind::Jit, "JIT"),
    (NameKind::Kernel, "kernel"),
    (NameKind::Unknown, "no symbol"),
    (NameKind::Note, "note by rprof"),
];

/// What a picture is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Palette {
    /// Time, and all else.
    Time,
    /// Memory.
    Memory,
}

impl Palette {
    /// That of a profile.
    pub fn of(profile: &Profile) -> Self {
        if profile.source.is_memory() { Self::Memory } else { Self::Time }
    }

    /// The colour of a frame, the same for the same name in every picture.
    pub fn color(self, label: &Label) -> Color {
        match wait(&label.text) {
            Some(color) if label.kind == Some(NameKind::Note) => color,
            _ => shade(self.range(label.kind), hash(&label.text)),
        }
    }

    /// The middle colour of a kind.
    pub fn typical(self, kind: Option<NameKind>) -> Color {
        shade(self.range(kind), [0.5; 3])
    }

    fn range(self, kind: Option<NameKind>) -> Range {
        let range = |hue, saturation, lightness| Range { hue, saturation, lightness };
        match (self, kind) {
            (Self::Memory, Some(NameKind::User)) => {
                range((118.0, 148.0), (40.0, 54.0), (66.0, 75.0))
            }
            (Self::Memory, Some(NameKind::Inlined)) => {
                range((68.0, 84.0), (56.0, 68.0), (70.0, 78.0))
            }
            (Self::Memory, Some(NameKind::Jit)) => range((28.0, 42.0), (80.0, 92.0), (70.0, 77.0)),
            (_, kind) => of_kind(kind),
        }
    }
}

/// What a thread waited for: cool, and each with a colour of its own, as in `web/static/states.js`.
fn wait(text: &str) -> Option<Color> {
    let one = |hue: f32, saturation: f32, lightness: f32| {
        let range = Range {
            hue: (hue, hue),
            saturation: (saturation, saturation),
            lightness: (lightness, lightness),
        };
        Some(shade(range, [0.5; 3]))
    };
    if text == IDLE {
        return one(205.0, 18.0, 82.0);
    }
    match WaitState::ALL.into_iter().find(|state| state.note() == text)? {
        WaitState::Sleep => one(187.0, 52.0, 66.0),
        WaitState::Disk => one(246.0, 58.0, 78.0),
        WaitState::Lock => one(288.0, 46.0, 77.0),
        WaitState::Preempted => one(207.0, 80.0, 66.0),
        WaitState::Runnable => one(156.0, 52.0, 60.0),
    }
}

fn of_kind(kind: Option<NameKind>) -> Range {
    let range = |hue, saturation, lightness| Range { hue, saturation, lightness };
    match kind {
        Some(NameKind::User) => range((20.0, 38.0), (86.0, 96.0), (66.0, 75.0)),
        Some(NameKind::Inlined) => range((46.0, 56.0), (84.0, 94.0), (71.0, 79.0)),
        Some(NameKind::Jit) => range((94.0, 138.0), (44.0, 56.0), (65.0, 73.0)),
        Some(NameKind::Kernel) => range((200.0, 222.0), (64.0, 80.0), (72.0, 80.0)),
        Some(NameKind::Unknown) => range((220.0, 220.0), (4.0, 6.0), (77.0, 84.0)),
        Some(NameKind::Note) => range((334.0, 346.0), (70.0, 80.0), (80.0, 84.0)),
        None => range((256.0, 272.0), (34.0, 44.0), (83.0, 87.0)),
    }
}

/// The colour at `place` in a kind's range, each part of it from 0 to 1.
fn shade(range: Range, place: [f32; 3]) -> Color {
    let at = |(low, high): (f32, f32), place: f32| low + (high - low) * place;
    let hue = at(range.hue, place[0]);
    let saturation = at(range.saturation, place[1]) / 100.0;
    let lightness = at(range.lightness, place[2]) / 100.0;
    // HSL to RGB as in CSS Color 4, section 7.1.
    let channel = |n: f32| {
        let k = (n + hue / 30.0) % 12.0;
        let spread = saturation * lightness.min(1.0 - lightness);
        let value = lightness - spread * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0);
        (value * 255.0).round() as u8
    };
    Color { r: channel(0.0), g: channel(8.0), b: channel(4.0) }
}

/// Three numbers from 0 to 1 that depend on `name` alone: FNV-1a, its bits mixed so that names of
/// one letter's difference part.
fn hash(name: &str) -> [f32; 3] {
    let mut hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [hash >> 48, hash >> 32, hash >> 16].map(|bits| f32::from(bits as u16) / f32::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance, WCAG 2.
    fn luminance(color: Color) -> f64 {
        let part = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.03928 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(color.r) + 0.7152 * part(color.g) + 0.0722 * part(color.b)
    }

    #[test]
    fn black_text_is_readable_on_every_colour() {
        let kinds = || LEGEND.iter().map(|(kind, _)| Some(*kind)).chain([None]);
        let places = [[0.0; 3], [0.5; 3], [1.0; 3], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]];
        for palette in [Palette::Time, Palette::Memory] {
            for (kind, place) in kinds().flat_map(|kind| places.map(|place| (kind, place))) {
                let contrast = (luminance(shade(palette.range(kind), place)) + 0.05) / 0.05;
                assert!(contrast > 7.0, "{kind:?}: {contrast}");
            }
        }
        for text in WaitState::ALL.map(WaitState::note).into_iter().chain([IDLE]) {
            assert!((luminance(wait(text).unwrap()) + 0.05) / 0.05 > 7.0, "{text}");
        }
        assert!(wait("main").is_none());
    }

    #[test]
    fn names_of_a_kind_differ_and_stay_what_they_are() {
        let label = |text: &str| Label { text: text.into(), kind: Some(NameKind::User) };
        let color = |text: &str| Palette::Time.color(&label(text));
        let green = Palette::Memory.color(&label("main"));
        assert!(green.g > green.r && green.g > green.b, "{green:?}");
        assert_eq!(color("main"), color("main"));
        assert_ne!(color("work_a"), color("work_b"));
    }

    #[test]
    fn hsl_is_as_in_css() {
        // hsl(211 72% 76%)
        let kernel = Palette::Time.typical(Some(NameKind::Kernel));
        assert_eq!((kernel.r, kernel.g, kernel.b), (150, 192, 238));
    }
}
