/*
 * What the server answers, as JSDoc types: docs/api.md in types. Times are ms since the Unix epoch,
 * values in the unit of the source. Nothing here runs.
 */

/**
 * One source of a recording.
 * @typedef {object} Source
 * @property {string} name
 * @property {string} [kind] stacks, latency or events
 * @property {string} [event] what made the samples, such as cpu-clock
 * @property {number} [frequency] samples a second and CPU
 * @property {number} [period] what a sample stands for, or how much lies between two on average
 * @property {{name: string, unit: string}} value
 * @property {{name: string, unit: string}} [count] what samples are counted in
 * @property {{name: string, unit: string}[]} [types] all types of value that can be shown
 * @property {boolean} [held] true if it knows what of the memory is in use
 */

/**
 * A recording or a store of them: the answer of /api/recording.
 * @typedef {object} Recording
 * @property {string} [rprof] version that recorded
 * @property {string} [host]
 * @property {string} [kernel]
 * @property {string} [architecture]
 * @property {number} cpus
 * @property {string} [target]
 * @property {number} start
 * @property {number} end
 * @property {boolean} live true while it grows
 * @property {Source[]} sources
 * @property {{name: string, kind: string, unit: string, by: string[]}[]} [lanes] what there is besides stacks
 * @property {string[]} labels what stacks can be grouped and filtered by
 * @property {string[]} remarks
 * @property {{start: number, end: number} | null} [base] the other recording
 */

/**
 * How much a view can be trusted: the answer of /api/stats.
 * @typedef {object} Stats
 * @property {number} samples
 * @property {number} lost
 * @property {number} truncated
 * @property {number} incomplete
 * @property {Record<string, number>} [unwind_failed] by reason
 * @property {number} [kernel_failed]
 * @property {number} [unnamed]
 * @property {Record<string, number>} [missed] what was turned away at a limit
 * @property {number} complete share of samples whose stack is complete, 0 to 1
 * @property {{from: number, hz: number}[]} [rates]
 * @property {{cpu_seconds?: number, bpf_seconds?: number, cpu_share?: number, rss_bytes?: number}} [self]
 */

/** @typedef {{name: string, total: number, values: number[]}} Series */

/**
 * Another source below the time line. Stacks have `values`, latency `count`, quantiles and `max`, events
 * `count` and `marks`. Two lanes may have the same source and different kinds.
 * @typedef {object} Lane
 * @property {string} source
 * @property {string} kind stacks, latency or events
 * @property {string} [type] type of the values, of stacks
 * @property {string} [unit]
 * @property {boolean} [in_use] true if the values are levels
 * @property {number[]} [values]
 * @property {number[]} [count] how many there were
 * @property {(number | null)[]} [p50]
 * @property {(number | null)[]} [p90]
 * @property {(number | null)[]} [p99]
 * @property {(number | null)[]} [max]
 * @property {{count: number, p50: number, p90: number, p99: number, max: number} | null} [all]
 * @property {boolean} [filtered] false if it is of all processes though the view is not
 * @property {Mark[]} [marks]
 * @property {number} [more] marks that are not listed
 */

/**
 * Something that happened.
 * @typedef {object} Mark
 * @property {number} time
 * @property {number} [end] of what lasts
 * @property {string} kind exec, exit, killed, oom, gc or a source; start, stop, rate or gap
 * @property {string} text
 * @property {string} [source] none for what happened to the recording itself
 * @property {number} [pid]
 * @property {number} [tid]
 * @property {string} [process] value of the label of this name
 * @property {string} [level] info, or error for what killed or failed
 * @property {Record<string, unknown>} [fields]
 */

/**
 * Marks of a time: the answer of /api/marks.
 * @typedef {object} Marks
 * @property {Mark[]} marks by time
 * @property {number} count of all that match
 * @property {number} more not listed
 * @property {number} left_out not recorded, for being too many in a second
 */

/**
 * A program that a process ran.
 * @typedef {object} Run
 * @property {number} pid
 * @property {number | null} ppid
 * @property {string} process value of the label of this name
 * @property {string} comm
 * @property {string} cmdline empty if not known
 * @property {string} file empty if not known
 * @property {number | null} uid
 * @property {number} start
 * @property {number | null} end null while it runs
 * @property {boolean} known false if its exec is not in the recording
 * @property {number | null} code
 * @property {string | null} signal
 * @property {number | null} cpu ns, of the whole process
 */

/**
 * Which commands ran when: the answer of /api/processes.
 * @typedef {object} Processes
 * @property {Run[]} processes the longest first
 * @property {number} count
 * @property {number} more
 */

/**
 * Values by time: the answer of /api/timeline.
 * @typedef {object} Timeline
 * @property {number} start
 * @property {number} step
 * @property {string} unit
 * @property {boolean} [in_use] true if the values are levels: what is in use at the end of a column
 * @property {number} cpus
 * @property {Series[]} series
 * @property {number[]} other
 * @property {Lane[]} lanes
 * @property {Mark[]} marks
 */

/**
 * A column a second, a row a fraction of it: the answer of /api/heatmap.
 * @typedef {object} Heatmap
 * @property {number} start
 * @property {number} seconds
 * @property {number} rows
 * @property {string} unit
 * @property {number[]} values column by column
 */

/**
 * A flame graph as flat arrays in depth-first order: the answer of /api/flamegraph.
 * @typedef {object} Flamegraph
 * @property {string} unit
 * @property {number} total
 * @property {number} [samples]
 * @property {number} [pruned] share of the total that is in boxes of kind `other`
 * @property {string[]} names
 * @property {string[]} kinds
 * @property {string[]} modules
 * @property {string[]} files
 * @property {{name: number[], kind: number[], module: number[], file: number[], line: number[]}} functions
 * @property {{depth: number[], function: number[], total: number[], self: number[], base?: number[], z?: number[]}} tree
 * @property {number} [base_total]
 * @property {number} [base_samples]
 * @property {boolean} [in_use] true if amounts are compared, and not shares
 */

/**
 * @typedef {object} TableRow
 * @property {string} name
 * @property {string} kind
 * @property {string} module
 * @property {number} self
 * @property {number} total
 * @property {number} [base_self]
 * @property {number} [base_total]
 * @property {number} [z]
 * @property {boolean} [significant]
 */

/**
 * The answer of /api/table.
 * @typedef {object} Table
 * @property {string} unit
 * @property {number} total
 * @property {number} [samples]
 * @property {number} [base_total]
 * @property {boolean} [in_use] true if amounts are compared, and not shares
 * @property {TableRow[]} functions
 */

export {};
