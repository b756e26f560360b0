//! From addresses to frames by debug information: the function, what was
//! inlined into it, files and lines. Between batches small tables are kept:
//! that of units, and those of functions and lines of the units that were
//! asked for; all else is read again when the next batch needs it.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use crate::bytes::Bytes;
use crate::dwarf::{Batch, Dwarf};
use crate::elf::Elf;
use crate::functions::{Function, Functions, Inlined, Loaded};
use crate::lines::{Lines, Place, Row, Table};
use crate::signature::{self, Signature};
use crate::units::{Index, Unit};
use crate::{Result, Symbol, Symbols};

/// The most units whose tables are kept.
const MAX_KEPT: usize = 1024;
/// The most bytes of those tables, for one file.
const MAX_HELD: u64 = 16 << 20;

/// The debug information of one file.
#[derive(Debug)]
pub(crate) struct Frames {
    dwarf: Dwarf,
    index: Index,
    /// By the unit's offset in `.debug_info`.
    known: Mutex<HashMap<u64, Arc<Known>>>,
}

/// What is kept of a unit.
#[derive(Debug)]
struct Known {
    functions: Functions,
    /// None where the program has to be run anew for each batch.
    lines: Option<Table>,
}

/// What is known of one address.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    /// The name of the function that the address belongs to, as in the file.
    name: Option<Rc<str>>,
    place: Place,
    /// Names, and where each was called; outermost first.
    inlined: Vec<(Option<Rc<str>>, Place)>,
}

impl Frames {
    /// Opens the debug information of `elf`, if it has any.
    pub(crate) fn open(bytes: &Bytes, elf: &Elf) -> Result<Option<Self>> {
        if elf.section(".debug_info").is_none() {
            return Ok(None);
        }
        let dwarf = Dwarf::new(bytes, elf)?;
        let index = Index::build(&dwarf);
        Ok(Some(Self { dwarf, index, known: Mutex::default() }))
    }

    /// Bytes held in memory between batches.
    pub(crate) fn held(&self) -> u64 {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let tables: u64 = known.values().map(|known| known.held()).sum();
        self.dwarf.held() + self.index.held() + tables
    }

    /// What is known of `addresses` (sorted).
    pub(crate) fn find(&self, addresses: &[u64]) -> Vec<Frame> {
        let mut found: Vec<Frame> = Vec::new();
        found.resize_with(addresses.len(), Frame::default);
        // Each address asks its likeliest unit first, and the next one where
        // that knows nothing of it.
        let mut asked: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (at, &address) in addresses.iter().enumerate() {
            for unit in self.index.units_of(address) {
                let wanted = asked.entry(unit).or_default();
                if wanted.last() != Some(&at) {
                    wanted.push(at);
                }
            }
        }
        self.dwarf.begin();
        let mut batch = Batch::new(&self.dwarf, &self.index);
        for (unit, mut wanted) in asked {
            wanted.retain(|&at| found[at].name.is_none());
            let Some(unit) = self.index.units.get(unit as usize) else { continue };
            if !wanted.is_empty() {
                // A broken unit takes no other with it.
                let _ = self.ask(&mut batch, unit, addresses, &wanted, &mut found);
            }
        }
        found
    }

    /// What the function takes and returns that begins at `address`.
    pub(crate) fn signature(&self, address: u64) -> Option<Signature> {
        self.dwarf.begin();
        let mut batch = Batch::new(&self.dwarf, &self.index);
        let units: Vec<u32> = self.index.units_of(address).collect();
        for unit in units {
            let Some(unit) = self.index.units.get(unit as usize) else { continue };
            let Ok(known) = self.known(&mut batch, unit) else { continue };
            let Some(function) = known.functions.find(address) else { continue };
            // Else the address is in the middle of another.
            if function.begins_at(address) {
                return signature::read(&mut batch, unit.offset + function.entry());
            }
        }
        None
    }

    /// Asks `unit` about those of `addresses` whose positions are `wanted`.
    fn ask<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        unit: &'a Unit,
        addresses: &[u64],
        wanted: &[usize],
        found: &mut [Frame],
    ) -> Result<()> {
        let known = self.known(batch, unit)?;
        let mut by_entry: BTreeMap<u64, (Function, Vec<usize>)> = BTreeMap::new();
        for &at in wanted {
            if let Some(function) = known.functions.find(addresses[at]) {
                let place = by_entry.entry(function.entry());
                place.or_insert_with(|| (function, Vec::new())).1.push(at);
            }
        }
        let mut calls: Vec<(usize, Inlined)> = Vec::new();
        for (function, places) in by_entry.into_values() {
            let name = batch.name(unit.offset + function.entry());
            let inside: Vec<u64> = places.iter().map(|&at| addresses[at]).collect();
            let chains = Loaded::function(batch, unit, function)
                .map_or_else(|_| Vec::new(), |loaded| loaded.inlined(function, &inside));
            let chains = chains.into_iter().chain(std::iter::repeat(Vec::new()));
            for (at, chain) in places.into_iter().zip(chains) {
                found[at].name.clone_from(&name);
                calls.extend(chain.into_iter().map(|call| (at, call)));
            }
        }
        let rows: Vec<Row> = calls.iter().map(|(_, call)| call.row()).collect();
        let own: Vec<u64> = wanted.iter().map(|&at| addresses[at]).collect();
        let (places, called) = batch
            .root(unit)
            .and_then(|root| match &known.lines {
                Some(table) => Lines::of(&self.dwarf, unit, &root, table).places(&own, &rows),
                None => Lines::load(&self.dwarf, unit, &root)?.places(&own, &rows),
            })
            .unwrap_or_else(|_| (vec![Place::default(); own.len()], Vec::new()));
        let mut called = called.into_iter();
        for (at, call) in calls {
            let name = batch.name(call.origin.unwrap_or(call.entry));
            found[at].inlined.push((name, called.next().unwrap_or_default()));
        }
        for (&at, place) in wanted.iter().zip(places) {
            if place.line != 0 || found[at].place.line == 0 {
                found[at].place = place;
            }
        }
        Ok(())
    }

    fn known<'a>(&'a self, batch: &mut Batch<'a>, unit: &'a Unit) -> Result<Arc<Known>> {
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&unit.offset) {
            return Ok(Arc::clone(known));
        }
        let functions = Loaded::whole(batch, unit)?.functions();
        let root = batch.root(unit)?;
        let lines = Lines::load(&self.dwarf, unit, &root).and_then(|lines| lines.table());
        let new = Arc::new(Known { functions, lines: lines.ok().flatten() });
        let mut known = lock();
        let held: u64 = known.values().map(|known| known.held()).sum();
        if known.len() >= MAX_KEPT || held + new.held() > MAX_HELD {
            known.clear();
        }
        known.insert(unit.offset, Arc::clone(&new));
        Ok(new)
    }
}

impl Known {
    /// Bytes held in memory.
    fn held(&self) -> u64 {
        self.functions.held() + self.lines.as_ref().map_or(0, Table::held)
    }
}

impl Frame {
    /// Whether the debug information names the function. Where it does not,
    /// the symbol table may.
    pub(crate) fn is_named(&self) -> bool {
        self.name.is_some()
    }

    /// The symbols of this address, innermost first. `outer` is the name from
    /// the symbol table, for a function that has none here.
    pub(crate) fn symbols(self, outer: Option<&str>) -> Symbols {
        let Some(name) = self.name.as_deref().or(outer) else {
            return Symbols::new();
        };
        let mut symbols = Symbols::with_capacity(self.inlined.len() + 1);
        // The address is in the innermost function; the place where that was
        // called is in the one around it, and so on.
        let mut place = &self.place;
        for (called, call) in self.inlined.iter().rev() {
            if let Some(called) = called {
                symbols.push(Symbol::placed(called, place));
            }
            place = call;
        }
        symbols.push(Symbol::placed(name, place));
        symbols
    }
}
