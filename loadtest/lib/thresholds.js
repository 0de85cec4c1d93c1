// From the criteria of experiment.yaml to k6 thresholds.
//
// Rule: k6 lets every threshold over an empty metric pass, so each criterion is paired
// with a lower bound on its own samples, and each arrival-rate scenario with "nothing
// was dropped". Must not live here: numbers.

import { Counter, Gauge, Rate, Trend } from 'k6/metrics';
import { PHASES, scenarioName, timeline } from './phases.js';

// What k6 keeps for each measure, and the statistic a criterion is about.
const MEASURES = {
  call_ok: { metric: new Rate('call_ok'), statistic: 'rate' },
  call_failed: { metric: new Rate('call_failed'), statistic: 'rate' },
  answered_by: { metric: new Rate('answered_by'), statistic: 'rate' },
  direct_answered: { metric: new Rate('direct_answered'), statistic: 'rate' },
  direct_hung: { metric: new Rate('direct_hung'), statistic: 'rate' },
  metrics_read: { metric: new Rate('metrics_read'), statistic: 'rate' },
  injector_done: { metric: new Rate('injector_done'), statistic: 'rate' },
  provider_reached: { metric: new Counter('provider_reached'), statistic: 'count' },
  failed_attempts: { metric: new Counter('failed_attempts'), statistic: 'count' },
  call_ms: { metric: new Trend('call_ms', true), statistic: 'p(95)' },
  // The same value twice: once for its percentile, once for its worst.
  control_ms: { metric: new Trend('control_ms', true), statistic: 'p(95)' },
  control_worst_ms: { metric: new Trend('control_worst_ms', true), statistic: 'max' },
  first_token_ms: { metric: new Trend('first_token_ms', true), statistic: 'p(95)' },
  breaker_open_after_s: { metric: new Trend('breaker_open_after_s'), statistic: 'max' },
  recovered_after_s: { metric: new Trend('recovered_after_s'), statistic: 'max' },
};
// Moments that may never come: their absence refutes the hypothesis. Of everything else
// an absence only says that the judge did not look.
const MOMENTS = ['breaker_open_after_s', 'recovered_after_s'];

const samples = new Counter('samples');
const breakerState = new Gauge('breaker_state');
const faultPresent = new Gauge('fault_present');

/** Adds one value to a measure and counts it as a sample. */
export function record(measure, value, tags) {
  MEASURES[measure].metric.add(value, tags);
  samples.add(1, { measure, ...tags });
}

/** Draws the breaker's state on the time line: 0 closed, 1 half-open, 2 open. */
export const recordBreakerState = (state, tags) => breakerState.add(state, tags);

/** Draws the fault's presence on the time line: 0 or 1. */
export const recordFault = (present) => faultPresent.add(present ? 1 : 0);

/** `measure{tag:value,…}`, as k6 names a part of a metric. */
export function selector(measure, where) {
  const pairs = Object.entries(where || {}).map(([tag, value]) => `${tag}:${value}`);
  return pairs.length ? `${measure}{${pairs.join(',')}}` : measure;
}

export const statisticOf = (measure) => MEASURES[measure].statistic;

/** What the harness itself must have done, whatever the experiment. */
export function harnessCriteria(settings) {
  const { experiment, profile, endpoints } = settings;
  const criteria = [
    ...(endpoints.proxies ? localHarnessCriteria(profile.control) : []),
    {
      id: 'harness-observer',
      says: "The gateway's metrics could be read during the fault",
      measure: 'metrics_read',
      where: { phase: 'fault' },
      at_least: 0.9,
    },
  ];
  for (const route of Object.keys(experiment.routes)) {
    for (const phase of PHASES) {
      criteria.push({
        id: `harness-dropped-${route}-${phase}`,
        says: `No call of ${route} was left unsent in phase ${phase}`,
        dropped: scenarioName(route, phase),
        at_most: 0,
      });
    }
  }
  return criteria;
}

// The control calls pass by gateway and proxies: when they are slow, the machine is, and
// no other number of the run means anything.
function localHarnessCriteria(control) {
  return [
    {
      id: 'harness-injector',
      says: 'Every command to the injector was obeyed',
      measure: 'injector_done',
      where: {},
      at_least: 1,
    },
    {
      id: 'harness-quiet',
      says: 'The machine was quiet: p95 of calls straight to a provider',
      measure: 'control_ms',
      where: {},
      at_most: control.p95_at_most_ms,
    },
    {
      id: 'harness-hiccup',
      says: 'The machine never stalled: the slowest call straight to a provider',
      measure: 'control_worst_ms',
      where: {},
      at_most: control.worst_at_most_ms,
    },
  ];
}

/** All criteria of a run, each with its group. */
export function allCriteria(settings) {
  const { experiment } = settings;
  const group = (name, list) => list.map((criterion) => ({ group: name, ...criterion }));
  return [
    ...group('steady_state', experiment.steady_state),
    ...group('took_effect', experiment.took_effect),
    ...group('hypothesis', experiment.hypothesis.criteria),
    ...group('harness', harnessCriteria(settings)),
  ];
}

/** How many samples a criterion needs before it says anything. */
export function samplesNeeded(criterion, experiment, profile) {
  const { route, phase } = criterion.where;
  const perCall = route && phase && experiment.routes[route];
  if (!perCall) return 1;
  return Math.floor(profile.calls_per_s * profile.phases_s[phase] * 0.9);
}

/** Where a criterion's value is found among the parts k6 keeps. */
export function partOf(criterion) {
  if (criterion.dropped) return `dropped_iterations{scenario:${criterion.dropped}}`;
  return selector(criterion.measure, criterion.where);
}

/** The part with which a `no_slower_than` criterion is compared. */
export function comparedPartOf(criterion) {
  const phase = criterion.no_slower_than.phase;
  return selector(criterion.measure, { ...criterion.where, phase });
}

/** Where the number of its samples is found. */
export const samplesPartOf = (criterion) =>
  selector('samples', { measure: criterion.measure, ...criterion.where });

export const mayNeverCome = (criterion) => MOMENTS.includes(criterion.measure);

function bounds(criterion) {
  const statistic = criterion.dropped ? 'count' : statisticOf(criterion.measure);
  const expressions = [];
  if (criterion.at_least !== undefined) {
    expressions.push(`${statistic}>=${criterion.at_least}`);
  }
  if (criterion.at_most !== undefined) {
    expressions.push(`${statistic}<=${criterion.at_most}`);
  }
  if (criterion.below !== undefined) expressions.push(`${statistic}<${criterion.below}`);
  return expressions;
}

/** The `thresholds` of a k6 script. */
export function thresholds(settings) {
  const { experiment, profile } = settings;
  const all = {};
  const require = (part, expression) => {
    all[part] = [...(all[part] || []), expression];
  };
  for (const criterion of allCriteria(settings)) {
    for (const expression of bounds(criterion)) require(partOf(criterion), expression);
    if (criterion.dropped) continue;
    const needed = samplesNeeded(criterion, experiment, profile);
    require(samplesPartOf(criterion), `count>=${needed}`);
    if (criterion.no_slower_than) {
      // k6 compares with constants only; these two always pass and make it keep the
      // parts that the summary compares with each other.
      require(partOf(criterion), 'p(95)>=0');
      require(comparedPartOf(criterion), 'p(95)>=0');
    }
  }
  require(ABORT_PART, {
    threshold: `rate>=${experiment.abort.success_below}`,
    abortOnFail: true,
    delayAbortEval: `${timeline(profile).injectAt + experiment.abort.for_s}s`,
  });
  return all;
}

/** The part whose threshold may stop the run. */
export const ABORT_PART = 'call_ok{phase:fault}';
