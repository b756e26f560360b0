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
 * @param {{nodes: number, seed?: number, names?: string[], base?: boolean, depth?: number}} options
 */
export function flamegraph({ nodes, seed = 1, names: given, base = false, depth: deepest = 80 }) {
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
  const answer = { unit: "ns", total, samples: 900000, pruned: 0, names: ["all", ...names], kinds, modules: ["", "/usr/bin/server", "[kernel]", "/usr/lib/libc.so.6", "/usr/lib/jvm/libjvm.so"], files: ["", "src/lib.rs", "kernel/sched/core.c"], functions, tree };
  if (!base) return answer;
  const skew = tree.total.map((value, i) => (i === 0 ? value : Math.floor(value * (0.5 + ((tree.function[i] * 37) % 100) / 100))));
  return { ...answer, base_total: total, base_samples: 900000, tree: { ...tree, base: skew, z: tree.total.map((value, i) => (value - skew[i]) / Math.sqrt((value + skew[i]) * 1e7 + 1)) } };
}

/**
 * The answers.
 * @param {{nodes?: number, names?: string[], empty?: boolean, hours?: number, error?: string}} options
 */
export function answers({ nodes = 20000, names, empty = false, hours = 1, error }) {
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
    : flamegraph({ nodes, names, base }));
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
  const moment = (/** @type {string | null} */ word, /** @type {number} */ or) => (word ? Date.parse(word) : or);
  /** @type {Record<string, (words: URLSearchParams) => any>} */
  const api = {
    recording: () => ({ rprof: "0.1.0", host: "made-up", kernel: "6.18.5", architecture: "x86_64", cpus: 8, target: "the whole machine", start, end, live: true,
      sources: [{ name: "cpu", kind: "stacks", event: "cpu-clock", frequency: 19, value: { name: "cpu", unit: "ns" } }],
      labels: ["comm", "process", "thread", "exe", "cmdline", "uid", "cgroup", "container", "unit", "service"], remarks: error ? [error] : [] }),
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
      const wave = (/** @type {number} */ scale) => Array.from({ length: columns }, (_, at) => (at % 37 === 5 ? null : scale * (1 + Math.sin(at / 9) + next())));
      return { start: from, step, unit: "ns", cpus: 8, series, other: Array.from({ length: columns }, () => (empty ? 0 : step * 1e5)),
        lanes: empty ? [] : [
          { source: "runqlat", kind: "latency", unit: "ns", p50: wave(2e4), p99: wave(4e6).map((value) => (value ?? 0) + 1e6) },
          { source: "exec", kind: "events", marks: Array.from({ length: 60 }, (_, i) => ({ time: start + ((i * 7919) % 3600) * 1000 * hours, kind: "exec", text: names ? names[i % names.length] : `bash (${4000 + i}) runs /usr/bin/gzip` })) },
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
