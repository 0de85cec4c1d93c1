// Reads what a gateway says about itself: its Prometheus metrics.
//
// Rule: only names of the published metrics, and a missing series is `null`, never 0:
// a gateway without a breaker is not one whose breaker is closed.
// Must not live here: judgement.

import http from 'k6/http';

const STATES = { closed: 0, half_open: 1, open: 2 };
const SERIES = /^([a-zA-Z_:][a-zA-Z0-9_:]*)\{(.*)\} ([^ ]+)/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g;

/**
 * Reads /metrics once.
 *
 * @returns {object|null} {breakerState, failedAttempts} of one provider; null when the
 *   metrics could not be read. breakerState: 0 closed, 1 half-open, 2 open, null unknown.
 */
export function readGateway(url, provider) {
  const response = http.get(`${url}/metrics`, {
    timeout: '2s',
    tags: { role: 'observer', name: 'metrics' },
  });
  if (response.status !== 200) return null;
  const view = { breakerState: null, failedAttempts: 0 };
  for (const line of response.body.split('\n')) readSeries(line, provider, view);
  return view;
}

function readSeries(line, provider, view) {
  if (!line.startsWith('llm_gateway_')) return;
  const series = SERIES.exec(line);
  if (!series) return;
  const [, name, labelText, value] = series;
  const labels = Object.fromEntries(
    Array.from(labelText.matchAll(LABEL), ([, label, text]) => [label, text]),
  );
  if (labels.provider !== provider) return;
  if (name === 'llm_gateway_circuit_breaker_state' && Number(value) === 1) {
    // Several models of one provider: the worst state speaks for it.
    const state = STATES[labels.state];
    if (state !== undefined) view.breakerState = Math.max(view.breakerState || 0, state);
  }
  if (name === 'llm_gateway_attempts_total' && labels.outcome !== 'success') {
    view.failedAttempts += Number(value);
  }
}
