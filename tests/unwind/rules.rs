//! The search for a rule, as the kernel does it in chunks, against that in the table.

use std::path::Path;
use std::sync::Arc;

use rprof::unwind::{Image, Rule, Table};

use super::Random;
use super::harness::Harness;
use super::oracle::system_files;

#[test]
fn the_kernel_finds_what_the_table_has() {
    let paths = system_files();
    let tables: Vec<(&Path, Arc<Table>)> = paths
        .iter()
        .filter(|path| path.metadata().is_ok_and(|file| file.len() < 64 << 20))
        .filter_map(|path| {
            let file = std::fs::File::open(path).unwrap();
            let table = Table::build(&Image::read(&file).unwrap()).ok()?;
            Some((path.as_path(), Arc::new(table)))
        })
        .collect();
    assert!(tables.len() >= 8, "too few of the files known here: {paths:?}");
    let mut harness = Harness::default();
    let mut random = Random(5);
    // All of them before the first search, so that they share chunks.
    let numbers: Vec<u32> = tables.iter().map(|(_, table)| harness.store(table)).collect();
    let asked: Vec<Vec<u64>> =
        tables.iter().map(|(_, table)| addresses(table, &mut random)).collect();
    for (number, addresses) in numbers.iter().zip(&asked) {
        harness.look_up(*number, addresses);
    }
    harness.look_up(numbers.len() as u32, &[0, 1, u64::MAX]);
    let lines = harness.run();
    for (((path, table), addresses), line) in tables.iter().zip(&asked).zip(&lines) {
        let found = line.split_whitespace().map(|word| u64::from_str_radix(word, 16).unwrap());
        let mut compared = 0;
        for (address, bits) in addresses.iter().zip(found) {
            let rule = table.lookup(*address);
            assert_eq!(Rule::unpack(bits), Some(rule), "{address:#x} of {}", path.display());
            compared += 1;
        }
        assert_eq!(compared, addresses.len());
    }
    assert_eq!(lines.last().unwrap(), "0 0 0 ");
}

/// Random ones, both sides of random rows, and the ends of the table and of pages.
fn addresses(table: &Table, random: &mut Random) -> Vec<u64> {
    let start = table.first_page() << 16;
    let size = (table.pages().len() as u64) << 16;
    let mut addresses: Vec<u64> = (0..4000).map(|_| start + random.below(size)).collect();
    for _ in 0..2000 {
        let page = random.below(table.pages().len() as u64);
        let rows = &table.pages()[page as usize];
        let page = start + (page << 16);
        addresses.extend([page, page + 0xffff]);
        if rows.count > 0 {
            let row = table.rows()[rows.first as usize + random.below(rows.count.into()) as usize];
            let at = page + u64::from(row >> 16);
            addresses.extend([at, at.wrapping_sub(1)]);
        }
    }
    addresses.extend([start.wrapping_sub(1), start + size, 0, u64::MAX, random.next()]);
    addresses
}
