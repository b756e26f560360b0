//! Stacks made by hand, most of them broken: where each has to end, and that the kernel half and its
//! twin say the same of all.

use std::sync::Arc;

use rprof::bpf::STACK_DEPTH_MAX;
use rprof::resolve::status;
use rprof::unwind::Table;

use super::harness::{Harness, Part, Registers, Stack, stack};
use super::hostile::{CODE, Frames, START, offset};
use super::{Random, table};

/// Code made at run time, which has no table.
const JIT: u64 = 0x7000_0000;
/// Code of a file, but not described by its table.
const HOLE: u64 = CODE + 0x8000;
/// Where the stack is.
const STACK: u64 = 0x7fff_0000_0000;
/// In no mapping.
const NOWHERE: u64 = 0x1234_5000;

/// `PF_EXITING` and `PF_KTHREAD` of include/linux/sched.h.
const EXITING: u32 = 0x4;
const KERNEL_THREAD: u32 = 0x20_0000;

// What the functions of the table are, by where they start.
/// CFA = rsp + 16.
const SMALL: u64 = CODE;
/// CFA = rbp + 16, rbp at CFA - 16: after `push rbp; mov rbp, rsp`.
const FRAMED: u64 = CODE + 0x100;
/// The outermost function.
const ROOT: u64 = CODE + 0x200;
/// CFA = rsp - 16.
const DOWN: u64 = CODE + 0x300;
/// CFA = rbx + 16.
const BY_RBX: u64 = CODE + 0x400;
/// CFA = rsp + 16, rbp in a register that rprof does not follow.
const LOSES: u64 = CODE + 0x500;
/// CFA = *(rsp + 8).
const DEREF: u64 = CODE + 0x600;
/// What no rule is for.
const ODD: u64 = CODE + 0x700;

fn functions() -> Arc<Table> {
    let mut frames = Frames::default();
    let cie = frames.cie(START);
    let instructions: [(u64, &[u8]); 8] = [
        (SMALL, &offset(16)),
        (FRAMED, &[0x0c, 6, 16, 0x86, 2]),
        (ROOT, &[0x07, 16]),
        (DOWN, &[0x13, 2]), // DW_CFA_def_cfa_offset_sf, in units of -8
        (BY_RBX, &[0x0c, 3, 16]),
        (LOSES, &[0x0e, 16, 0x09, 6, 12]),  // rbp is in r12
        (DEREF, &[0x0f, 3, 0x77, 8, 0x06]), // breg7 8, deref
        (ODD, &[0x0f, 2, 0x30, 0x31]),      // lit0, lit1
    ];
    for (start, instructions) in instructions {
        frames.fde(cie, start, 0x100, instructions);
    }
    Arc::new(table(&frames.image()))
}

/// Words of a stack from [`STACK`] on.
fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// The process of most cases: described code, then code made at run time.
fn parts() -> Vec<Part> {
    vec![Part::plain(CODE, 0x100, &functions()), Part::jit(JIT, 16)]
}

/// What both make of registers and a stack.
fn both(parts: &[Part], registers: &Registers, stack_words: &[u64]) -> Stack {
    let mut harness = Harness::default();
    let memory = bytes(stack_words);
    harness.load(parts);
    harness.memory(&[(registers.sp(), &memory)]);
    harness.follow(0, registers);
    let kernel = stack(&harness.run()[0]);
    assert_eq!(
        kernel,
        harness.twin(registers, registers.sp(), &memory),
        "the twin differs from the kernel"
    );
    kernel
}

fn expect(registers: Registers, words: &[u64], status: u32, addresses: &[u64]) {
    let found = both(&parts(), &registers, words);
    let name = status::reason;
    assert_eq!(name(found.status), name(status), "{registers:x?} {words:x?} {found:x?}");
    assert_eq!(found.addresses, addresses, "{registers:x?} {words:x?}");
}

fn at(ip: u64, bp: u64) -> Registers {
    Registers::new(ip, STACK, bp)
}

#[test]
fn tables_and_frame_pointers_take_turns() {
    // Table, JIT, JIT, table by rbp, table, root.
    let words = [
        0,
        JIT + 5,
        STACK + 0x28, // 0x10: the inner JIT frame's rbp
        JIT + 0x105,
        0,
        STACK + 0x40, // 0x28: the outer one's, which is the framed function's
        FRAMED + 9,
        0,
        0xdead, // 0x40: the framed function's rbp
        SMALL + 9,
        0,
        ROOT + 9,
    ];
    let addresses = [SMALL + 4, JIT + 5, JIT + 0x105, FRAMED + 9, SMALL + 9, ROOT + 9];
    expect(at(SMALL + 4, STACK + 0x10), &words, status::COMPLETE, &addresses);
}

#[test]
fn ends_of_stacks() {
    expect(at(ROOT, 1), &[], status::COMPLETE, &[ROOT]);
    // A return address of zero, and a frame pointer of zero where there is no table.
    expect(at(SMALL, 1), &[0, 0], status::COMPLETE, &[SMALL]);
    expect(at(JIT, 0), &[], status::COMPLETE, &[JIT]);
    expect(at(HOLE, 0), &[], status::COMPLETE, &[HOLE]);
    // The call is the last instruction of the outermost function.
    expect(at(SMALL, 1), &[0, ROOT + 0x100], status::COMPLETE, &[SMALL, ROOT + 0x100]);
    // What the sample hit is in another function than the byte before it.
    expect(at(ROOT + 0x100, 1), &[], status::NO_ROW, &[ROOT + 0x100]);
}

#[test]
fn frame_pointers_that_are_none() {
    let above = STACK + 0x10;
    for bp in [above + 1, STACK - 8, STACK + (17 << 20), 8, !7] {
        expect(at(JIT, bp), &[0; 4], status::BAD_FRAME_POINTER, &[JIT]);
        expect(at(HOLE, bp), &[0; 4], status::NO_ROW, &[HOLE]);
        expect(at(ODD, bp), &[0; 4], status::NO_ROW, &[ODD]);
    }
    // Pointing to itself, and to each other.
    expect(at(JIT, above), &[0, 0, above, JIT + 5], status::BAD_FRAME_POINTER, &[JIT, JIT + 5]);
    let pair = [0, 0, above + 16, JIT + 5, above, JIT + 6];
    expect(at(JIT, above), &pair, status::BAD_FRAME_POINTER, &[JIT, JIT + 5, JIT + 6]);
}

#[test]
fn what_is_not_known_ends_no_stack() {
    // Zero marks the outermost frame only where nothing says that there is another.
    expect(at(ODD, 0), &[0; 4], status::NO_ROW, &[ODD]);
    // A frame pointer that happens to be right would leave out a frame.
    let words = [0, BY_RBX + 4, 0, JIT + 5];
    for bp in [0, STACK + 16] {
        expect(at(SMALL, bp), &words, status::NO_ROW, &[SMALL, BY_RBX + 4]);
    }
    // Nor does an rbp that was lost on the way.
    let words = [0, JIT + 5, 0, 0];
    expect(at(LOSES, STACK), &words, status::BAD_FRAME_POINTER, &[LOSES, JIT + 5]);
    let words = [0, FRAMED + 5, 0, 0];
    expect(at(LOSES, STACK), &words, status::NO_ROW, &[LOSES, FRAMED + 5]);
}

#[test]
fn other_registers_count_in_the_innermost_frame() {
    let mut registers = at(BY_RBX, 0);
    registers.set(3, STACK + 8);
    expect(registers, &[0, 0, ROOT + 1, 0], status::COMPLETE, &[BY_RBX, ROOT + 1]);
}

#[test]
fn a_frame_address_that_does_not_rise() {
    expect(at(DOWN, 0), &[0; 4], status::NO_ROW, &[DOWN]);
    expect(at(DEREF, 0), &[0, STACK], status::NO_ROW, &[DEREF]);
    expect(at(DEREF, 0), &[0, 0], status::NO_ROW, &[DEREF]);
    expect(at(DEREF, 0), &[0, STACK + 24, ROOT + 1], status::COMPLETE, &[DEREF, ROOT + 1]);
    expect(at(FRAMED, STACK - 16), &[0; 4], status::NO_ROW, &[FRAMED]);
}

#[test]
fn memory_that_is_not_there() {
    expect(at(SMALL, 0), &[0], status::UNREADABLE, &[SMALL]);
    expect(at(DEREF, 0), &[0], status::UNREADABLE, &[DEREF]);
    expect(at(JIT, STACK + 0x100), &[0; 4], status::UNREADABLE, &[JIT]);
    // One half of the frame only.
    expect(at(JIT, STACK + 8), &[0; 2], status::UNREADABLE, &[JIT]);
    // The return address is, and the rbp below it is not.
    expect(at(FRAMED, STACK - 8), &[ROOT + 1], status::UNREADABLE, &[FRAMED]);
    for sp in [0, 7, 8, u64::MAX - 7, u64::MAX] {
        let found = both(&parts(), &Registers::new(SMALL, sp, 0), &[]);
        assert_eq!(found.addresses, [SMALL], "{sp:#x}");
    }
}

#[test]
fn code_that_is_not_there() {
    expect(at(NOWHERE, 0), &[], status::NO_MAPPING, &[NOWHERE]);
    // A return address to nowhere is no frame.
    expect(at(SMALL, 0), &[0, NOWHERE], status::NO_MAPPING, &[SMALL]);
    expect(at(SMALL, 0), &[0, u64::MAX], status::NO_MAPPING, &[SMALL]);
    let found = both(&[], &at(SMALL, 0), &[0, ROOT]);
    assert_eq!(found, Stack { status: status::NO_MAPPING, addresses: vec![SMALL] });
}

#[test]
fn as_deep_as_it_goes_and_no_deeper() {
    // `depth` frames of 16 bytes; the last one returns to the root, or to zero.
    let deep = |depth: usize, last: u64| {
        let mut words = [0, SMALL + 7].repeat(depth);
        *words.last_mut().unwrap() = last;
        both(&parts(), &at(SMALL, 0), &words)
    };
    let most = deep(STACK_DEPTH_MAX - 1, ROOT + 1);
    assert_eq!((most.status, most.addresses.len()), (status::COMPLETE, STACK_DEPTH_MAX));
    let most = deep(STACK_DEPTH_MAX, 0);
    assert_eq!((most.status, most.addresses.len()), (status::COMPLETE, STACK_DEPTH_MAX));
    let over = deep(STACK_DEPTH_MAX, ROOT + 1);
    assert_eq!((over.status, over.addresses.len()), (status::TOO_DEEP, STACK_DEPTH_MAX));
    let over = deep(1000, ROOT + 1);
    assert_eq!((over.status, over.addresses.len()), (status::TOO_DEEP, STACK_DEPTH_MAX));
}

#[test]
fn many_mappings() {
    // As many as a process may have, with holes between some of them; then the neighbours.
    let functions = functions();
    for count in [1, 2, 3, 4095, 4096] {
        let start = |at: u64| JIT + at * 0x3000;
        let mut parts = vec![Part::plain(CODE, 0x100, &functions)];
        parts
            .extend((0..count - 1).map(|at| Part::jit(start(at), if at % 2 == 0 { 3 } else { 2 })));
        let mut harness = Harness::default();
        harness.load(&parts);
        let mut asked = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let end = part.start + (u64::from(part.pages) << 12);
            for ip in [part.start, end - 1, end, part.start.wrapping_sub(1)] {
                let held = parts.iter().any(|part| {
                    (part.start..part.start + (u64::from(part.pages) << 12)).contains(&ip)
                });
                if at < 4 || at % 97 == 0 || at + 4 > parts.len() {
                    asked.push((harness.follow(0, &Registers::new(ip, STACK, 0)), ip, held));
                }
            }
        }
        let lines = harness.run();
        for (line, ip, held) in asked {
            let found = stack(&lines[line]);
            assert_eq!(found.status != status::NO_MAPPING, held, "{ip:#x} of {count}");
        }
    }
}

#[test]
fn tasks_without_a_stack() {
    let mut harness = Harness::default();
    harness.load(&parts());
    let words = bytes(&[0, NOWHERE]);
    harness.memory(&[(STACK, &words)]);
    let registers = at(SMALL, 0);
    harness.follow(KERNEL_THREAD, &registers);
    harness.follow(0, &registers.in_segment(0x23));
    harness.follow(0, &registers.in_segment(0x10));
    harness.follow(0, &at(0, 0));
    harness.follow(EXITING, &registers);
    harness.follow(EXITING, &at(ROOT, 0));
    harness.follow(0, &registers);
    let lines = harness.run();
    let found: Vec<(u32, usize)> =
        lines.iter().map(|line| stack(line)).map(|s| (s.status, s.addresses.len())).collect();
    let none = (status::NO_STACK, 0);
    let bits_32 = (status::BITS_32, 0);
    let complete = (status::COMPLETE, 1);
    assert_eq!(found, [none, bits_32, none, none, none, complete, (status::NO_MAPPING, 1)]);
}

#[test]
fn processes_that_are_not_loaded() {
    let mut harness = Harness::default();
    let words = bytes(&[STACK + 0x10, NOWHERE, 0, JIT + 7]);
    harness.memory(&[(STACK, &words)]);
    let registers = at(SMALL, STACK);
    harness.follow(0, &registers);
    harness.load(&parts());
    harness.follow(0, &registers);
    // The end of a thread changes nothing, that of the process does.
    harness.free(8, super::harness::PID);
    harness.follow(0, &registers);
    harness.free(super::harness::PID, super::harness::PID);
    harness.follow(0, &registers);
    let lines = harness.run();
    // By frame pointers, wherever they lead: user space is to do it again.
    let blind = Stack { status: status::NOT_LOADED, addresses: vec![SMALL, NOWHERE, JIT + 7] };
    let seen = Stack { status: status::NO_MAPPING, addresses: vec![SMALL] };
    assert_eq!(
        lines.iter().map(|line| stack(line)).collect::<Vec<_>>(),
        [blind.clone(), seen.clone(), seen, blind]
    );
}

#[test]
fn signal_frames_without_a_row() {
    // As musl and Go have it: code that says what it is.
    const CONTEXT: u64 = STACK + 16;
    let mut harness = Harness::default();
    harness.load(&parts());
    let sigreturn = 0x0f00_0000_0fc0_c748u64.to_ne_bytes();
    let mut words = [0; 0x40];
    words[1] = HOLE;
    let mut word = |at: u64, value| words[((CONTEXT - STACK + at) / 8) as usize] = value;
    word(0xa8, SMALL + 4);
    word(0xa0, STACK + 0x100);
    word(0x78, 0);
    words[0x21] = ROOT + 5;
    let memory = bytes(&words);
    harness.memory(&[(STACK, &memory), (HOLE, &sigreturn)]);
    harness.follow(0, &at(SMALL, 0));
    harness.memory(&[(STACK, &memory)]);
    harness.follow(0, &at(SMALL, 0));
    let lines = harness.run();
    // One more than where it was interrupted, as if it were a return address.
    let addresses = vec![SMALL, HOLE, SMALL + 5, ROOT + 5];
    assert_eq!(stack(&lines[0]), Stack { status: status::COMPLETE, addresses });
    assert_eq!(stack(&lines[1]).addresses, [SMALL, HOLE]);
}

#[test]
fn both_agree_on_garbage() {
    let parts = parts();
    let mut random = Random(11);
    let mut harness = Harness::default();
    harness.load(&parts);
    let mut cases = Vec::new();
    for _ in 0..4000 {
        // Mostly frames: each a pointer to one further up, and a return address.
        let mut word = |at: u64| match random.below(24) {
            0 => random.next(),
            1 => 0,
            2 => STACK + 4 * random.below(160),
            3..9 if at % 2 == 1 => JIT + random.below(0x1_0000),
            9..16 if at % 2 == 1 => SMALL + random.below(0x200),
            _ if at % 2 == 1 => CODE + random.below(0x900),
            _ => STACK + 8 * (at + 2 * random.below(5)),
        };
        let words: Vec<u64> = (0..64).map(&mut word).collect();
        // Where nothing is, a task has never been in user mode.
        let mut registers = Registers::new(word(1).max(1), STACK, word(0));
        registers.set(3, word(0));
        let memory = bytes(&words);
        harness.memory(&[(STACK, &memory)]);
        cases.push((harness.follow(0, &registers), registers, memory));
    }
    let lines = harness.run();
    let mut deep = 0;
    for (line, registers, memory) in cases {
        let kernel = stack(&lines[line]);
        deep += usize::from(kernel.addresses.len() > 3);
        assert_eq!(kernel, harness.twin(&registers, STACK, &memory), "{registers:x?}");
    }
    assert!(deep > 300, "hardly anything to compare: {deep}");
}
