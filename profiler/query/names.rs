//! The tree of names: stacks of frames, of any number of recordings, as stacks of functions.
//!
//! A view asks for functions: two call sites of one function are one box, and a function inlined
//! into another is a box of its own. So each node of a recording's stacks is looked up once here,
//! and from then on is a number: the node of the tree of names. Sums are then made over plain
//! arrays, whatever number of samples there is.

use std::{collections::HashMap, time::Instant};

use super::{Result, timely};
use crate::model::{
    EMPTY_STACK, FrameKind, IDLE, NameKind, Stacks, Strings, Table, Tables, is_idle,
};

/// The node without any function.
pub const ROOT: u32 = EMPTY_STACK;

/// The most functions that a stack may have. More come of damage alone.
const DEPTH_MAX: u16 = 4096;

/// A function as it is shown: what has the same name and is of the same kind is one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Function {
    /// String: its name.
    pub name: u32,
    /// What it is.
    pub kind: NameKind,
}

/// Where a function is, as far as known; of the first of them that was met.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// String: path of the binary.
    pub module: u32,
    /// String: path of the source file.
    pub file: u32,
    /// Line; 0 if not known.
    pub line: u32,
}

/// Functions, and stacks of them.
#[derive(Default)]
pub struct Names {
    strings: Strings,
    functions: Table<Function>,
    places: Vec<Place>,
    /// A node's frame is a function here.
    stacks: Stacks,
    nodes: Vec<Node>,
}

/// One node, root first: what the sums need to know of it.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// The caller's node; always a smaller number.
    pub parent: u32,
    /// Function.
    pub function: u32,
    /// Functions from the root to this one.
    depth: u16,
    /// True if no caller is the same function.
    pub outermost: bool,
}

impl Names {
    /// All nodes but the root; node `n` is entry `n - 1`.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node; none for the root.
    pub fn node(&self, node: u32) -> Option<&Node> {
        self.nodes.get((node as usize).checked_sub(1)?)
    }

    /// How many nodes there are, the root included.
    pub fn size(&self) -> usize {
        self.nodes.len() + 1
    }

    /// How many functions there are.
    pub fn functions(&self) -> usize {
        self.functions.len()
    }

    /// A function's name.
    pub fn name(&self, function: u32) -> &str {
        self.strings.get(self.functions.get(function).map_or(0, |function| function.name))
    }

    /// A function's kind.
    pub fn kind(&self, function: u32) -> NameKind {
        self.functions.get(function).map_or(NameKind::Unknown, |function| function.kind)
    }

    /// Where a function is.
    pub fn place(&self, function: u32) -> Place {
        self.places.get(function as usize).copied().unwrap_or_default()
    }

    /// A text that a `Place` refers to.
    pub fn text(&self, string: u32) -> &str {
        self.strings.get(string)
    }

    /// For each function what `test` says of its name and kind. A pattern may take long for a long
    /// name, so the time is looked at between any two.
    ///
    /// # Errors
    /// It is `until` already.
    pub fn each(&self, until: Instant, test: impl Fn(&str, NameKind) -> bool) -> Result<Vec<bool>> {
        let functions = self.functions.since(0);
        let test = |function: &Function| {
            timely(until)?;
            Ok(test(self.strings.get(function.name), function.kind))
        };
        functions.map(test).collect()
    }

    /// About how many bytes of memory all this takes.
    pub fn bytes(&self) -> usize {
        self.strings.bytes()
            + self.functions.bytes()
            + self.stacks.bytes()
            + self.places.capacity() * size_of::<Place>()
            + self.nodes.capacity() * size_of::<Node>()
    }

    fn push(&mut self, parent: u32, function: u32) -> u32 {
        let depth = self.node(parent).map_or(0, |node| node.depth) + 1;
        if depth > DEPTH_MAX {
            return parent;
        }
        let node = self.stacks.push(parent, function);
        if node as usize > self.nodes.len() {
            let mut outermost = true;
            let mut caller = parent;
            while let Some(node) = self.node(caller) {
                outermost &= node.function != function;
                caller = node.parent;
            }
            self.nodes.push(Node { parent, function, depth, outermost });
        }
        node
    }

    /// The same functions as those of a node, on the frame of idle threads.
    fn on_idle(&mut self, node: u32) -> u32 {
        let key = Function { name: self.strings.intern(IDLE), kind: NameKind::Note };
        let function = self.functions.intern(key);
        if function as usize == self.places.len() {
            self.places.push(Place::default());
        }
        let mut path = Vec::new();
        let mut at = node;
        while let Some(one) = self.node(at) {
            path.push(one.function);
            at = one.parent;
        }
        let root = self.push(ROOT, function);
        path.into_iter().rev().fold(root, |below, function| self.push(below, function))
    }

    /// The functions of a frame, the outermost first.
    fn frame(&mut self, frame: u32, tables: &Tables) -> Vec<u32> {
        let module = self.strings.intern(tables.binary_path(frame));
        let mut functions = Vec::new();
        for (name, line) in tables.named_lines(frame) {
            let key = Function { name: self.strings.intern(&name.text), kind: name.kind };
            let function = self.functions.intern(key);
            if function as usize == self.places.len() {
                let known = line.and_then(|line| tables.functions.get(line.function));
                let file = tables.strings.get(known.map_or(0, |function| function.file));
                let file = self.strings.intern(file);
                self.places.push(Place { module, file, line: line.map_or(0, |line| line.line) });
            }
            functions.push(function);
        }
        functions.reverse();
        functions
    }
}

/// The nodes of one recording's stacks, in the tree of names.
#[derive(Default)]
pub struct Mapping {
    /// For each frame its functions, the outermost first.
    frames: Vec<Box<[u32]>>,
    /// For each frame, the first stack that has it.
    first: Vec<u32>,
    /// Frames that had no name when they were looked up.
    unnamed: Vec<u32>,
    /// For each stack its node.
    nodes: Vec<u32>,
    /// Of stacks of idle threads, that on the frame of all of them.
    idle: HashMap<u32, u32, foldhash::fast::RandomState>,
}

impl Mapping {
    /// The node of a stack.
    pub fn node(&self, stack: u32) -> u32 {
        self.nodes.get(stack as usize).copied().unwrap_or(ROOT)
    }

    /// The node of a stack on the frame of idle threads; none if it is of no idle thread.
    pub fn idle(&self, stack: u32) -> Option<u32> {
        self.idle.get(&stack).copied()
    }

    /// Takes in what came to `tables` since the last time.
    pub fn update(&mut self, tables: &Tables, names: &mut Names) {
        self.forget_unnamed(tables);
        if self.nodes.is_empty() {
            self.nodes.push(ROOT);
        }
        self.first.resize(tables.frames.len(), u32::MAX);
        for frame in self.frames.len()..tables.frames.len() {
            let functions = self.look_up(frame as u32, tables, names);
            self.frames.push(functions);
        }
        for (parent, frame) in tables.stacks.since(self.nodes.len() - 1) {
            let stack = self.nodes.len() as u32;
            // A caller is always older; anything else is damage.
            let mut node = self.node(if parent < stack { parent } else { EMPTY_STACK });
            if let Some(first) = self.first.get_mut(frame as usize) {
                *first = stack.min(*first);
            }
            for &function in self.frames.get(frame as usize).map_or(&[][..], |frame| frame) {
                node = names.push(node, function);
            }
            self.nodes.push(node);
            let is_note = tables.frames.get(frame).is_some_and(|one| one.kind == FrameKind::Note);
            if is_note && is_idle(tables.stack_names(stack)) {
                self.idle.insert(stack, names.on_idle(node));
            }
        }
    }

    /// About how many bytes of memory this takes.
    pub fn bytes(&self) -> usize {
        let functions: usize = self.frames.iter().map(|frame| size_of_val(&**frame)).sum();
        functions + self.frames.len() * 24 + self.nodes.capacity() * 4
    }

    fn look_up(&mut self, frame: u32, tables: &Tables, names: &mut Names) -> Box<[u32]> {
        if tables.lines(frame).is_empty() {
            self.unnamed.push(frame);
        }
        names.frame(frame, tables).into()
    }

    /// While a recording is written, a frame may get its name after the first stack with it. All
    /// stacks from there on are then looked up anew.
    fn forget_unnamed(&mut self, tables: &Tables) {
        let named: Vec<u32> =
            self.unnamed.extract_if(.., |frame| !tables.lines(*frame).is_empty()).collect();
        let Some(&oldest) = named.iter().min() else { return };
        let stack = named.iter().filter_map(|frame| self.first.get(*frame as usize)).min();
        self.nodes.truncate(stack.map_or(usize::MAX, |stack| *stack as usize));
        let kept = self.nodes.len() as u32;
        self.idle.retain(|stack, _| *stack < kept);
        self.frames.truncate(oldest as usize);
        self.unnamed.retain(|frame| *frame < oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Frame, FrameKind, Line};

    fn frame(tables: &mut Tables, address: u64) -> u32 {
        tables.frame(Frame { kind: FrameKind::User, binary: 0, address })
    }

    fn name(tables: &mut Tables, frame: u32, texts: &[&str]) {
        let mut lines = Vec::new();
        for text in texts {
            let name = tables.strings.intern(text);
            let function = crate::model::Function { name, system_name: name, file: 0 };
            let function = tables.functions.intern(function);
            lines.push(Line { function, line: 7, column: 0 });
        }
        tables.lines[frame as usize] = lines.into();
    }

    /// The names of a stack, root first.
    fn path(names: &Names, mut node: u32) -> Vec<&str> {
        let mut path = Vec::new();
        while let Some(found) = names.node(node) {
            path.insert(0, names.name(found.function));
            node = found.parent;
        }
        path
    }

    #[test]
    fn call_sites_are_one_and_inlined_functions_their_own() {
        let mut tables = Tables::default();
        let (main, one, other) =
            (frame(&mut tables, 1), frame(&mut tables, 2), frame(&mut tables, 3));
        name(&mut tables, main, &["main"]);
        name(&mut tables, one, &["inner", "work"]);
        name(&mut tables, other, &["inner", "work"]);
        let root = tables.stacks.push(EMPTY_STACK, main);
        let stacks = [tables.stacks.push(root, one), tables.stacks.push(root, other)];
        let (mut names, mut mapping) = (Names::default(), Mapping::default());
        mapping.update(&tables, &mut names);
        assert_eq!(mapping.node(stacks[0]), mapping.node(stacks[1]));
        assert_eq!(path(&names, mapping.node(stacks[0])), ["main", "work", "inner"]);
        assert_eq!(names.size(), 4);
        assert_eq!(mapping.node(999), ROOT);
    }

    #[test]
    fn a_name_that_comes_late_is_taken_in() {
        let mut tables = Tables::default();
        let (main, late) = (frame(&mut tables, 1), frame(&mut tables, 2));
        name(&mut tables, main, &["main"]);
        let root = tables.stacks.push(EMPTY_STACK, main);
        let leaf = tables.stacks.push(root, late);
        let (mut names, mut mapping) = (Names::default(), Mapping::default());
        mapping.update(&tables, &mut names);
        assert_eq!(path(&names, mapping.node(leaf)), ["main", "[unknown]"]);
        name(&mut tables, late, &["late"]);
        let deeper = tables.stacks.push(leaf, main);
        mapping.update(&tables, &mut names);
        assert_eq!(path(&names, mapping.node(leaf)), ["main", "late"]);
        assert_eq!(path(&names, mapping.node(deeper)), ["main", "late", "main"]);
        assert!(!names.node(mapping.node(deeper)).unwrap().outermost);
    }

    #[test]
    fn no_stack_is_deeper_than_it_may_be() {
        let mut tables = Tables::default();
        let mut stack = EMPTY_STACK;
        for address in 0..5000 {
            let frame = frame(&mut tables, address);
            name(&mut tables, frame, &["again"]);
            stack = tables.stacks.push(stack, frame);
        }
        let (mut names, mut mapping) = (Names::default(), Mapping::default());
        mapping.update(&tables, &mut names);
        assert_eq!(path(&names, mapping.node(stack)).len(), usize::from(DEPTH_MAX));
    }
}
