//! The names that a frame is shown under, the same in every output.

use std::borrow::Cow;

use super::{FrameKind, Line, Tables};

/// How a name is told apart in outputs: by colour, or by the suffix of a folded line.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum NameKind {
    /// A function in user space.
    User,
    /// A function of the kernel or a module.
    Kernel,
    /// Code that a runtime made.
    Jit,
    /// A function inlined into its caller.
    Inlined,
    /// Code without a known name.
    Unknown,
    /// A remark of the profiler.
    Note,
}

impl NameKind {
    /// Its word in outputs that programs read.
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Kernel => "kernel",
            Self::Jit => "jit",
            Self::Inlined => "inlined",
            Self::Unknown => "unknown",
            Self::Note => "note",
        }
    }

    /// The suffix of FlameGraph's annotations (stackcollapse-perf.pl --all).
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Kernel => "_[k]",
            Self::Jit => "_[j]",
            Self::Inlined => "_[i]",
            Self::User | Self::Unknown | Self::Note => "",
        }
    }
}

/// One function as it is shown; a frame has several where functions were inlined.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Name<'a> {
    /// The function's name, or `[file]` where it has none.
    pub text: Cow<'a, str>,
    /// What it is.
    pub kind: NameKind,
}

impl Tables {
    /// The names of a frame, innermost inlined function first; always at least one.
    pub fn names(&self, frame: u32) -> impl DoubleEndedIterator<Item = Name<'_>> + '_ {
        let lines = self.lines(frame);
        let kind = self.frames.get(frame).map_or(FrameKind::Note, |frame| frame.kind);
        let unknown = lines.is_empty().then(|| self.unknown_name(frame, kind));
        let last = lines.len().saturating_sub(1);
        let known = lines.iter().enumerate().map(move |(index, line)| {
            let function = self.functions.get(line.function);
            Name {
                text: self.strings.get(function.map_or(0, |function| function.name)).into(),
                kind: match kind {
                    FrameKind::Note => NameKind::Note,
                    FrameKind::Kernel => NameKind::Kernel,
                    _ if index < last => NameKind::Inlined,
                    FrameKind::Jit => NameKind::Jit,
                    FrameKind::User => NameKind::User,
                },
            }
        });
        known.chain(unknown)
    }

    /// As `names`, each with the function and line that it is of; none where no name is known.
    pub fn named_lines(&self, frame: u32) -> impl Iterator<Item = (Name<'_>, Option<&Line>)> + '_ {
        // A frame without a name is shown under one that belongs to no line.
        let lines = self.lines(frame).iter().map(Some).chain(std::iter::repeat(None));
        self.names(frame).zip(lines)
    }

    /// The names of a whole stack, leaf first.
    pub fn stack_names(&self, stack: u32) -> impl Iterator<Item = Name<'_>> + '_ {
        self.stacks.frames(stack).flat_map(|frame| self.names(frame))
    }

    /// The path of the binary that a frame's code is from; empty if not known, or if the frame is
    /// a note and so no code.
    pub fn binary_path(&self, frame: u32) -> &str {
        let frame = self.frames.get(frame).filter(|frame| frame.kind != FrameKind::Note);
        let binary = frame.and_then(|frame| self.binaries.get(frame.binary));
        self.strings.get(binary.map_or(0, |binary| binary.path))
    }

    fn unknown_name(&self, frame: u32, kind: FrameKind) -> Name<'_> {
        let path = self.binary_path(frame);
        let file = path.rsplit('/').next().unwrap_or_default();
        let text = match kind {
            FrameKind::Jit => "[jit]".into(),
            _ if file.starts_with('[') => file.into(),
            _ if !file.is_empty() => format!("[{file}]").into(),
            FrameKind::Kernel => "[kernel]".into(),
            FrameKind::User | FrameKind::Note => "[unknown]".into(),
        };
        let kind = if kind == FrameKind::Jit { NameKind::Jit } else { NameKind::Unknown };
        Name { text, kind }
    }
}
