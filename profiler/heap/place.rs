//! Where in a function a probe costs least.
//!
//! At a probe the kernel emulates the instruction that it stands in for, if it is a push, a jump, a
//! call or a nop; any other is executed out of line and traps once more, which is an order of
//! magnitude slower (arch/x86/kernel/uprobes.c: branch_setup_ops, push_xol_ops; the same since 4.x).
//! Where a function does not begin with such an instruction, one soon after does as well, as long as
//! it is always reached, just once, with the arguments and the stack pointer as they were.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess,
    Register,
};

/// Instructions at a function's start that are looked at.
const LOOKED_AT: usize = 16;
/// Bytes of a function that are searched for jumps and calls.
pub const BODY_MAX: usize = 16 << 10;

/// A place for a probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// From the function's start, bytes.
    pub offset: u64,
    /// Whether the kernel emulates what is there.
    pub emulated: bool,
}

/// Where the stack is, and the registers of the first four arguments.
const KEPT: [Register; 5] =
    [Register::RSP, Register::RDI, Register::RSI, Register::RDX, Register::RCX];
/// The same, and those of the other two.
pub const CALL: [Register; 7] = [
    Register::RSP,
    Register::RDI,
    Register::RSI,
    Register::RDX,
    Register::RCX,
    Register::R8,
    Register::R9,
];

/// Where to probe the function that is `code`, at `address`: its start, if there is no better place.
pub fn choose(code: &[u8], address: u64) -> Place {
    choose_keeping(code, address, &KEPT)
}

/// The same where these registers are to be as they were at the start.
pub fn choose_keeping(code: &[u8], address: u64, kept: &[Register]) -> Place {
    let mut start = Place { offset: 0, emulated: false };
    let targets: Vec<u64> = targets(code, address).collect();
    let mut info = InstructionInfoFactory::new();
    for instruction in decode(code, address).take(LOOKED_AT) {
        let offset = instruction.ip() - address;
        // A loop back to here would be counted again.
        if offset > 0
            && targets.iter().any(|target| (address + 1..=instruction.ip()).contains(target))
        {
            return start;
        }
        if is_emulated(&instruction) {
            return Place { offset, emulated: true };
        }
        // Linux 6.18 puts a call in place of such a nop, to a page that a fork does not copy.
        if start.offset == offset && instruction.len() == 5 && is_nop(&instruction) {
            start.offset += 5;
        }
        if !is_harmless(&instruction, kept, &mut info) {
            return start;
        }
    }
    start
}

/// Where the direct jumps and calls of the function go that is `code`, at `address`.
pub fn targets(code: &[u8], address: u64) -> impl Iterator<Item = u64> + '_ {
    let branches = decode(&code[..code.len().min(BODY_MAX)], address);
    branches
        .filter(|instruction| {
            matches!(
                instruction.flow_control(),
                FlowControl::Call
                    | FlowControl::UnconditionalBranch
                    | FlowControl::ConditionalBranch
            )
        })
        .map(|instruction| instruction.near_branch_target())
}

/// The word in memory that the code at `address` jumps through, as a stub of a procedure linkage
/// table does.
pub fn jumps_through(code: &[u8], address: u64) -> Option<u64> {
    let jump = decode(code, address)
        .take(3)
        .find(|instruction| instruction.flow_control() == FlowControl::IndirectBranch)?;
    jump.is_ip_rel_memory_operand().then(|| jump.ip_rel_memory_address())
}

fn decode(code: &[u8], address: u64) -> impl Iterator<Item = Instruction> + '_ {
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    std::iter::from_fn(move || {
        let instruction = decoder.can_decode().then(|| decoder.decode())?;
        (!instruction.is_invalid()).then_some(instruction)
    })
}

fn is_emulated(instruction: &Instruction) -> bool {
    let kind = match instruction.flow_control() {
        FlowControl::Call | FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
            // Not loops and jumps on rcx, which have an opcode of their own.
            !matches!(
                instruction.code(),
                Code::Jrcxz_rel8_64
                    | Code::Jecxz_rel8_64
                    | Code::Loop_rel8_64_RCX
                    | Code::Loope_rel8_64_RCX
                    | Code::Loopne_rel8_64_RCX
            )
        }
        _ => matches!(instruction.code(), Code::Push_r64 | Code::Nopd),
    };
    kind && !instruction.has_rep_prefix() && !instruction.has_repne_prefix()
}

/// True if code begins with a nop of five bytes, which Linux 6.18 makes a call of where it is probed.
pub fn is_long_nop(code: &[u8]) -> bool {
    let first = decode(code, 0).next();
    first.is_some_and(|instruction| instruction.len() == 5 && is_nop(&instruction))
}

fn is_nop(instruction: &Instruction) -> bool {
    matches!(instruction.code(), Code::Nop_rm16 | Code::Nop_rm32 | Code::Nop_rm64)
}

/// True if `kept` are the same after it, and the next instruction comes next.
fn is_harmless(
    instruction: &Instruction,
    kept: &[Register],
    info: &mut InstructionInfoFactory,
) -> bool {
    let writes = |register: &iced_x86::UsedRegister| {
        let access = register.access();
        !matches!(access, OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess)
            && kept.contains(&register.register().full_register())
    };
    instruction.flow_control() == FlowControl::Next
        && !info.info(instruction).used_registers().iter().any(writes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(code: &[u8]) -> (u64, bool) {
        let place = choose(code, 0x1000);
        (place.offset, place.emulated)
    }

    #[test]
    fn the_first_instruction_that_is_emulated() {
        // push %r12
        assert_eq!(place(&[0x41, 0x54, 0xc3]), (0, true));
        // endbr64; push %rbp
        assert_eq!(place(&[0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0xc3]), (4, true));
        // test %rdi,%rdi; je +5; ret, as free() of glibc 2.36 begins
        assert_eq!(place(&[0x48, 0x85, 0xff, 0x74, 0x05, 0xc3]), (3, true));
        // sub $8,%rsp: the return address would not be where it is looked for
        assert_eq!(place(&[0x48, 0x83, 0xec, 0x08, 0x55, 0xc3]), (0, false));
        // mov %rsi,%rdi: an argument is gone
        assert_eq!(place(&[0x48, 0x89, 0xf7, 0x55, 0xc3]), (0, false));
        // xor %eax,%eax; push %rbx; jmp to the push, which would be counted again
        assert_eq!(place(&[0x31, 0xc0, 0x53, 0xeb, 0xfd]), (0, false));
        // nopl 0(%rax,%rax,1); sub $8,%rsp: not at the nop
        assert_eq!(place(&[0x0f, 0x1f, 0x44, 0, 0, 0x48, 0x83, 0xec, 8, 0xc3]), (5, false));
        assert_eq!(place(&[]), (0, false));
        assert_eq!(place(&[0xff; 20]), (0, false));
    }

    #[test]
    fn where_code_goes() {
        // call 0x100a; jmp 0x1000
        let code = [0xe8, 5, 0, 0, 0, 0xeb, 0xf9];
        assert_eq!(targets(&code, 0x1000).collect::<Vec<_>>(), [0x100a, 0x1000]);
        // endbr64; bnd jmp *0x10(%rip)
        let stub = [0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25, 0x10, 0, 0, 0];
        assert_eq!(jumps_through(&stub, 0x1000), Some(0x101b));
        assert_eq!(jumps_through(&[0xc3], 0x1000), None);
    }
}
