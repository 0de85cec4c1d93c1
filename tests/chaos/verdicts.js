// The rules of the verdict, each as one check. Run by test_verdicts.py; no network.

import { check } from 'k6';
import { chaosSettings } from '../../loadtest/lib/config.js';
import { phaseOf, timeline } from '../../loadtest/lib/phases.js';
import { readStream, isWhole } from '../../loadtest/lib/sse.js';
import { judge } from '../../loadtest/lib/summary.js';
import {
  ABORT_PART,
  allCriteria,
  comparedPartOf,
  partOf,
  samplesPartOf,
  statisticOf,
} from '../../loadtest/lib/thresholds.js';

const settings = chaosSettings();
const criteria = allCriteria(settings);
const times = timeline(settings.profile);

export const options = {
  vus: 1,
  iterations: 1,
  thresholds: { checks: ['rate==1'] },
};

const byId = (id) => criteria.find((criterion) => criterion.id === id);
const set = (metrics, part, statistic, value) => {
  metrics[part] = { values: { [statistic]: value } };
};

// What k6 would hand over after a run in which everything was as it should be.
function soundRun() {
  const metrics = {};
  for (const criterion of criteria) {
    if (criterion.dropped) {
      set(metrics, partOf(criterion), 'count', 0);
      continue;
    }
    const { at_least: least, at_most: most, below } = criterion;
    const good = [least, most, below === undefined ? undefined : 0, 100];
    const value = good.find((each) => each !== undefined);
    set(metrics, partOf(criterion), statisticOf(criterion.measure), value);
    set(metrics, samplesPartOf(criterion), 'count', 1e6);
    if (criterion.no_slower_than) set(metrics, comparedPartOf(criterion), 'p(95)', 100);
  }
  return {
    metrics,
    state: { testRunDurationMs: times.end * 1000 },
    setup_data: { startedAt: 1 },
  };
}

function verdictAfter(change) {
  const run = soundRun();
  change(run);
  return judge(run, settings).verdict;
}

const value = (id, measured) => (run) => {
  const criterion = byId(id);
  set(run.metrics, partOf(criterion), statisticOf(criterion.measure), measured);
};
const noSamples = (id) => (run) => {
  delete run.metrics[samplesPartOf(byId(id))];
};
const all = (...changes) => (run) => changes.forEach((change) => change(run));

// k6 stopped within the fault: nothing was read at the rollback, nothing came after it.
const aborted = (run) => {
  run.metrics[ABORT_PART] = { values: {}, thresholds: { abort: { ok: false } } };
  run.state.testRunDurationMs = (times.injectAt + 1) * 1000;
  for (const part of Object.keys(run.metrics)) {
    const late = part.includes('phase:recovery') || part.includes('provider_reached');
    if (late || part.includes('recovered_after_s')) delete run.metrics[part];
  }
};

const neighbourP95 = (before, during) => (run) => {
  set(run.metrics, comparedPartOf(byId('neighbour-latency')), 'p(95)', before);
  set(run.metrics, partOf(byId('neighbour-latency')), 'p(95)', during);
};

const { ratio, or_extra_ms: extraMs } = byId('neighbour-latency').no_slower_than;
const SLOW_MS = (extraMs / (ratio - 1)) * 2;

const RULES = {
  'a sound run holds': () => verdictAfter(() => {}) === 'held',
  'a hypothesis that is not met is refuted': () =>
    verdictAfter(value('chat-survives', 0.98)) === 'refuted',
  'exactly the limit is still met': () =>
    verdictAfter(value('chat-survives', 0.99)) === 'held',
  '"below" excludes its limit': () =>
    verdictAfter(value('neighbour-errors', 0.001)) === 'refuted',
  'a moment that never came refutes': () =>
    verdictAfter(noSamples('breaker-opens')) === 'refuted',
  'a fault without effect proves nothing': () =>
    verdictAfter(value('effect-provider', 3)) === 'inconclusive',
  'a fault without effect refutes nothing either': () =>
    verdictAfter(all(value('effect-provider', 3), value('chat-survives', 0))) ===
    'inconclusive',
  'an unsteady start proves nothing': () =>
    verdictAfter(value('steady-chat', 0.5)) === 'inconclusive',
  'a phase without calls proves nothing': () =>
    verdictAfter(noSamples('chat-survives')) === 'inconclusive',
  'a call left unsent proves nothing': () =>
    verdictAfter((run) => {
      const dropped = criteria.find((criterion) => criterion.dropped);
      set(run.metrics, partOf(dropped), 'count', 1);
    }) === 'inconclusive',
  'a machine that is not quiet proves nothing': () =>
    verdictAfter(all(value('harness-quiet', 1e4), value('chat-survives', 0))) ===
    'inconclusive',
  'a machine that stalled once proves nothing': () =>
    verdictAfter(value('harness-hiccup', 1e4)) === 'inconclusive',
  'an injector that did not obey proves nothing': () =>
    verdictAfter(value('harness-injector', 0.5)) === 'inconclusive',
  'a fast route may lose the extra milliseconds': () =>
    verdictAfter(neighbourP95(10, 10 + extraMs)) === 'held',
  'a fast route may not lose more': () =>
    verdictAfter(neighbourP95(10, 10 + extraMs + 1)) === 'refuted',
  'a slow route may lose the ratio': () =>
    verdictAfter(neighbourP95(SLOW_MS, SLOW_MS * ratio)) === 'held',
  'a slow route may not lose more than the ratio': () =>
    verdictAfter(neighbourP95(SLOW_MS, SLOW_MS * ratio + 1)) === 'refuted',
  'a run stopped by the abort threshold is refuted': () =>
    verdictAfter(aborted) === 'refuted',
  'a run stopped by the abort threshold needs an effect of the fault too': () =>
    verdictAfter(all(aborted, value('effect-direct', 0))) === 'inconclusive',
  'a run that was stopped late but in time was not stopped': () =>
    verdictAfter(all(aborted, (run) => {
      run.state.testRunDurationMs = times.end * 1000;
    })) === 'inconclusive',
  'a call in flight when the fault came counts as fault': () =>
    phaseOf(times, times.injectAt - 0.1, times.injectAt + 0.1) === 'fault',
  'a call that ended before the fault counts as baseline': () =>
    phaseOf(times, times.injectAt - 0.2, times.injectAt - 0.1) === 'baseline',
  'a call sent after the rollback counts as recovery': () =>
    phaseOf(times, times.clearAt, times.clearAt + 0.1) === 'recovery',
  'a stream with content and [DONE] is whole': () =>
    isWhole(readStream('data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n')),
  'a stream without [DONE] is not whole': () =>
    !isWhole(readStream('data: {"choices":[{"delta":{"content":"a"}}]}\n\n')),
  'a stream with an error event is not whole': () =>
    !isWhole(
      readStream(
        'data: {"choices":[{"delta":{"content":"a"}}]}\n\n' +
          'data: {"error":{"code":"stream_broken"}}\n\ndata: [DONE]\n\n',
      ),
    ),
  'a stream without content is not whole': () => !isWhole(readStream('data: [DONE]\n\n')),
};

export default function () {
  for (const [name, holds] of Object.entries(RULES)) {
    if (!check(null, { [name]: () => holds() })) console.error(`not so: ${name}`);
  }
}
