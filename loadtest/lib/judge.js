// The judge of a chaos experiment: sends the calls, commands the fault, looks at the
// gateway and records what it sees. Each script under loadtest/chaos/ is this module
// with the settings of its experiment.
//
// Rule: calls that are judged, calls that command and calls that only look are tagged
// apart (`phase` and `route`, `role: injector`, `role: observer`) and never mixed.
// Must not live here: numbers, and what makes a verdict (summary.js).

import { sleep } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { chat } from './client.js';
import { chaosSettings, clientKey, prompts } from './config.js';
import { readGateway } from './gateway.js';
import { alongside, callScenarios, once, phaseOf, timeline } from './phases.js';
import { record, recordBreakerState, recordFault, thresholds } from './thresholds.js';
import * as toxiproxy from './toxiproxy.js';

export const settings = chaosSettings();

const { experiment, profile, endpoints, toxics } = settings;
const times = timeline(profile);
const routes = Object.keys(experiment.routes);
const providers = [...new Set(routes.flatMap((r) => experiment.routes[r].targets))];
const victim = experiment.routes[routes[0]].targets[0];
const neighbour = providers.find((provider) => provider !== victim);
// Served by the victim five times running: no lucky probe of a half-open breaker.
const STREAK = 5;

export const options = {
  scenarios: {
    ...callScenarios(profile, routes, 'callRoute'),
    observer: alongside(profile, 'observe', 0),
    ...(endpoints.proxies ? injectorScenarios() : {}),
  },
  thresholds: thresholds(settings),
  summaryTrendStats: ['avg', 'min', 'med', 'p(95)', 'max'],
  setupTimeout: '30s',
  teardownTimeout: '30s',
};

function injectorScenarios() {
  return {
    inject: once('injectFault', times.injectAt),
    clear: once('clearFault', times.clearAt),
    direct: alongside(profile, 'callDirect', 0),
    control: alongside(profile, 'callControl', 0),
  };
}

/** Starts from a clean injector and a gateway that answers, or not at all. */
export function setup() {
  if (endpoints.toxiproxy) {
    if (!toxiproxy.reset(endpoints.toxiproxy) || !toxiproxy.isClean(endpoints.toxiproxy)) {
      throw new Error(`Toxiproxy at ${endpoints.toxiproxy} could not be reset.`);
    }
  }
  for (const route of routes) {
    const facts = sendCall(route, false, { role: 'observer' });
    if (!facts.ok) throw new Error(`Route ${route} does not answer: ${facts.detail}`);
  }
  recordFault(false);
  return { startedAt: Date.now() };
}

/** Leaves the injector as it was found, whatever happened. */
export function teardown() {
  if (!endpoints.toxiproxy) return;
  if (!toxiproxy.reset(endpoints.toxiproxy)) {
    throw new Error(`Toxiproxy at ${endpoints.toxiproxy} could not be reset at the end.`);
  }
}

const secondsInto = (data) => (Date.now() - data.startedAt) / 1000;
const promptFor = (number) => prompts[number % prompts.length];

function sendCall(route, stream, tags) {
  return chat({
    url: endpoints.gateway,
    key: clientKey,
    model: route,
    prompt: promptFor(exec.vu ? exec.vu.idInTest : 0),
    stream,
    timeoutS: profile.call_timeout_s,
    tags,
  });
}

/** One judged call; every second one is streamed. */
export function callRoute(data) {
  const route = __ENV.ROUTE;
  const beganAt = secondsInto(data);
  const stream = exec.scenario.iterationInTest % 2 === 0;
  const facts = sendCall(route, stream, {});
  const phase = phaseOf(times, beganAt, secondsInto(data));
  const tags = { phase, route };
  record('call_ok', facts.ok, tags);
  record('call_failed', !facts.ok, tags);
  record('call_ms', facts.durationMs, { ...tags, answered: String(facts.ok) });
  if (stream && facts.ok) record('first_token_ms', facts.firstTokenMs, tags);
  for (const provider of providers) {
    record('answered_by', facts.ok && facts.provider === provider, { ...tags, provider });
  }
  if (!facts.ok) {
    console.warn(`${phase} ${route} ${stream ? 'stream' : 'plain'}: ${facts.detail}`);
  }
}

/** Injects the fault, then empties the victim's log once all in flight has drained. */
export function injectFault() {
  record('injector_done', toxiproxy.inject(endpoints.toxiproxy, toxics.actions));
  recordFault(true);
  sleep(profile.settle_s);
  const emptied = http.del(`${endpoints.stand_ins[victim]}/control/log`, null, {
    timeout: '3s',
    tags: { role: 'injector', name: 'provider log' },
  });
  record('injector_done', emptied.status >= 200 && emptied.status < 300);
}

/** Reads the victim's log, then takes the fault away. */
export function clearFault() {
  const log = http.get(`${endpoints.stand_ins[victim]}/control/log`, {
    timeout: '3s',
    tags: { role: 'injector', name: 'provider log' },
  });
  record('injector_done', log.status === 200);
  if (log.status === 200) {
    record('provider_reached', log.json('count'), { provider: victim });
  }
  record('injector_done', toxiproxy.clear(endpoints.toxiproxy, toxics.actions));
  recordFault(false);
}

/** A call past the gateway, straight through the victim's proxy: is the fault real? */
export function callDirect(data) {
  const beganAt = secondsInto(data);
  const facts = chat({
    url: endpoints.proxies[victim],
    key: 'none',
    model: settings.direct_model,
    prompt: promptFor(0),
    stream: false,
    timeoutS: profile.direct_timeout_s,
    tags: { role: 'observer' },
  });
  const endedAt = secondsInto(data);
  const phase = settledPhase(beganAt, endedAt);
  if (phase) {
    const tags = { phase, provider: victim };
    record('direct_answered', facts.ok, tags);
    // Status 0 and the whole patience spent: neither refused nor reset.
    const waitedS = endedAt - beganAt;
    const hung = facts.status === 0 && waitedS >= profile.direct_timeout_s * 0.95;
    record('direct_hung', hung, tags);
  }
  sleep(Math.max(0, profile.direct_every_s - (endedAt - beganAt)));
}

/** A call straight to a provider without a fault: is the machine itself in order? */
export function callControl(data) {
  const beganAt = secondsInto(data);
  const facts = chat({
    url: endpoints.stand_ins[neighbour],
    key: 'none',
    model: settings.direct_model,
    prompt: promptFor(0),
    stream: false,
    timeoutS: profile.call_timeout_s,
    tags: { role: 'observer' },
  });
  record('control_ms', facts.durationMs, {});
  record('control_worst_ms', facts.durationMs, {});
  sleep(Math.max(0, profile.control.every_s - (secondsInto(data) - beganAt)));
}

// Null for what ran into or out of the fault: it proves nothing about either side.
function settledPhase(beganAt, endedAt) {
  for (const edge of [times.injectAt, times.clearAt]) {
    if (beganAt < edge + profile.settle_s && endedAt >= edge) return null;
  }
  return phaseOf(times, beganAt, endedAt);
}

// What the one observing virtual user remembers between its looks.
const seen = { failedBefore: null, opened: false, streak: 0, since: 0, recovered: false };

/** Looks at the gateway once, and after the fault asks who serves the route again. */
export function observe(data) {
  const at = secondsInto(data);
  const phase = phaseOf(times, at, at);
  const view = readGateway(endpoints.gateway, victim);
  record('metrics_read', view !== null, { phase });
  if (view) watch(view, phase, at);
  if (phase === 'recovery' && !seen.recovered) askWhoServes(view, at);
  sleep(Math.max(0, profile.observe_every_s - (secondsInto(data) - at)));
}

function watch(view, phase, at) {
  if (view.breakerState !== null) {
    recordBreakerState(view.breakerState, { provider: victim });
  }
  if (phase !== 'baseline' && seen.failedBefore !== null) {
    const more = Math.max(0, view.failedAttempts - seen.failedBefore);
    record('failed_attempts', more, { provider: victim });
  }
  seen.failedBefore = view.failedAttempts;
  if (phase === 'fault' && view.breakerState === 2 && !seen.opened) {
    seen.opened = true;
    record('breaker_open_after_s', at - times.injectAt, { provider: victim });
  }
}

function askWhoServes(view, at) {
  const facts = sendCall(routes[0], false, { role: 'observer' });
  const breakerOut = view !== null && view.breakerState !== null && view.breakerState > 0;
  if (!facts.ok || facts.provider !== victim || breakerOut) {
    seen.streak = 0;
    return;
  }
  if (seen.streak === 0) seen.since = at;
  seen.streak += 1;
  if (seen.streak < STREAK) return;
  seen.recovered = true;
  record('recovered_after_s', Math.max(0, seen.since - times.clearAt), {
    provider: victim,
    route: routes[0],
  });
}
