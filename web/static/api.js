/*
 * Requests to the server that the page came from. The browser keeps answers by their ETag, so that
 * asking again for what has not changed costs next to nothing.
 */

/** An answer that is none: what the server, or the lack of one, says. */
export class ApiError extends Error {
  /**
   * @param {number} status 0 where there was no answer
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * The address of an answer.
 * @param {string} name
 * @param {URLSearchParams} [words]
 */
export const address = (name, words) => `api/${name}${words?.size ? `?${words}` : ""}`;

/**
 * Asks for `/api/NAME`.
 * @template T
 * @param {string} name
 * @param {URLSearchParams} [words]
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>}
 */
export async function ask(name, words, signal) {
  /** @type {Response} */
  let response;
  try {
    response = await fetch(address(name, words), { signal, headers: { accept: "application/json" } });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "The server does not answer. Is rprof web still running?");
  }
  if (response.ok) return response.json();
  const said = await response.json().catch(() => null);
  throw new ApiError(response.status, explain(response.status, said?.error));
}

/**
 * Why there is no answer, and the way out.
 * @param {number} status
 * @param {unknown} words of the server
 */
function explain(status, words) {
  if (status === 401) return "This server wants its token: open the address that rprof printed when it started.";
  const said = typeof words === "string" && words ? words : `the server answered ${status}`;
  return said[0].toUpperCase() + said.slice(1);
}

/** True for the error of a request that was given up. @param {unknown} error */
export const isAborted = (error) => error instanceof DOMException && error.name === "AbortError";

/**
 * One answer at a time for one part of the page: a newer question gives up the older one, and the
 * same question is not asked twice.
 * @template T
 */
export class Loader {
  #key = "";
  /** @type {AbortController | null} */
  #running = null;

  /**
   * @param {(busy: boolean) => void} onBusy
   * @param {(answer: T, key: string) => void} onAnswer
   * @param {(error: Error) => void} onError
   */
  constructor(onBusy, onAnswer, onError) {
    this.onBusy = onBusy;
    this.onAnswer = onAnswer;
    this.onError = onError;
  }

  /**
   * @param {string} key what makes it another question
   * @param {(signal: AbortSignal) => Promise<T>} question
   */
  async load(key, question) {
    if (key === this.#key) return;
    this.#key = key;
    this.#running?.abort();
    const running = (this.#running = new AbortController());
    this.onBusy(true);
    try {
      const answer = await question(running.signal);
      if (running === this.#running) this.onAnswer(answer, key);
    } catch (error) {
      if (running !== this.#running || isAborted(error)) return;
      this.#key = "";
      this.onError(error instanceof Error ? error : new Error(String(error)));
    } finally {
      if (running === this.#running) this.onBusy(false);
    }
  }

  /** Gives up what is asked, and asks again even for the same. */
  forget() {
    this.#running?.abort();
    this.#running = null;
    this.#key = "";
    this.onBusy(false);
  }
}
