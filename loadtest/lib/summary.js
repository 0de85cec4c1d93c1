// The verdict: each criterion with what was measured, and what follows from all of them.
//
// Rule: three verdicts. `held`: all is true. `refuted`: the run is sound and the
// hypothesis is not true. `inconclusive`: the steady state, the fault or the harness was
// not what it had to be, so the run says nothing about the hypothesis.
// Must not live here: how anything is measured.

import { timeline } from './phases.js';
import {
  ABORT_PART,
  allCriteria,
  comparedPartOf,
  mayNeverCome,
  partOf,
  samplesNeeded,
  samplesPartOf,
  statisticOf,
} from './thresholds.js';

const ABORTED_EARLY_BY_S = 2;

const valueOf = (metrics, part, statistic) =>
  metrics[part] ? metrics[part].values[statistic] : undefined;

/** `handleSummary` of a judge: verdict.json for the runner, a table for the reader. */
export function summarise(data, settings) {
  const verdict = judge(data, settings);
  const files = { stdout: asText(verdict) };
  if (settings.results_dir) {
    files[`${settings.results_dir}/verdict.json`] = JSON.stringify(verdict, null, 2);
  }
  return files;
}

/** The verdict as data. */
export function judge(data, settings) {
  const { experiment, profile } = settings;
  const results = allCriteria(settings).map((criterion) =>
    criterion.dropped
      ? judgeDropped(criterion, data.metrics)
      : judgeOne(criterion, data.metrics, experiment, profile),
  );
  const aborted = wasAborted(data, profile);
  return {
    experiment: experiment.slug,
    number: experiment.number,
    variant: settings.variant,
    profile: settings.profile_name,
    verdict: conclude(results, aborted),
    aborted,
    phases: timeline(profile),
    // When the test began on the wall clock: the zero of the time line.
    started_at_ms: data.setup_data ? data.setup_data.startedAt : null,
    criteria: results,
  };
}

function judgeDropped(criterion, metrics) {
  const measured = valueOf(metrics, partOf(criterion), 'count') || 0;
  return { ...criterion, measured, limit: '= 0', ok: measured === 0, enough: true };
}

function judgeOne(criterion, metrics, experiment, profile) {
  const needed = samplesNeeded(criterion, experiment, profile);
  const samples = valueOf(metrics, samplesPartOf(criterion), 'count') || 0;
  const enough = samples >= needed;
  const statistic = statisticOf(criterion.measure);
  const measured = samples > 0 ? valueOf(metrics, partOf(criterion), statistic) : null;
  const { limit, within } = holdAgainst(criterion, measured, metrics);
  return {
    ...criterion,
    measured,
    limit,
    samples,
    samples_needed: needed,
    // A moment that never came was looked for; nothing else may be missing.
    enough: enough || mayNeverCome(criterion),
    ok: enough && within,
  };
}

function holdAgainst(criterion, measured, metrics) {
  if (criterion.no_slower_than) return holdAgainstPhase(criterion, measured, metrics);
  const checks = [];
  if (criterion.at_least !== undefined) {
    checks.push([`≥ ${criterion.at_least}`, measured >= criterion.at_least]);
  }
  if (criterion.at_most !== undefined) {
    checks.push([`≤ ${criterion.at_most}`, measured <= criterion.at_most]);
  }
  if (criterion.below !== undefined) {
    checks.push([`< ${criterion.below}`, measured < criterion.below]);
  }
  return {
    limit: checks.map(([text]) => text).join(', '),
    within: measured !== null && checks.every(([, ok]) => ok),
  };
}

function holdAgainstPhase(criterion, measured, metrics) {
  const { phase, ratio, or_extra_ms: extraMs } = criterion.no_slower_than;
  const before = valueOf(metrics, comparedPartOf(criterion), 'p(95)');
  if (!before) return { limit: `no calls in phase ${phase}`, within: false };
  const most = Math.max(before * ratio, before + extraMs);
  return {
    limit:
      `≤ ${most.toFixed(0)} ms (${phase} ${before.toFixed(0)} ms` +
      ` × ${ratio} or + ${extraMs} ms)`,
    within: measured !== null && measured <= most,
  };
}

// k6 stops a run at the abort threshold; then the later phases have no calls, which is
// the hypothesis' fault and not the harness'.
function wasAborted(data, profile) {
  const part = data.metrics[ABORT_PART];
  const failed = part && Object.values(part.thresholds || {}).some(({ ok }) => !ok);
  const endedEarlyByS = timeline(profile).end - data.state.testRunDurationMs / 1000;
  return Boolean(failed) && endedEarlyByS > ABORTED_EARLY_BY_S;
}

function conclude(results, aborted) {
  // What an aborted run did not come to measure is no sign against it; what it did
  // measure of the fault and of the time before it counts as always.
  const cutOff = ({ group, samples }) =>
    aborted && group === 'took_effect' && samples === 0;
  const sound = results
    .filter(({ group }) => group !== 'hypothesis')
    .every((result) => result.ok || cutOff(result));
  if (!sound) return 'inconclusive';
  if (aborted) return 'refuted';
  const hypothesis = results.filter(({ group }) => group === 'hypothesis');
  if (hypothesis.some(({ enough }) => !enough)) return 'inconclusive';
  return hypothesis.every(({ ok }) => ok) ? 'held' : 'refuted';
}

function asText(verdict) {
  const lines = verdict.criteria
    .filter(({ group, ok }) => group !== 'harness' || !ok)
    .map(({ ok, says, measured, limit }) => {
      const shown = typeof measured === 'number' ? Number(measured.toFixed(4)) : 'never';
      return `  ${ok ? 'ok  ' : 'FAIL'} ${says}: ${shown} (${limit})`;
    });
  return [
    '',
    `${verdict.number} ${verdict.experiment}: ${verdict.verdict.toUpperCase()}`,
    ...lines,
    '',
  ].join('\n');
}
