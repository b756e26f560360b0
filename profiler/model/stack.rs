//! Stacks as a tree: a node is a frame and its caller's node.
//!
//! Stacks of one program share their root ends, so a tree of them is much smaller than a list, and
//! a stack is named by one number: the node of its leaf.

use super::Table;

/// The stack without any frame; the parent of every root.
pub const EMPTY_STACK: u32 = 0;

/// Frames that are followed from a leaf, far more than any sample has. A damaged recording may
/// string all its nodes together, and following that for each sample would take for ever.
const DEPTH_MAX: usize = 4096;

/// All stacks of a profile. A node `n > 0` is entry `n - 1` of the table.
#[derive(Clone, Debug, Default)]
pub struct Stacks(Table<(u32, u32)>);

impl Stacks {
    /// The stack that `frame` makes when called from stack `parent`.
    pub fn push(&mut self, parent: u32, frame: u32) -> u32 {
        self.0.intern((parent, frame)) + 1
    }

    /// The parent and the frame of a node; none for the empty stack and for one that is not here.
    pub fn node(&self, stack: u32) -> Option<(u32, u32)> {
        self.0.get(stack.checked_sub(1)?).copied()
    }

    /// The frames of a stack, leaf first.
    pub fn frames(&self, stack: u32) -> impl Iterator<Item = u32> + '_ {
        let mut next = stack;
        std::iter::from_fn(move || {
            let (parent, frame) = self.node(next)?;
            // A parent is always older than its child; anything else is a damaged recording, and
            // following it could go round for ever.
            next = if parent < next { parent } else { EMPTY_STACK };
            Some(frame)
        })
        .take(DEPTH_MAX)
    }

    /// How many nodes there are, the empty stack not counted.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is no node yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// About how many bytes of memory they take.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// The nodes from table entry `first` on, as (parent, frame).
    pub fn since(&self, first: usize) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.since(first).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_callers_are_kept_once() {
        let mut stacks = Stacks::default();
        let main = stacks.push(EMPTY_STACK, 7);
        let first = stacks.push(main, 8);
        let second = stacks.push(main, 9);
        assert_eq!(stacks.push(main, 8), first);
        assert_eq!(stacks.len(), 3);
        assert_eq!(stacks.frames(second).collect::<Vec<_>>(), [9, 7]);
        assert_eq!(stacks.frames(EMPTY_STACK).count(), 0);
    }
}
