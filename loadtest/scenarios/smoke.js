// Smoke: a few calls per route, streamed and not. Does the gateway answer at all?
//
//   GATEWAY_KEY=bw-… GATEWAY_ROUTES=chat k6 run loadtest/scenarios/smoke.js

import exec from 'k6/execution';
import { Counter, Rate, Trend } from 'k6/metrics';
import { chat } from '../lib/client.js';
import { clientKey, loadSettings, prompts } from '../lib/config.js';

const settings = loadSettings();
const CALLS_PER_S = 2;
const LASTS_S = 5;

const calls = new Counter('calls');
const firstTokens = new Counter('first_tokens');
const callOk = new Rate('call_ok');
const firstTokenMs = new Trend('first_token_ms', true);

export const options = {
  scenarios: {
    smoke: {
      executor: 'constant-arrival-rate',
      rate: CALLS_PER_S,
      timeUnit: '1s',
      duration: `${LASTS_S}s`,
      preAllocatedVUs: 10,
    },
  },
  thresholds: {
    call_ok: ['rate==1'],
    first_token_ms: ['p(95)<2000'],
    // An empty metric passes every threshold: hold each to its samples.
    calls: [`count>=${CALLS_PER_S * LASTS_S}`],
    first_tokens: [`count>=${Math.floor((CALLS_PER_S * LASTS_S) / 2)}`],
    dropped_iterations: ['count==0'],
  },
};

export default function () {
  const number = exec.scenario.iterationInTest;
  const route = settings.routes[number % settings.routes.length];
  // Streamed and plain calls take turns on every route.
  const stream = Math.floor(number / settings.routes.length) % 2 === 0;
  const facts = chat({
    url: settings.gateway,
    key: clientKey,
    model: route,
    prompt: prompts[number % prompts.length],
    stream,
    timeoutS: settings.callTimeoutS,
    tags: { route },
  });
  calls.add(1, { route });
  callOk.add(facts.ok, { route });
  if (stream && facts.ok) {
    firstTokenMs.add(facts.firstTokenMs, { route });
    firstTokens.add(1, { route });
  }
  if (!facts.ok) console.error(`${route}: ${facts.detail}`);
}
