// Does things again and again, later when they fail, and not while nobody looks.

const LONGEST_WAIT_SECONDS = 60;

/** Return seconds to wait after so many failures: longer each time, not in step with others. */
export function backoff(failures, { first = 1 } = {}) {
  const most = Math.min(LONGEST_WAIT_SECONDS, first * 2 ** (failures - 1));
  return most / 2 + Math.random() * (most / 2);
}

/** Resolve after some seconds, or at once when the signal is aborted. */
export function pause(seconds, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, seconds * 1000);
    signal?.addEventListener("abort", done);
  });
}

/** Resolve when somebody looks at the page. */
function looked() {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    look();
  });
}

/**
 * Do a task every so many seconds, a number or what a function says, until the signal is aborted.
 *
 * What it throws goes to `failed`, and it waits for longer then, or as long as it is told to.
 */
export async function repeat(seconds, task, { signal, failed }) {
  let failures = 0;
  while (!signal.aborted) {
    await looked();
    let wait = 0;
    try {
      await task();
      failures = 0;
    } catch (error) {
      if (signal.aborted) return;
      failures += 1;
      wait = error.retryAfter ?? backoff(failures);
      failed(error);
    }
    const usual = typeof seconds === "function" ? seconds() : seconds;
    await pause(Math.max(usual, wait), signal);
  }
}
