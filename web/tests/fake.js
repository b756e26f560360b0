/*
 * A server that speaks the API with data made up from a seed: for what no recording has at hand,
 * such as names that are markup, 500,000 nodes, other sources on the time line. It sends the same
 * security headers as `rprof web`.
 */

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const STATIC = new URL("../static/", import.meta.url);
const TYPES = { html: "text/html; charset=utf-8", css: "text/css; charset=utf-8", js: "text/javascript; charset=utf-8", svg: "image/svg+xml" };

/** What `rprof web` sends with every answer. */
export const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
  + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/** Numbers from 0 to 1, the same for the same seed. @param {number} seed */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Names that a browser must not take for anything but text. */
export const HOSTILE = [
  "<img src=x onerror=\"window.stolen = 1\">", "</script><script>window.stolen = 1</script>", "javascript:window.stolen=1",
  "\"><svg onload=window.stolen=1>", "{{constructor.constructor('window.stolen=1')()}}", "a".repeat(10000), "\u202Egnp.exe", "\u0000\u0007\u001b[31m", "", "𝕏".repeat(300),
];

/**
 * A flame graph of so many nodes at most.
 * @param {{nodes: number, seed?: number, names?: string[], base?: boolean, depth?: number, waits?: boolean}} options
 *   `waits`: every other stack does, and ends in what for
 */
export function flamegraph({ nodes, seed = 1, names: given, base = false, depth: deepest = 80, waits = false }) {
  const next = random(seed);
  const words = ["poll", "read", "parse", "alloc", "write", "hash", "visit", "compile", "lock", "copy", "flush", "route"];
  const names = given ?? Array.from({ length: Math.min(35000, Math.max(50, nodes / 14)) }, (_, i) => `${words[i % 12]}::${words[(i * 7) % 11]}_${i}`);
  /** @type {import("../static/types.js").Flamegraph["functions"]} */
  const functions = { name: [], kind: [], module: [], file: [], line: [] };
  const kinds = ["group", "user", "kernel", "inlined", "jit", "unknown", "other"];
  names.forEach((_, i) => {
    functions.name.push(i + 1);
    functions.kind.push(1 + (i % 5));
    functions.module.push(1 + (i % 4));
    functions.file.push(i % 3);
    functions.line.push(i % 3 ? i : 0);
  });
  functions.name.push(0);
  [functions.kind, functions.module, functions.file, functions.line].forEach((list) => list.push(0));
  /** @type {import("../static/types.js").Flamegraph["tree"]} */
  const tree = { depth: [], function: [], total: [], self: [] };
  const total = 9e12;
  /** Boxes that are still to be made, the next one last: depth, function, value, boxes to come of it. @type {number[][]} */
  const open = [[0, names.length, total, nodes]];
  while (open.length) {
    const [depth, index, value, budget] = /** @type {number[]} */ (open.pop());
    const at = tree.depth.length;
    tree.depth.push(depth);
    tree.function.push(index);
    tree.total.push(value);
    tree.self.push(value);
    const children = depth >= deepest || budget < 2 ? 0 : Math.min(budget - 1, depth < 3 ? 9 : 1 + Math.floor(next() ** 2 * 5));
    const parts = Array.from({ length: children }, () => next() ** 3 + 0.004);
    const sum = parts.reduce((sum, part) => sum + part, 0) * (depth === 0 ? 1 : 1 + next() * 0.08);
    const below = parts.map((part) => [depth + 1, Math.floor(next() * names.length), Math.floor((value * part) / sum), Math.max(1, Math.floor(((budget - 1) * part) / sum))])
      .filter(([, , part]) => part > 0).sort((a, b) => (names[a[1]] < names[b[1]] ? -1 : 1));
    tree.self[at] = below.reduce((left, [, , part]) => left - part, value);
    open.push(...below.reverse());
  }
  if (waits) {
    const states = ["[sleep]", "[disk]", "[lock]", "[preempted]", "[runnable]", "[idle]"];
    kinds.push("note");
    for (const state of states) {
      names.push(state);
      functions.name.splice(-1, 0, names.length);
      functions.kind.splice(-1, 0, kinds.length - 1);
      [functions.module, functions.file, functions.line].forEach((list) => list.splice(-1, 0, 0));
    }
    const root = functions.name.length - 1;
    tree.function = tree.function.map((index) => (index >= root - states.length ? root : index));
    let top = 0;
    tree.depth.forEach((depth, i) => {
      if (depth === 1) top += 1;
      if (depth > 2 && top % 2 && (tree.depth[i + 1] ?? 0) <= depth) tree.function[i] = root - 1 - (i % states.length);
    });
  }
  const answer = { unit: "ns", total, samples: 900000, pruned: 0, names: ["all", ...names], kinds, modules: ["", "/usr/bin/server", "[kernel]", "/usr/lib/libc.so.6", "/usr/lib/jvm/libjvm.so"], files: ["", "src/lib.rs", "kernel/sched/core.c"], functions, tree };
  if (!base) return answer;
  const skew = tree.total.map((value, i) => (i === 0 ? value : Math.floor(value * (0.5 + ((tree.function[i] * 37) % 100) / 100))));
  return { ...answer, base_total: total, base_samples: 900000, tree: { ...tree, base: skew, z: tree.total.map((value, i) => (value - skew[i]) / Math.sqrt((value + skew[i]) * 1e7 + 1)) } };
}

/**
 * A build: make runs for half of the time, and starts compilers, each of which starts an assembler.
 * @param {{start: number, end: number, runs: number, names?: string[]}} options
 * @returns {import("../static/types.js").Run[]}
 */
export function commands({ start, end, runs, names }) {
  const next = random(11);
  const half = (end - start) / 2;
  const text = (/** @type {number} */ i, /** @type {string} */ usual) => (names ? names[i % names.length] : usual);
  const about = { uid: 0, known: true, code: 0, signal: null };
  return [
    { ...about, pid: 100, ppid: 1, process: "make (100)", comm: text(0, "make"), cmdline: text(0, "make -j8 all"), file: "/usr/bin/make", start: start + half / 2, end: start + half * 1.5, cpu: 2e9 },
    ...Array.from({ length: runs }, (_, i) => {
      const compiler = i % 2 === 0;
      const from = start + half / 2 + (half * 0.95 * (i - (i % 2))) / runs + (compiler ? 0 : half * 0.01);
      const length = (half / 12) * (0.2 + next()) * (compiler ? 1 : 0.3);
      return { ...about, pid: 101 + i, ppid: compiler ? 100 : 100 + i, process: `${compiler ? "cc1" : "as"} (${101 + i})`, comm: text(i, compiler ? "cc1" : "as"),
        cmdline: text(i, compiler ? `/usr/lib/gcc/cc1 -O2 file${i}.c` : `as -o file${i - 1}.o`), file: compiler ? "/usr/lib/gcc/cc1" : "/usr/bin/as",
        start: from, end: Math.min(from + length, start + half * 1.5), cpu: length * 9e5, ...(i === 6 ? { code: 1 } : {}), ...(i === 8 ? { code: null, signal: "SIGSEGV" } : {}) };
    }),
    { ...about, pid: 90, ppid: 1, process: "sshd (90)", comm: text(3, "sshd"), cmdline: text(3, "sshd: root@pts/0"), file: "", start, end: null, known: false, code: null, cpu: null },
  ];
}

/**
 * What happened: the starts and ends of these, as many signals as are asked for, collections.
 * @param {import("../static/types.js").Run[]} ran
 * @param {{start: number, end: number, marks: number, names?: string[]}} options
 * @returns {import("../static/types.js").Mark[]}
 */
export function marksOf(ran, { start, end, marks, names }) {
  const next = random(5);
  const text = (/** @type {number} */ i, /** @type {string} */ usual) => (names ? names[i % names.length] : usual);
  /** @type {import("../static/types.js").Mark[]} */
  const made = [];
  for (const run of ran) {
    if (run.known) made.push({ time: run.start, ...(run.end === null ? {} : { end: run.end }), source: "exec", kind: "exec", text: run.cmdline, pid: run.pid, tid: run.pid, process: run.process, level: "info", fields: { ppid: run.ppid, parent: "make", uid: 0, args: run.cmdline.split(" "), file: run.file } });
    if (run.end !== null) made.push({ time: run.end, source: "exit", kind: run.signal ? "killed" : "exit", text: `${run.comm}: ${run.signal ?? run.code}`, pid: run.pid, tid: run.pid, process: run.process, level: run.signal || run.code ? "error" : "info", fields: { code: run.code, signal: run.signal, lifetime_ns: (run.end - run.start) * 1e6, cpu_ns: run.cpu } });
  }
  for (let i = 0; i < marks; i++) made.push({ time: start + (end - start) * next(), source: "signal", kind: "signal", text: text(i, `SIGTERM from bash (${4000 + i}) to sleep (${5000 + i})`), pid: 5000 + i, tid: 5000 + i, process: text(i, `sleep (${5000 + i})`), level: "info", fields: { signal: "SIGTERM", sender: text(i + 1, "bash"), result: 0 } });
  for (let i = 0; i < 30; i++) {
    const time = start + ((end - start) * (i + 0.5)) / 30;
    made.push({ time, end: time + 4 + 60 * next() ** 3, source: "gc", kind: "gc", text: "G1 Young Pause", pid: 200, tid: 201, process: "java (200)", level: "info", fields: { cause: "G1 Evacuation Pause", pool: "G1 Eden Space" } });
  }
  return made.sort((a, b) => a.time - b.time);
}

/**
 * The answers.
 * @param {{nodes?: number, names?: string[], empty?: boolean, hours?: number, error?: string, marks?: number, runs?: number, waits?: boolean}} options
 */
export function answers({ nodes = 20000, names, empty = false, hours = 1, error, marks = 60, runs = 40, waits = false }) {
  const end = Date.UTC(2026, 10, 21, 4, 0, 0);
  const start = empty ? end : end - hours * 3600e3;
  /** @type {Map<string, unknown>} */
  const kept = new Map();
  /** @param {string} key @param {() => any} make @returns {any} */
  const keep = (key, make) => {
    if (!kept.has(key)) kept.set(key, make());
    return kept.get(key);
  };
  const graph = (/** @type {boolean} */ base) => keep(`graph ${base}`, () => empty
    ? { unit: "ns", total: 0, samples: 0, pruned: 0, names: ["all"], kinds: ["group"], modules: [""], files: [""], functions: { name: [0], kind: [0], module: [0], file: [0], line: [0] }, tree: { depth: [0], function: [0], total: [0], self: [0] } }
    : flamegraph({ nodes, names, base, waits }));
  /** @param {URLSearchParams} words */
  const table = (words) => {
    const base = words.has("base_from");
    const { functions, names: all, kinds, modules, tree, total } = graph(base);
    const rows = functions.name.map((/** @type {number} */ index, /** @type {number} */ i) => ({ name: all[index], kind: kinds[functions.kind[i]], module: modules[functions.module[i]], self: 0, total: 0, ...(base ? { base_self: 0, base_total: 0, z: 0, significant: false } : {}) }));
    tree.function.forEach((/** @type {number} */ f, /** @type {number} */ i) => {
      rows[f].self += tree.self[i];
      rows[f].total = Math.min(total, rows[f].total + tree.total[i]);
      if (base) rows[f].base_total = Math.min(total, rows[f].base_total + tree.base[i]);
    });
    if (base) for (const row of rows) Object.assign(row, { z: (row.total - row.base_total) / 1e10, significant: Math.abs(row.total - row.base_total) > 3e10 });
    return { unit: "ns", total, samples: 900000, ...(base ? { base_total: total } : {}), functions: rows.slice(0, -1).filter((/** @type {any} */ row) => row.total > 0).sort((/** @type {any} */ a, /** @type {any} */ b) => b.self - a.self) };
  };
  const ran = commands({ start, end, runs, names });
  const happened = marksOf(ran, { start, end, marks, names });
  const moment = (/** @type {string | null} */ word, /** @type {number} */ or) => (word ? Date.parse(word) : or);
  /** @type {Record<string, (words: URLSearchParams) => any>} */
  const api = {
    recording: () => ({ rprof: "0.1.0", host: "made-up", kernel: "6.18.5", architecture: "x86_64", cpus: 8, target: "the whole machine", start, end, live: true,
      sources: [{ name: "cpu", kind: "stacks", event: "cpu-clock", frequency: 19, value: { name: "cpu", unit: "ns" } },
        ...(waits ? [{ name: "offcpu", kind: "stacks", frequency: 99, value: { name: "off_cpu", unit: "ns" } }] : [])],
      labels: ["comm", "process", "thread", "exe", "cmdline", "uid", "cgroup", "container", "unit", "service"],
      lanes: empty ? [] : [{ name: "runqlat", kind: "latency", unit: "nanoseconds", by: ["process"] }, { name: "gc", kind: "latency", unit: "nanoseconds", by: ["process"] }, ...["exec", "exit", "signal"].map((name) => ({ name, kind: "events", unit: "count", by: [] }))],
      remarks: error ? [error] : [] }),
    stats: () => ({ samples: empty ? 0 : 900000, lost: 12, truncated: 40, incomplete: 1800, unwind_failed: { "no row": 1500, "bad frame pointer": 300 }, kernel_failed: 0, unnamed: 77, missed: {}, complete: empty ? 1 : 0.9979, rates: [{ from: start, hz: 19 }], self: { cpu_seconds: 41.2, bpf_seconds: 3.1, cpu_share: 0.0029, rss_bytes: 61e6 } }),
    timeline: (words) => {
      const columns = Number(words.get("columns") ?? 300);
      const [from, to] = [moment(words.get("from"), start), moment(words.get("to"), end)];
      const next = random(Math.round(from / 1000) + columns);
      const step = Math.max(1, to - from) / columns;
      const series = empty ? [] : (names ?? ["postgres", "nginx", "java", "node", "kworker/0:1", "redis-server", "sshd", "rprof"]).slice(0, 8).map((name, i) => {
        const values = Array.from({ length: columns }, (_, at) => step * 1e6 * Math.max(0, (1.6 / (i + 1)) * (0.7 + 0.5 * Math.sin((from + at * step) / 4e5 + i) + 0.5 * next()) + (i === 2 && at % 61 > 57 ? 2.5 : 0)));
        return { name, values, total: values.reduce((sum, value) => sum + value, 0) };
      });
      const seen = (/** @type {string} */ source) => happened.filter((mark) => mark.source === source && (mark.end ?? mark.time) >= from && mark.time <= to);
      const most = Number(words.get("marks") ?? 500);
      const events = (/** @type {string} */ source) => {
        const found = seen(source);
        const count = Array.from({ length: columns }, () => 0);
        for (const { time } of found) if (time >= from && time < to) count[Math.floor((time - from) / step)] += 1;
        return { source, kind: "events", unit: "count", count, marks: marks > 1000 ? found : found.slice(0, most), more: marks > 1000 ? 0 : Math.max(0, found.length - most) };
      };
      /** A spike of 20 times as much lasts five columns. */
      const spikes = (/** @type {number} */ at) => (at % 97 >= 40 && at % 97 < 45 ? 20 : 1);
      const wave = (/** @type {number} */ scale) => Array.from({ length: columns }, (_, at) => (at % 37 === 5 ? null : scale * spikes(at) * (1 + Math.sin(at / 9) / 2 + next() / 4)));
      const p50 = wave(2e4);
      const times = (/** @type {number} */ factor) => p50.map((value) => (value === null ? null : value * factor));
      const pauses = seen("gc");
      return { start: from, step, unit: "ns", cpus: 8, series, other: Array.from({ length: columns }, () => (empty ? 0 : step * 1e5)),
        lanes: empty ? [] : [
          { source: "runqlat", kind: "latency", unit: "nanoseconds", count: p50.map((value) => (value === null ? 0 : 400)), p50, p90: times(6), p99: times(40), max: times(150), all: { count: 4e5, p50: 2e4, p90: 12e4, p99: 8e5, max: 6e7 }, filtered: true },
          { source: "gc", kind: "latency", unit: "nanoseconds", count: p50.map(() => 0), p50: p50.map(() => null), p90: p50.map(() => null), p99: p50.map(() => null), max: p50.map(() => null), all: null, filtered: !words.has("pid"), marks: pauses, more: 0 },
          { source: "kmem", kind: "stacks", unit: "bytes", in_use: true, values: Array.from({ length: columns }, (_, at) => 4e6 + at * 1e4) },
          events("exec"), events("exit"), events("signal"),
        ],
        marks: empty ? [] : [{ time: start + 900e3 * hours, kind: "rate", text: "19 Hz to 11 Hz: over its budget" }, { time: start + 2400e3 * hours, kind: "gap", text: "not recorded for 40 s", end: start + 2440e3 * hours }] };
    },
    heatmap: (words) => {
      const [from, to] = [moment(words.get("from"), start), moment(words.get("to"), end)];
      const seconds = Math.min(3600, Math.ceil((to - from) / 1000));
      const first = Math.floor((to - seconds * 1000) / 1000) * 1000;
      const next = random(7);
      const values = Array.from({ length: seconds * 50 }, (_, i) => (empty ? 0 : Math.floor(next() * 3) + (Math.floor(i / 50) % 60 < 3 && i % 50 > 30 && i % 50 < 38 ? 9 : 0)));
      return { start: first, seconds, rows: 50, unit: "samples", values };
    },
    marks: (words) => {
      const [from, to] = [moment(words.get("from"), start), moment(words.get("to"), end)];
      const wanted = (words.get("name") ?? "").split(",").filter(Boolean);
      const found = happened.filter((mark) => (!wanted.length || wanted.includes(mark.source ?? "")) && mark.time >= from && mark.time <= to);
      const limit = Number(words.get("limit") ?? 1000);
      return { marks: found.slice(0, limit), count: found.length, more: Math.max(0, found.length - limit), left_out: 0 };
    },
    processes: (words) => {
      const [from, to] = [moment(words.get("from"), start), moment(words.get("to"), end)];
      const found = ran.filter((run) => run.start <= to && (run.end ?? end) >= from).sort((a, b) => (b.end ?? end) - b.start - ((a.end ?? end) - a.start));
      const limit = Number(words.get("limit") ?? 300);
      return { processes: found.slice(0, limit), count: found.length, more: Math.max(0, found.length - limit) };
    },
    flamegraph: (words) => graph(words.has("base_from")),
    table,
    sandwich: () => keep("sandwich", () => {
      const half = flamegraph({ nodes: 400, names, seed: 5, depth: 20 });
      half.functions.name[half.functions.name.length - 1] = 1;
      half.functions.kind[half.functions.kind.length - 1] = 1;
      return { callers: half, callees: half };
    }),
    labels: () => ({ values: (names ?? ["postgres", "nginx", "java"]).map((value, i) => ({ value, total: 1e12 / (i + 1) })) }),
  };
  return api;
}

/**
 * Starts the server on a free port of this machine.
 * @param {Parameters<typeof answers>[0] & {port?: number}} [options]
 */
export async function serve(options = {}) {
  const api = answers(options);
  /** Answers as text, so that what is measured is the page. @type {Map<string, string>} */
  const texts = new Map();
  const server = createServer(async (request, response) => {
    const url = new URL(request.url ?? "/", "http://localhost");
    const headers = { "content-security-policy": POLICY, "x-content-type-options": "nosniff", "cache-control": "no-cache" };
    const path = url.pathname.slice(1) || "index.html";
    const [, name] = /^api\/(\w+)$/.exec(path) ?? [];
    if (name === "live") {
      response.writeHead(200, { ...headers, "content-type": "text/event-stream" });
      const timer = setInterval(() => response.write(`event: grown\ndata: {"end":${Date.now()}}\n\n`), 1000);
      response.on("close", () => clearInterval(timer));
      return;
    }
    if (name === "export") {
      response.writeHead(200, { ...headers, "content-type": "text/plain", "content-disposition": "attachment; filename=\"rprof.txt\"" });
      response.end("all;main 1\n");
      return;
    }
    if (name && api[name]) {
      const words = new URLSearchParams(url.search);
      if (words.get("focus") === "fail") {
        response.writeHead(400, { ...headers, "content-type": "application/json" });
        return void response.end(JSON.stringify({ error: "focus: this fails because a test asked for it" }));
      }
      const text = texts.get(request.url ?? "") ?? JSON.stringify(api[name](words));
      texts.set(request.url ?? "", text);
      response.writeHead(200, { ...headers, "content-type": "application/json" });
      return void response.end(text);
    }
    const type = TYPES[/** @type {keyof typeof TYPES} */ (path.split(".").pop() ?? "")];
    const file = type && /^[\w.-]+$/.test(path) ? await readFile(fileURLToPath(new URL(path, STATIC))).catch(() => null) : null;
    response.writeHead(file ? 200 : 404, { ...headers, "content-type": type ?? "text/plain" });
    response.end(file ?? "not found");
  });
  await new Promise((done) => server.listen(options.port ?? 0, "127.0.0.1", () => done(null)));
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  return { url: `http://127.0.0.1:${port}/`, close: () => { server.closeAllConnections(); server.close(); } };
}
