// JIT code that recurses, calls back from builtins, allocates and matches.
function leaf(n) {
  let x = n | 1;
  for (let i = 0; i < 3000; i++) x = (Math.imul(x, 1664525) + 1013904223) | 0;
  return x;
}
function middle(depth) {
  return depth > 1 ? middle(depth - 1) + 1 : leaf(depth);
}
function outer() {
  const list = Array.from({ length: 60 }, (_, i) => "k" + ((i * 37) % 61));
  list.sort((a, b) => middle(8) * 0 + (a < b ? -1 : 1));
  return JSON.stringify(list.map((s) => s.replace(/k/, "z"))).length;
}
const end = process.cpuUsage().user + Number(process.argv[2]) * 1e6;
let sum = 0;
while (process.cpuUsage().user < end) sum += outer();
console.log(sum);
