// What a script is told from outside: where things are, how hard to push, what to judge.
//
// Rule: every number of an experiment comes from its experiment.yaml and every number of
// the load from a profile; the runner hands both over as one JSON file. The client key
// comes from the environment only, never from a file or an argument.
// Must not live here: anything that talks to the network.

const readJson = (path) => JSON.parse(open(path));

export const prompts = readJson(import.meta.resolve('../data/prompts.json'));

export const clientKey = __ENV.GATEWAY_KEY || '';

/** Settings of a chaos run, as `scripts/chaos` writes them. */
export function chaosSettings() {
  if (!__ENV.CHAOS_SETTINGS) {
    throw new Error(
      'CHAOS_SETTINGS is not set: run the experiment by `make chaos`, or write the ' +
        'settings by `uv run python -m scripts.chaos settings` and pass their path.',
    );
  }
  return readJson(__ENV.CHAOS_SETTINGS);
}

/** Settings of a plain load scenario, from the environment. */
export function loadSettings() {
  return {
    gateway: __ENV.GATEWAY_URL || 'http://127.0.0.1:8080',
    routes: (__ENV.GATEWAY_ROUTES || 'chat').split(','),
    callTimeoutS: Number(__ENV.CALL_TIMEOUT_S || '30'),
  };
}
