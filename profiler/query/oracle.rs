//! Every answer that shows functions, held against the same sums made stack by stack.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::*;
use crate::{
    model::{
        EMPTY_STACK, Frame, FrameKind, Function, Label, Line, Measure, Process, SourceInfo, Tables,
        Thread, View,
    },
    store::Entry,
};

/// Names that functions have; few, so that they recur.
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// What is made up: for each entry a thread, the frames of its stack from the root on, and a value.
/// A frame is one or two functions, the second inlined into the first.
type Made = Vec<(u32, Vec<(usize, Option<usize>)>, u64)>;

fn made() -> impl Strategy<Value = Made> {
    let frame = (0..NAMES.len(), proptest::option::weighted(0.2, 0..NAMES.len()));
    let stack = proptest::collection::vec(frame, 0..7);
    proptest::collection::vec((0..4u32, stack, 1..100u64), 1..40)
}

/// Functions from the root on, and whether each is inlined.
type Path = Vec<(&'static str, bool)>;

/// The made-up entries, what they point into, and for each its path of functions from the root on.
struct Case {
    tables: Tables,
    entries: Vec<Entry>,
    paths: Vec<(String, Path, u64)>,
}

fn case(made: &Made) -> Case {
    let mut tables = Tables::default();
    let mut case = (Vec::new(), Vec::new());
    for process in 0..2 {
        let comm = tables.strings.intern(["app", "db"][process as usize]);
        let (pid, uid) = (process + 1, 0);
        let known = Process { pid, comm, exe: 0, cmdline: 0, uid, cgroup: 0, service: 0 };
        tables.processes.intern(known);
    }
    for thread in 0..4 {
        tables.threads.intern(Thread { process: thread / 2, tid: thread, name: 0 });
    }
    for (thread, frames, value) in made {
        let mut stack = EMPTY_STACK;
        let mut path = Vec::new();
        for (outer, inner) in frames {
            // Two addresses for each name: two call sites.
            let address = (*outer * 16 + inner.map_or(0, |inner| inner + 1)) as u64 * 2 + value % 2;
            let frame = tables.frame(Frame { kind: FrameKind::User, binary: 0, address });
            let mut line = |name: usize| {
                let name = tables.strings.intern(NAMES[name]);
                let function = Function { name, system_name: name, file: 0 };
                Line { function: tables.functions.intern(function), line: 1, column: 0 }
            };
            let lines: Vec<Line> = inner.iter().chain([outer]).map(|name| line(*name)).collect();
            tables.lines[frame as usize] = lines.into();
            stack = tables.stacks.push(stack, frame);
            path.push((NAMES[*outer], false));
            path.extend(inner.map(|inner| (NAMES[inner], true)));
        }
        case.0.push(Entry { thread: *thread, stack, count: 1, value: *value });
        case.1.push((["app", "db"][*thread as usize / 2].to_owned(), path, *value));
    }
    Case { tables, entries: case.0, paths: case.1 }
}

type Sums = BTreeMap<Vec<String>, (u64, u64)>;

fn show((name, is_inlined): (&str, bool)) -> String {
    if is_inlined { format!("{name} inlined") } else { name.to_owned() }
}

/// Total and self of each path that leads to one of `paths`.
fn sums(paths: impl IntoIterator<Item = (Vec<String>, u64)>) -> Sums {
    let mut sums = Sums::new();
    for (path, value) in paths {
        for end in 1..=path.len() {
            sums.entry(path[..end].to_vec()).or_default().0 += value;
        }
        sums.entry(path).or_default().1 += value;
    }
    sums
}

/// Total and self of each box, by the path that leads there.
fn boxes(graph: &Flamegraph) -> Sums {
    let mut sums = Sums::new();
    let mut path: Vec<String> = Vec::new();
    let tree = &graph.tree;
    for place in 0..tree.depth.len() {
        let function = tree.function[place] as usize;
        let name = &graph.names[graph.functions.name[function] as usize];
        let kind = &*graph.kinds[graph.functions.kind[function] as usize];
        path.truncate(tree.depth[place] as usize);
        path.push(show((name, kind == "inlined")));
        let before = sums.insert(path.clone(), (tree.total[place], tree.own[place]));
        assert!(before.is_none(), "{path:?} is there twice");
    }
    sums
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

fn shown<'a>(source: &'a SourceInfo, view: &'a View) -> Shown<'a> {
    Shown { view, source, measure: Measure::default() }
}

fn alone(now: &Weights) -> Sides<'_> {
    Sides { now, base: None, common: None, in_use: false, is_memory: false }
}

const ALL: usize = 1 << 40;

fn with<T>(case: &Case, view: &View, ask: impl Fn(&Names, &Weights) -> T) -> T {
    let (mut names, mut mapping) = (Names::default(), Mapping::default());
    mapping.update(&case.tables, &mut names);
    let part = Part { tables: &case.tables, mapping: &mapping };
    let source = SourceInfo { frequency: 1, ..SourceInfo::default() };
    let weights = Weights::gather(
        part,
        &case.entries,
        &names,
        shown(&source, view),
        later(),
        &mut Scratch::default(),
    )
    .unwrap();
    ask(&names, &weights)
}

proptest! {
    #[test]
    fn flame_graphs(made in made(), inverted: bool, by_comm: bool) {
        let case = case(&made);
        let by = by_comm.then_some(Label::Comm);
        let view = View { inverted, by, ..View::default() };
        let graph = with(&case, &view, |names, weights| {
            flamegraph(names, &view, &alone(weights), ALL, later(), &mut Scratch::default()).unwrap()
        });
        let expected = sums(case.paths.iter().map(|(comm, path, value)| {
            let mut path: Vec<String> = path.iter().copied().map(show).collect();
            if inverted {
                path.reverse();
            }
            let root = ["all".to_owned()].into_iter().chain(by_comm.then(|| comm.clone()));
            (root.chain(path).collect(), *value)
        }));
        prop_assert_eq!(boxes(&graph), expected);
        prop_assert_eq!(graph.pruned, 0.0);
    }

    #[test]
    fn what_is_narrow_is_merged_and_not_lost(made in made(), inverted: bool, nodes in 1..30usize) {
        let case = case(&made);
        let view = View { inverted, ..View::default() };
        let (whole, pruned) = with(&case, &view, |names, weights| {
            let graph = |nodes| flamegraph(names, &view, &alone(weights), nodes, later(), &mut Scratch::default()).unwrap();
            (boxes(&graph(ALL)), graph(nodes))
        });
        let least = pruned.total.div_ceil(nodes as u64).max(1);
        let (mut own, mut narrow) = (0, 0);
        for (path, sums) in boxes(&pruned) {
            own += sums.1;
            if path.last().is_some_and(|name| name == "other") {
                let parent = &path[..path.len() - 1];
                let below = whole.iter().filter(|(path, sums)| {
                    path.len() == parent.len() + 1 && path.starts_with(parent) && sums.0 < least
                });
                prop_assert_eq!(sums.0, below.map(|(_, sums)| sums.0).sum::<u64>());
                narrow += sums.0;
            } else {
                prop_assert_eq!(Some(&sums), whole.get(&path));
                prop_assert!(path.len() == 1 || sums.0 >= least);
            }
        }
        prop_assert_eq!(own, pruned.total);
        prop_assert_eq!(pruned.pruned, narrow as f64 / pruned.total as f64);
    }

    #[test]
    fn tables(made in made()) {
        let case = case(&made);
        let view = View::default();
        let table = with(&case, &view, |names, weights| table(names, &alone(weights), ALL));
        let mut expected: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (_, path, value) in &case.paths {
            let mut path: Vec<String> = path.iter().copied().map(show).collect();
            if path.is_empty() {
                path.push("[no stack]".into());
            }
            expected.entry(path[path.len() - 1].clone()).or_default().0 += value;
            path.sort();
            path.dedup();
            path.into_iter().for_each(|name| expected.entry(name).or_default().1 += value);
        }
        let rows = table.functions.iter().map(|row| {
            (show((&row.name, row.kind == "inlined")), (row.own, row.total))
        });
        prop_assert_eq!(rows.collect::<BTreeMap<_, _>>(), expected);
        prop_assert_eq!(table.count, table.functions.len());
    }

    #[test]
    fn sandwiches(made in made()) {
        let case = case(&made);
        for wanted in NAMES {
            let outermost = case.paths.iter().filter_map(|(_, path, value)| {
                Some((path, path.iter().position(|(name, _)| *name == wanted)?, *value))
            });
            let sandwich = with(&case, &View::default(), |names, weights| {
                sandwich(names, &alone(weights), wanted, ALL, later())
            });
            if outermost.clone().count() == 0 {
                prop_assert!(sandwich.is_err());
                continue;
            }
            let sandwich = sandwich.unwrap();
            // The function itself is one box, whatever its kind.
            let middle = boxes(&sandwich.callees).into_keys().next().unwrap();
            let callees = sums(outermost.clone().map(|(path, place, value)| {
                let below = path[place + 1..].iter().copied().map(show);
                (middle.iter().cloned().chain(below).collect(), value)
            }));
            prop_assert_eq!(boxes(&sandwich.callees), callees);
            let callers = sums(outermost.map(|(path, place, value)| {
                let above = path[..place].iter().rev().copied().map(show);
                (middle.iter().cloned().chain(above).collect(), value)
            }));
            prop_assert_eq!(boxes(&sandwich.callers), callers);
        }
    }

    #[test]
    fn a_base_stands_beside_each_box(made in made(), other in made(), inverted: bool, in_use: bool) {
        let view = View { inverted, ..View::default() };
        let both = case(&made.iter().chain(&other).cloned().collect());
        let part_of = |entries: &[Entry]| Case { entries: entries.to_vec(), tables: both.tables.clone(), paths: Vec::new() };
        let (now, base) = both.entries.split_at(made.len());
        let by_itself = |entries: &[Entry]| {
            with(&part_of(entries), &view, |names, weights| {
                boxes(&flamegraph(names, &view, &alone(weights), ALL, later(), &mut Scratch::default()).unwrap())
            })
        };
        let (mut names, mut mapping) = (Names::default(), Mapping::default());
        mapping.update(&both.tables, &mut names);
        let part = Part { tables: &both.tables, mapping: &mapping };
        let source = SourceInfo { frequency: 1, ..SourceInfo::default() };
        let gather = |entries| Weights::gather(part, entries, &names, shown(&source, &view), later(), &mut Scratch::default()).unwrap();
        let (now_sums, base_sums) = (by_itself(now), by_itself(base));
        let [now, base, common] = [now, base, &base[..base.len() / 2]].map(gather);
        let (base, common, in_use) = (Some(&base), Some(&common).filter(|_| in_use), in_use);
        let sides = Sides { now: &now, base, common, in_use, is_memory: false };
        let graph =
            flamegraph(&names, &view, &sides, ALL, later(), &mut Scratch::default()).unwrap();
        let together = boxes(&graph);
        prop_assert!(now_sums.keys().chain(base_sums.keys()).all(|path| together.contains_key(path)));
        for (path, sums) in &together {
            prop_assert_eq!(*sums, now_sums.get(path).copied().unwrap_or_default());
        }
        let z = graph.tree.z.as_ref().unwrap();
        prop_assert!(z.len() == graph.tree.total.len() && z.iter().all(|z| z.is_finite()));
        prop_assert!(in_use || z[0] == 0.0);
        // In the order of boxes, which is that of paths but for `other`.
        let mut path: Vec<String> = Vec::new();
        for place in 0..graph.tree.depth.len() {
            let function = graph.tree.function[place] as usize;
            let kind = &*graph.kinds[graph.functions.kind[function] as usize];
            let name = &graph.names[graph.functions.name[function] as usize];
            path.truncate(graph.tree.depth[place] as usize);
            path.push(show((name, kind == "inlined")));
            let base = graph.tree.base.as_ref().unwrap()[place];
            prop_assert_eq!(base, base_sums.get(&path).map_or(0, |sums| sums.0));
        }
    }
}
