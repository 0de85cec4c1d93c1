// The three phases of an experiment on one time axis, and the scenarios that fill them.
//
// Rule: the model is open (a constant arrival rate): callers do not wait for each other,
// so a slow gateway meets a growing number of calls, as it would in life.
// Must not live here: what is measured and what it must be.

export const PHASES = ['baseline', 'fault', 'recovery'];

// A little more than the runner needs to start a scenario, so that no call of one phase
// finds its virtual user still taken by the phase before.
const SPARE_CALLERS = 5;

/** Start of each phase and the end of all, in seconds from the start of the test. */
export function timeline(profile) {
  const starts = {};
  let at = 0;
  for (const phase of PHASES) {
    starts[phase] = at;
    at += profile.phases_s[phase];
  }
  return { starts, injectAt: starts.fault, clearAt: starts.recovery, end: at };
}

/**
 * The phase a call belongs to, from when it began and ended (seconds).
 *
 * A call that was in flight when the fault came met the fault, so it counts there.
 */
export function phaseOf(times, beganAt, endedAt) {
  if (beganAt < times.injectAt) {
    return endedAt < times.injectAt ? 'baseline' : 'fault';
  }
  return beganAt < times.clearAt ? 'fault' : 'recovery';
}

/** One arrival-rate scenario for each route and phase, named `<route>_<phase>`. */
export function callScenarios(profile, routes, exec) {
  const times = timeline(profile);
  const scenarios = {};
  for (const route of routes) {
    for (const phase of PHASES) {
      scenarios[scenarioName(route, phase)] = {
        executor: 'constant-arrival-rate',
        exec,
        rate: profile.calls_per_s,
        timeUnit: '1s',
        startTime: `${times.starts[phase]}s`,
        duration: `${profile.phases_s[phase]}s`,
        gracefulStop: `${profile.call_timeout_s + 1}s`,
        // Enough for every call to hang until its client gives up: a protected gateway
        // needs few of them, an unprotected one all.
        preAllocatedVUs:
          Math.ceil(profile.calls_per_s * profile.call_timeout_s) + SPARE_CALLERS,
        tags: { phase, route },
        env: { ROUTE: route },
      };
    }
  }
  return scenarios;
}

export const scenarioName = (route, phase) => `${route}_${phase}`;

/** A scenario of one iteration at one moment. */
export function once(exec, atS) {
  return {
    executor: 'per-vu-iterations',
    exec,
    vus: 1,
    iterations: 1,
    startTime: `${atS}s`,
    maxDuration: '30s',
    tags: { role: 'injector' },
  };
}

/** A scenario of one virtual user that loops from `fromS` to the end. */
export function alongside(profile, exec, fromS) {
  return {
    executor: 'constant-vus',
    exec,
    vus: 1,
    startTime: `${fromS}s`,
    duration: `${timeline(profile).end - fromS}s`,
    gracefulStop: `${profile.call_timeout_s + 1}s`,
    tags: { role: 'observer' },
  };
}
