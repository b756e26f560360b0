//! Follows a user stack from a copy of its top: what `bpf/unwind.bpf.h` does, for the samples that
//! came before the tables of their process were in the kernel. Keep the two alike.

use std::{os::unix::fs::FileExt, sync::Arc};

use crate::{
    bpf::{REGISTER_BP, REGISTER_SP, REGISTERS, STACK_DEPTH_MAX},
    collector::Snapshot,
    unwind::{Code, Kind, RBX_LOST, Rbp, Region, Rule, Table},
};

/// How a user stack ended, as `enum unwind_status`.
pub mod status {
    /// It reached its root.
    pub const COMPLETE: u32 = 0;
    /// There is none: a kernel thread, or a process that is going.
    pub const NO_STACK: u32 = 1;
    /// A return address in no executable memory.
    pub const NO_MAPPING: u32 = 2;
    /// Neither a table nor a frame pointer.
    pub const NO_ROW: u32 = 3;
    /// A frame pointer that cannot be one.
    pub const BAD_FRAME_POINTER: u32 = 4;
    /// A page of the stack that is not there.
    pub const UNREADABLE: u32 = 5;
    /// More frames than are followed.
    pub const TOO_DEEP: u32 = 6;
    /// By frame pointers only, for want of tables.
    pub const NOT_LOADED: u32 = 7;
    /// Code for 32 bits.
    pub const BITS_32: u32 = 8;

    /// The status in words.
    pub fn reason(status: u32) -> &'static str {
        match status {
            COMPLETE => "complete",
            NO_STACK => "no user stack",
            NO_MAPPING => "no mapping",
            NO_ROW => "no row",
            BAD_FRAME_POINTER => "bad frame pointer",
            UNREADABLE => "unreadable page",
            TOO_DEEP => "too deep",
            NOT_LOADED => "tables not loaded",
            BITS_32 => "32-bit code",
            _ => "unknown reason",
        }
    }
}

/// Where the registers of the interrupted code are, from a signal frame's rsp on: those of these
/// numbers, then rip.
const UCONTEXT_REGISTERS: u64 = 0x28;
const UCONTEXT_ORDER: [usize; 16] = [8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7];
const REGISTER_BX: usize = 3;
/// Registers that are lost in a call, a bit for each.
const LOST_IN_CALLS: u32 = 0xf37;
/// What rbp is once it is lost: no frame pointer, and not the 0 that marks the outermost frame.
const LOST: u64 = 1;
/// No frame is larger.
const FRAME_BYTES_MAX: u64 = 16 << 20;

struct Unwind<'a> {
    snapshot: &'a Snapshot,
    /// Of the last frame that is exact.
    registers: [u64; REGISTERS],
    ip: u64,
    sp: u64,
    bp: u64,
    exact: bool,
    /// Frames since the last that is exact.
    calls: u32,
    /// Where rbx was saved; 0: in its register; [`LOST`].
    bx_at: u64,
    addresses: Vec<u64>,
}

/// Gives the table of a region and what to subtract from addresses there.
pub type Lookup<'t> = dyn FnMut(&Region) -> Option<(Arc<Table>, u64)> + 't;

/// The stack of a snapshot, leaf first, and how it ended.
pub fn follow(snapshot: &Snapshot, regions: &[Region], tables: &mut Lookup<'_>) -> (Vec<u64>, u32) {
    let registers = snapshot.registers;
    let mut unwind = Unwind {
        snapshot,
        registers,
        ip: snapshot.ip,
        sp: registers[REGISTER_SP],
        bp: registers[REGISTER_BP],
        exact: true,
        calls: 0,
        bx_at: 0,
        addresses: Vec::new(),
    };
    loop {
        if unwind.ip == 0 && !unwind.addresses.is_empty() {
            return (unwind.addresses, status::COMPLETE);
        }
        if unwind.addresses.len() >= STACK_DEPTH_MAX {
            return (unwind.addresses, status::TOO_DEEP);
        }
        if let Err(status) = unwind.step(regions, tables) {
            return (unwind.addresses, status);
        }
    }
}

impl Unwind<'_> {
    /// One frame; the status at the end.
    fn step(&mut self, regions: &[Region], tables: &mut Lookup<'_>) -> Result<(), u32> {
        let innermost = self.addresses.is_empty();
        let pc = if self.exact { self.ip } else { self.ip.wrapping_sub(1) };
        let region = regions.iter().find(|r| (r.mapping.start..r.mapping.end).contains(&pc));
        if innermost || region.is_some() {
            self.addresses.push(self.ip.wrapping_add(u64::from(self.exact && !innermost)));
        }
        let region = region.ok_or(status::NO_MAPPING)?;
        let table = match region.code {
            Code::None => None,
            Code::File(_) | Code::Vdso => tables(region),
        };
        let rule = match &table {
            Some((table, bias)) => table.lookup(pc.wrapping_sub(*bias)),
            None => Rule::NONE,
        };
        match rule.kind {
            Kind::End => Err(status::COMPLETE),
            Kind::Signal => self.signal_step(),
            Kind::Return => self.return_step(rule),
            Kind::None | Kind::Odd => self.step_without_row(region, rule, table.is_some()),
            Kind::Register if !self.knows_register(rule) => {
                self.step_without_row(region, rule, table.is_some())
            }
            _ => self.table_step(rule),
        }
    }

    fn table_step(&mut self, rule: Rule) -> Result<(), u32> {
        let offset = i64::from(rule.cfa_offset);
        let parameter = u64::from(rule.parameter);
        let cfa = match rule.kind {
            Kind::Sp => self.sp.wrapping_add_signed(offset),
            Kind::Bp => self.bp.wrapping_add_signed(offset),
            Kind::SpDeref => {
                self.word(self.sp.wrapping_add_signed(offset))?.wrapping_add(8 * parameter)
            }
            Kind::BpDeref => {
                self.word(self.bp.wrapping_add_signed(offset))?.wrapping_add(8 * parameter)
            }
            Kind::Plt => {
                let pushed = if self.ip & 15 >= parameter { 8 } else { 0 };
                self.sp.wrapping_add_signed(offset).wrapping_add(pushed)
            }
            Kind::Register => {
                let number = usize::from(rule.parameter);
                let value = match self.bx_at {
                    at if number == REGISTER_BX && at != 0 => self.word(at)?,
                    _ => self.registers[number],
                };
                value.wrapping_add_signed(offset)
            }
            _ => return Err(status::NO_ROW),
        };
        // Upwards only, or it could go round.
        let Some(bytes) = cfa.checked_sub(self.sp).filter(|&bytes| bytes > 0) else {
            return Err(status::NO_ROW);
        };
        if rule.kind == Kind::Register && self.calls > 0 && bytes > FRAME_BYTES_MAX {
            return Err(status::NO_ROW);
        }
        let at = i64::from(rule.rbp_offset);
        match rule.rbp {
            Rbp::Same => {}
            Rbp::Cfa => self.bp = self.word(cfa.wrapping_add_signed(at))?,
            Rbp::Frame if rule.kind == Kind::Register && self.has_popped_bp(cfa) => {}
            Rbp::Frame => self.bp = self.word(self.bp.wrapping_add_signed(at))?,
            Rbp::Lost => self.bp = LOST,
        }
        let ip = self.word(cfa.wrapping_sub(8))?;
        self.bx_at = match rule.rbx {
            0 => self.bx_at,
            RBX_LOST => LOST,
            words => cfa.wrapping_sub(8 * u64::from(words)),
        };
        self.call_step(ip, cfa);
        Ok(())
    }

    /// On to the caller, whose return address and stack pointer are known.
    fn call_step(&mut self, ip: u64, sp: u64) {
        (self.ip, self.sp) = (ip, sp);
        self.exact = false;
        self.calls += 1;
    }

    /// True if the register that the CFA is in is known; see the kernel half.
    fn knows_register(&self, rule: Rule) -> bool {
        if usize::from(rule.parameter) == REGISTER_BX {
            return self.bx_at != LOST;
        }
        self.calls == 0 || self.calls == 1 && LOST_IN_CALLS >> rule.parameter & 1 != 0
    }

    /// True if a function that realigns its stack has popped rbp already; see the kernel half.
    fn has_popped_bp(&self, cfa: u64) -> bool {
        match (self.word(self.sp), self.word(cfa.wrapping_sub(8))) {
            (Ok(copy), Ok(ip)) => copy == ip,
            _ => false,
        }
    }

    /// True if rbp may be taken for a frame pointer; see the kernel half.
    fn may_guess(&self, rule: Rule) -> bool {
        match rule.kind {
            Kind::Register => usize::from(rule.parameter) == REGISTER_SP,
            kind => kind == Kind::None || self.bp != 0,
        }
    }

    /// Where there is no row, or one that cannot be used.
    fn step_without_row(
        &mut self,
        region: &Region,
        rule: Rule,
        has_table: bool,
    ) -> Result<(), u32> {
        if is_sigreturn(region, self.ip) {
            return self.signal_step();
        }
        if rule.kind == Kind::None && self.calls == 0 && has_table && is_clone(region, self.ip) {
            return self.clone_step();
        }
        if !self.may_guess(rule) {
            return Err(status::NO_ROW);
        }
        self.frame_pointer_step(has_table)
    }

    /// To a return address that is in a register.
    fn return_step(&mut self, rule: Rule) -> Result<(), u32> {
        if self.calls > 0 || rule.cfa_offset < 0 {
            return Err(status::NO_ROW);
        }
        let ip = self.registers[usize::from(rule.parameter)];
        self.call_step(ip, self.sp.wrapping_add(rule.cfa_offset as u64));
        Ok(())
    }

    fn clone_step(&mut self) -> Result<(), u32> {
        if self.registers[0] == 0 {
            return Err(status::COMPLETE);
        }
        let ip = self.word(self.sp)?;
        self.call_step(ip, self.sp.wrapping_add(8));
        Ok(())
    }

    fn frame_pointer_step(&mut self, has_table: bool) -> Result<(), u32> {
        if self.bp == 0 {
            return Err(status::COMPLETE);
        }
        if self.bp < self.sp || self.bp & 7 != 0 || self.bp - self.sp > FRAME_BYTES_MAX {
            return Err(if has_table { status::NO_ROW } else { status::BAD_FRAME_POINTER });
        }
        let (bp, ip) = (self.word(self.bp)?, self.word(self.bp.wrapping_add(8))?);
        self.call_step(ip, self.bp.wrapping_add(16));
        self.bp = bp;
        self.bx_at = LOST;
        Ok(())
    }

    fn signal_step(&mut self) -> Result<(), u32> {
        let mut at = self.sp.wrapping_add(UCONTEXT_REGISTERS);
        for number in UCONTEXT_ORDER {
            self.registers[number] = self.word(at)?;
            at = at.wrapping_add(8);
        }
        self.ip = self.word(at)?;
        (self.sp, self.bp) = (self.registers[REGISTER_SP], self.registers[REGISTER_BP]);
        self.exact = true;
        self.calls = 0;
        self.bx_at = 0;
        Ok(())
    }

    fn word(&self, address: u64) -> Result<u64, u32> {
        self.snapshot.word(address).ok_or(status::UNREADABLE)
    }
}

/// `mov $15, %rax; syscall`: rt_sigreturn, for which musl and Go have no unwind rows. A snapshot has
/// no code, so this asks the file.
fn is_sigreturn(region: &Region, ip: u64) -> bool {
    code(region, ip) == Some([0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f])
}

/// Behind a system call that returns twice; see the kernel half.
fn is_clone(region: &Region, ip: u64) -> bool {
    code(region, ip.wrapping_sub(2)) == Some([0x0f, 0x05])
}

fn code<const SIZE: usize>(region: &Region, ip: u64) -> Option<[u8; SIZE]> {
    let Code::File(image) = &region.code else { return None };
    let offset = ip.wrapping_sub(region.mapping.start).wrapping_add(region.mapping.offset);
    let mut code = [0; SIZE];
    image.file().read_exact_at(&mut code, offset).ok()?;
    Some(code)
}
