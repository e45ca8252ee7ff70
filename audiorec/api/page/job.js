// A sound that is made from words: asked for, followed, cancelled.

import { byId } from './dom.js';
import { lengthOf } from './results.js';
import { askJson, postJson } from './service.js';

const PAUSE_MS = 700;

export function describeGenerator(generator) {
  byId('prompt-form').hidden = !generator;
  if (!generator) return;
  const { state, facts, limits } = generator;
  byId('seconds').placeholder = facts?.default_s ?? '';
  byId('seconds').max = Math.min(facts?.max_s ?? Infinity, limits.max_s ?? Infinity);
  byId('fast-label').hidden = !facts?.presets?.fast;
  const name = facts ? `${facts.name} (${facts.licence})` : 'The model';
  byId('generator').textContent = state === 'ready' ? name : `${name} ${STATES[state] ?? state}`;
}

const STATES = { starting: 'is not ready yet', broken: 'cannot be loaded', unavailable: 'does not answer' };

export async function begin(options, signal) {
  const query = { prompt: byId('prompt').value, ...options };
  if (byId('seconds').value) query.seconds = Number(byId('seconds').value);
  if (byId('fast').checked && !byId('fast-label').hidden) query.preset = 'fast';
  return (await postJson('generate', query, signal)).id;
}

export async function follow(id, signal, onChange) {
  for (;;) {
    const job = await askJson(pathOf(id), { signal });
    onChange(job);
    if (job.ended_at) return job;
    await pause(signal);
  }
}

export const cancel = (id) => askJson(pathOf(id), { method: 'DELETE' });

export const audioPath = (id) => `${pathOf(id)}/audio`;

export function showProgress({ ended_at: endedAt, progress: { step, n_steps: nSteps } }) {
  const bar = byId('job-progress');
  byId('job').hidden = Boolean(endedAt);
  bar.removeAttribute('value');
  if (nSteps) Object.assign(bar, { max: nSteps, value: step });
}

export function progressOf({ state, is_cancelling: isCancelling, progress, place_in_queue: place, time_left_s: leftS }) {
  if (isCancelling) return 'Cancelling';
  if (state === 'queued') return place ? `Waiting, ${place} before it` : 'Waiting';
  const step = progress.n_steps ? `, step ${progress.step} of ${progress.n_steps}` : '';
  return `Making it${step}${leftS === null ? '' : `, about ${lengthOf(Math.ceil(leftS))} left`}`;
}

const pathOf = (id) => `jobs/${encodeURIComponent(id)}`;

function pause(signal) {
  return new Promise((resolve, reject) => {
    const clock = setTimeout(resolve, PAUSE_MS);
    signal.addEventListener('abort', () => {
      clearTimeout(clock);
      reject(signal.reason);
    }, { once: true });
  });
}
