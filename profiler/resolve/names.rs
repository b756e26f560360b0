//! What frames are called: asks for the names of what came, and takes in those that were found.

use std::time::Instant;

use super::{build::Builder, naming::Named};
use crate::{
    model::{Function, Line},
    sources::Base,
};

impl Builder {
    /// Sends frames without names to be named.
    pub fn ask(&mut self, base: &Base) {
        self.name_kernel(base);
        self.naming.send();
    }

    /// Asks perf maps once more: a Java process writes its own only when told to.
    pub fn ask_perf_maps(&mut self) {
        for (frame, pid) in std::mem::take(&mut self.jit) {
            if self.tables.lines(frame).is_empty() {
                let address = self.tables.frames.get(frame).map_or(0, |frame| frame.address);
                self.naming.jit(pid, address, frame);
            }
        }
        self.naming.send();
    }

    /// Takes the names that come until `deadline`; true if none is missing then.
    pub fn take_names(&mut self, deadline: Instant) -> bool {
        for Named { frame, symbols } in self.naming.receive(deadline) {
            let lines = symbols.iter().map(|symbol| self.line(symbol)).collect();
            self.tables.lines[frame as usize] = lines;
            self.named.push(frame);
        }
        self.naming.is_idle()
    }

    fn name_kernel(&mut self, base: &Base) {
        let frames = std::mem::take(&mut self.kernel);
        let address = |frame: &u32| self.tables.frames.get(*frame).map_or(0, |frame| frame.address);
        let addresses: Vec<u64> = frames.iter().map(address).collect();
        for (frame, symbol) in frames.into_iter().zip(base.name_kernel(&addresses)) {
            let Some(symbol) = symbol else { continue };
            let name = self.tables.strings.intern(&symbol.name);
            let file = symbol.module.map_or(0, |module| self.tables.strings.intern(&module));
            let function = Function { name, system_name: name, file };
            let function = self.tables.functions.intern(function);
            self.tables.lines[frame as usize] = [Line { function, line: 0, column: 0 }].into();
            self.named.push(frame);
        }
    }

    fn line(&mut self, symbol: &symbolizer::Symbol) -> Line {
        let strings = &mut self.tables.strings;
        let name = strings.intern(&symbol.name);
        let system_name =
            symbol.system_name.as_deref().map_or(name, |system_name| strings.intern(system_name));
        let file = symbol.file.as_deref().map_or(0, |file| strings.intern(file));
        let function = self.tables.functions.intern(Function { name, system_name, file });
        Line { function, line: symbol.line, column: symbol.column }
    }
}
