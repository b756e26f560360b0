//! How to step from one frame to its caller: the rules that the rows of a table name.
//!
//! Compilers use few distinct rules (5 to 785 in a file, a few hundred in a whole process), so
//! a row holds a 16-bit id and the rules stand apart, once. Each file numbers its own, so that none
//! can use up those of others, and its rules leave the kernel with its rows.

use std::collections::HashMap;

/// What kind of step a rule is. The numbers are those that the kernel half tests for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// No table covers the address: step by frame pointer.
    None = 0,
    /// CFA = rsp + offset.
    Sp = 1,
    /// CFA = rbp + offset.
    Bp = 2,
    /// CFA = *(rsp + offset) + 8 * parameter: hand-written assembly that keeps the old stack
    /// pointer in a slot.
    SpDeref = 3,
    /// CFA = *(rbp + offset) + 8 * parameter: functions that realign their stack.
    BpDeref = 4,
    /// CFA = rsp + offset + ((rip & 15) >= parameter ? 8 : 0): a lazily bound PLT entry, which
    /// pushes a number half-way through.
    Plt = 5,
    /// A signal frame: rbp, rsp and rip lie in the ucontext at rsp.
    Signal = 6,
    /// CFA = register number `parameter` (DWARF's) + offset, in the innermost frame, whose
    /// registers are all known. Compilers have such rows between calls only; in an outer frame,
    /// step by frame pointer.
    Register = 7,
    /// The outermost function: the stack is complete.
    End = 8,
    /// A table covers the address with a rule that rprof does not have.
    Odd = 9,
    /// CFA = rsp + offset, and the return address in register number `parameter`: vfork, on whose
    /// stack the child runs first. In the innermost frame only.
    Return = 10,
}

impl Kind {
    fn from_u8(value: u8) -> Option<Self> {
        const ALL: [Kind; 11] = [
            Kind::None,
            Kind::Sp,
            Kind::Bp,
            Kind::SpDeref,
            Kind::BpDeref,
            Kind::Plt,
            Kind::Signal,
            Kind::Register,
            Kind::End,
            Kind::Odd,
            Kind::Return,
        ];
        ALL.get(usize::from(value)).copied()
    }
}

/// Where the caller's rbp is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rbp {
    /// Still in rbp.
    Same = 0,
    /// In memory at CFA + offset.
    Cfa = 1,
    /// In memory at rbp + offset.
    Frame = 2,
    /// Not known; frames that need it cannot be reached.
    Lost = 3,
}

impl Rbp {
    fn from_u8(value: u8) -> Option<Self> {
        const ALL: [Rbp; 4] = [Rbp::Same, Rbp::Cfa, Rbp::Frame, Rbp::Lost];
        ALL.get(usize::from(value)).copied()
    }
}

/// One step to the caller. The return address is at CFA - 8 and the caller's rsp is the CFA,
/// except for [`Kind::Signal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    /// The kind of step.
    pub kind: Kind,
    /// Where the caller's rbp is.
    pub rbp: Rbp,
    /// 0 to 15; what it means depends on the kind.
    pub parameter: u8,
    /// Where the caller's rbx is, which the CFA of the resolver of lazily bound functions is in,
    /// far out from where the sample hit: still in rbx (0), n words below the CFA (1 to 14), or
    /// anywhere else ([`RBX_LOST`]).
    pub rbx: u8,
    /// Bytes; what they are added to depends on `rbp`.
    pub rbp_offset: i16,
    /// Bytes; what they are added to depends on `kind`.
    pub cfa_offset: i32,
}

/// rbx is not known; frames that need it cannot be left.
pub const RBX_LOST: u8 = 15;

impl Rule {
    /// Nothing covers the address.
    pub const NONE: Rule = Rule::plain(Kind::None, 0);
    /// The stack is complete.
    pub const END: Rule = Rule::plain(Kind::End, 0);
    /// Covered, but by a rule that rprof does not have.
    pub const ODD: Rule = Rule::plain(Kind::Odd, 0);

    /// A rule that leaves rbp as it is.
    #[must_use]
    pub const fn plain(kind: Kind, cfa_offset: i32) -> Rule {
        Rule { kind, rbp: Rbp::Same, parameter: 0, rbx: 0, rbp_offset: 0, cfa_offset }
    }

    /// The 8 bytes that the kernel and the stored form hold, as a little-endian number: from the
    /// low end `kind`, `rbx`, `rbp` and `parameter` of 4 bits each, `rbp_offset: i16`,
    /// `cfa_offset: i32`.
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.kind as u64
            | (self.rbx as u64 & 15) << 4
            | (self.rbp as u64 | (self.parameter as u64 & 15) << 4) << 8
            | (self.rbp_offset as u16 as u64) << 16
            | (self.cfa_offset as u32 as u64) << 32
    }

    /// The rule that [`Rule::pack`] made, or nothing if no rule packs to `bits`.
    #[must_use]
    pub fn unpack(bits: u64) -> Option<Rule> {
        let [kind, how, ..] = bits.to_le_bytes();
        Some(Rule {
            kind: Kind::from_u8(kind & 15)?,
            rbp: Rbp::from_u8(how & 15)?,
            parameter: how >> 4,
            rbx: kind >> 4,
            rbp_offset: (bits >> 16) as i16,
            cfa_offset: (bits >> 32) as i32,
        })
    }
}

/// The most rules of one file: real ones have up to 800, and a hostile one must not fill memory.
pub const MAX_FILE_RULES: usize = 4096;

/// Gives each distinct rule of a file one number. 0 is [`Rule::NONE`], 1 is [`Rule::ODD`].
#[derive(Debug)]
pub(super) struct RuleTable {
    ids: HashMap<u64, u16>,
    rules: Vec<Rule>,
    /// Direct-mapped, in front of `ids`: one row in two has one of a dozen rules.
    recent: Box<[(u64, u16); RECENT]>,
}

const RECENT: usize = 256;
/// The number of [`Rule::ODD`].
pub(super) const ODD: u16 = 1;

impl RuleTable {
    /// A table of those two.
    pub fn new() -> Self {
        let none = Rule::NONE.pack();
        Self {
            ids: HashMap::from([(none, 0), (Rule::ODD.pack(), ODD)]),
            rules: vec![Rule::NONE, Rule::ODD],
            recent: Box::new([(none, 0); RECENT]),
        }
    }

    /// The number of `rule`; that of [`Rule::ODD`] when all are taken.
    #[inline]
    pub fn id(&mut self, rule: Rule) -> u16 {
        let bits = rule.pack();
        // Fibonacci hashing; the offsets are multiples of 8, so the low bits say little.
        let slot = (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % RECENT;
        if self.recent[slot].0 == bits {
            return self.recent[slot].1;
        }
        let id = self.find_or_add(rule, bits).unwrap_or(ODD);
        self.recent[slot] = (bits, id);
        id
    }

    fn find_or_add(&mut self, rule: Rule, bits: u64) -> Option<u16> {
        if let Some(&id) = self.ids.get(&bits) {
            return Some(id);
        }
        if self.rules.len() >= MAX_FILE_RULES {
            return None;
        }
        let id = u16::try_from(self.rules.len()).ok()?;
        self.ids.insert(bits, id);
        self.rules.push(rule);
        Some(id)
    }

    /// All rules, by number.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_and_unpacks() {
        let rule = Rule {
            kind: Kind::BpDeref,
            rbp: Rbp::Frame,
            parameter: 15,
            rbx: 7,
            rbp_offset: -32_768,
            cfa_offset: -40,
        };
        assert_eq!(Rule::unpack(rule.pack()), Some(rule));
        assert_eq!(rule.pack().to_le_bytes()[..4], [0x74, 0xf2, 0x00, 0x80]);
        assert_eq!(Rule::unpack(11), None);
        assert_eq!(Rule::unpack(4 << 8), None);
    }

    #[test]
    fn numbers_are_stable_and_bounded() {
        let mut table = RuleTable::new();
        assert_eq!([Rule::NONE, Rule::ODD].map(|rule| table.id(rule)), [0, ODD]);
        for offset in 0..5000 {
            let id = table.id(Rule::plain(Kind::Sp, offset));
            let expected = if offset < 4094 { offset + 2 } else { ODD.into() };
            assert_eq!(i32::from(id), expected);
        }
        assert_eq!(table.rules().len(), MAX_FILE_RULES);
        assert_eq!(table.id(Rule::plain(Kind::Sp, 7)), 9);
    }
}
