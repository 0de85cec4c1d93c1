// Experiment 03, provider black hole: the shared judge and this experiment's settings.
// Its numbers are in chaos/experiments/03-provider-black-hole/experiment.yaml.

import { settings } from '../lib/judge.js';
import { summarise } from '../lib/summary.js';

export {
  options,
  setup,
  teardown,
  callRoute,
  injectFault,
  clearFault,
  callDirect,
  callControl,
  observe,
} from '../lib/judge.js';

export const handleSummary = (data) => summarise(data, settings);
