// One chat completion against a gateway (or straight against a provider), told as facts.
//
// Rule: `ok` means that the caller got a complete answer, not that the status was 200.
// Must not live here: metrics and phases; what the facts mean is the caller's business.

import http from 'k6/http';
import { readStream, isWhole } from './sse.js';

/**
 * Sends one chat completion.
 *
 * @param {object} call {url, key, model, prompt, stream, timeoutS, tags}
 * @returns {object} {ok, status, provider, attempts, durationMs, firstTokenMs, detail}
 *   durationMs: until the last byte. firstTokenMs: until the headers, which is the first
 *   token only because the gateway withholds headers until it has one.
 */
export function chat(call) {
  const response = http.post(
    `${call.url}/v1/chat/completions`,
    JSON.stringify({
      model: call.model,
      stream: call.stream,
      messages: [{ role: 'user', content: call.prompt }],
    }),
    {
      headers: {
        'Content-Type': 'application/json',
        Authorization: `Bearer ${call.key}`,
      },
      timeout: `${Math.round(call.timeoutS * 1000)}ms`,
      tags: { name: 'chat completion', ...(call.tags || {}) },
    },
  );
  const whole = response.status === 200 && isComplete(response, call.stream);
  return {
    ok: whole,
    status: response.status,
    provider: providerOf(response),
    attempts: Number(response.headers['X-Gateway-Attempts'] || '0'),
    durationMs: response.timings.duration,
    firstTokenMs: response.timings.waiting,
    detail: whole ? '' : describeFailure(response),
  };
}

function isComplete(response, stream) {
  if (stream) return isWhole(readStream(response.body));
  try {
    const [choice] = response.json('choices');
    return Boolean(choice.finish_reason && choice.message.content);
  } catch (_) {
    return false;
  }
}

// `x-gateway-target: provider/model`; a model's name may hold slashes of its own.
function providerOf(response) {
  return (response.headers['X-Gateway-Target'] || '').split('/')[0];
}

function describeFailure(response) {
  const text = String(response.body || '').slice(-300);
  return `status ${response.status} ${response.error || ''} ${text}`.trim();
}
