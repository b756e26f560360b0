//! Follows a user stack from a copy of its top: what `bpf/unwind.bpf.h` does, for the samples that
//! came before the tables of their process were in the kernel. Keep the two alike.

use crate::{
    bpf::{REGISTER_BP, REGISTER_SP, STACK_DEPTH_MAX},
    collector::Snapshot,
    unwind::{Code, Kind, Loader, Rbp, Region, Rule, Table},
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

/// Where the registers of the interrupted code are, from a signal frame's rsp on.
const UCONTEXT_IP: u64 = 0xa8;
const UCONTEXT_SP: u64 = 0xa0;
const UCONTEXT_BP: u64 = 0x78;
/// No frame is larger.
const FRAME_BYTES_MAX: u64 = 16 << 20;

struct Unwind<'a> {
    snapshot: &'a Snapshot,
    ip: u64,
    sp: u64,
    bp: u64,
    exact: bool,
    addresses: Vec<u64>,
}

/// The stack of a snapshot, leaf first, and how it ended.
pub fn follow(snapshot: &Snapshot, regions: &[Region], loader: &mut Loader) -> (Vec<u64>, u32) {
    let (ip, sp, bp) =
        (snapshot.ip, snapshot.registers[REGISTER_SP], snapshot.registers[REGISTER_BP]);
    let mut unwind = Unwind { snapshot, ip, sp, bp, exact: true, addresses: Vec::new() };
    loop {
        if unwind.ip == 0 && !unwind.addresses.is_empty() {
            return (unwind.addresses, status::COMPLETE);
        }
        if unwind.addresses.len() >= STACK_DEPTH_MAX {
            return (unwind.addresses, status::TOO_DEEP);
        }
        if let Err(status) = unwind.step(regions, loader) {
            return (unwind.addresses, status);
        }
    }
}

impl Unwind<'_> {
    /// One frame; the status at the end.
    fn step(&mut self, regions: &[Region], loader: &mut Loader) -> Result<(), u32> {
        let innermost = self.addresses.is_empty();
        let pc = if self.exact { self.ip } else { self.ip.wrapping_sub(1) };
        let region = regions.iter().find(|r| (r.mapping.start..r.mapping.end).contains(&pc));
        if innermost || region.is_some() {
            self.addresses.push(self.ip + u64::from(self.exact && !innermost));
        }
        let region = region.ok_or(status::NO_MAPPING)?;
        let table: Option<(std::sync::Arc<Table>, u64)> = match region.code {
            Code::None => None,
            Code::File(_) | Code::Vdso => loader.table(region),
        };
        let rule = match &table {
            Some((table, bias)) => table.lookup(pc.wrapping_sub(*bias)),
            None => Rule::NONE,
        };
        match rule.kind {
            Kind::End => Err(status::COMPLETE),
            Kind::Signal => self.signal_step(),
            // Other registers than these are not in a snapshot.
            Kind::None | Kind::Odd | Kind::Register => self.frame_pointer_step(table.is_some()),
            _ => self.table_step(rule),
        }
    }

    fn table_step(&mut self, rule: Rule) -> Result<(), u32> {
        let offset = i64::from(rule.cfa_offset);
        let parameter = u64::from(rule.parameter);
        let cfa = match rule.kind {
            Kind::Sp => self.sp.wrapping_add_signed(offset),
            Kind::Bp => self.bp.wrapping_add_signed(offset),
            Kind::SpDeref => self.word(self.sp.wrapping_add_signed(offset))? + 8 * parameter,
            Kind::BpDeref => self.word(self.bp.wrapping_add_signed(offset))? + 8 * parameter,
            Kind::Plt => {
                let pushed = if self.ip & 15 >= parameter { 8 } else { 0 };
                self.sp.wrapping_add_signed(offset) + pushed
            }
            _ => return Err(status::NO_ROW),
        };
        if cfa <= self.sp {
            return Err(status::NO_ROW);
        }
        let at = i64::from(rule.rbp_offset);
        match rule.rbp {
            Rbp::Same => {}
            Rbp::Cfa => self.bp = self.word(cfa.wrapping_add_signed(at))?,
            Rbp::Frame => self.bp = self.word(self.bp.wrapping_add_signed(at))?,
            Rbp::Lost => self.bp = 0,
        }
        self.ip = self.word(cfa - 8)?;
        self.sp = cfa;
        self.exact = false;
        Ok(())
    }

    fn frame_pointer_step(&mut self, has_table: bool) -> Result<(), u32> {
        if self.bp == 0 {
            return Err(status::COMPLETE);
        }
        if self.bp < self.sp || self.bp & 7 != 0 || self.bp - self.sp > FRAME_BYTES_MAX {
            return Err(if has_table { status::NO_ROW } else { status::BAD_FRAME_POINTER });
        }
        let (bp, ip) = (self.word(self.bp)?, self.word(self.bp + 8)?);
        (self.sp, self.bp, self.ip) = (self.bp + 16, bp, ip);
        self.exact = false;
        Ok(())
    }

    fn signal_step(&mut self) -> Result<(), u32> {
        let context = self.sp;
        self.ip = self.word(context.wrapping_add(UCONTEXT_IP))?;
        self.sp = self.word(context.wrapping_add(UCONTEXT_SP))?;
        self.bp = self.word(context.wrapping_add(UCONTEXT_BP))?;
        self.exact = true;
        Ok(())
    }

    fn word(&self, address: u64) -> Result<u64, u32> {
        self.snapshot.word(address).ok_or(status::UNREADABLE)
    }
}
