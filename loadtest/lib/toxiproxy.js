// Puts an experiment's fault into Toxiproxy and takes it out, through its HTTP API.
//
// Rules: short client timeouts (a Toxiproxy up to 2.12 can freeze while a toxic is
// removed under load), and an action is done only when reading it back says so.
// "Down" is `enabled: false`, never a toxic. Must not live here: which fault, and when.

import http from 'k6/http';

const TIMEOUT = '3s';
const TAGS = { role: 'injector', name: 'toxiproxy' };

function request(method, url, body) {
  return http.request(method, url, body === undefined ? null : JSON.stringify(body), {
    headers: { 'Content-Type': 'application/json' },
    timeout: TIMEOUT,
    tags: TAGS,
  });
}

/** Applies every action of `toxics.json`; returns true when all are in force. */
export function inject(api, actions) {
  return actions.map((action) => applyOne(api, action)).every(Boolean);
}

/** Takes every action back; returns true when nothing of it is left. */
export function clear(api, actions) {
  return actions.map((action) => revertOne(api, action)).every(Boolean);
}

/** Takes away all toxics and enables all proxies; returns true when it worked. */
export function reset(api) {
  return request('POST', `${api}/reset`).status === 204;
}

/** True when no proxy is disabled and none has a toxic. */
export function isClean(api) {
  const response = request('GET', `${api}/proxies`);
  if (response.status !== 200) return false;
  return Object.values(response.json()).every(
    (proxy) => proxy.enabled && proxy.toxics.length === 0,
  );
}

function applyOne(api, action) {
  const proxy = `${api}/proxies/${action.proxy}`;
  if (action.enabled === false) {
    return request('POST', proxy, { enabled: false }).status === 200;
  }
  const added = request('POST', `${proxy}/toxics`, action.toxic).status === 200;
  return added && hasToxic(proxy, action.toxic.name) === true;
}

function revertOne(api, action) {
  const proxy = `${api}/proxies/${action.proxy}`;
  if (action.enabled === false) {
    return request('POST', proxy, { enabled: true }).status === 200;
  }
  const { status } = request('DELETE', `${proxy}/toxics/${action.toxic.name}`);
  return (status === 204 || status === 404) && hasToxic(proxy, action.toxic.name) === false;
}

function hasToxic(proxy, name) {
  const response = request('GET', proxy);
  if (response.status !== 200) return undefined;
  return response.json('toxics').some((toxic) => toxic.name === name);
}
