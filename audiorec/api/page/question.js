// What is asked, as the part of the address after #: a link to it, the Back button and a reload all give it again.

import { askJson, postJson } from './service.js';

const KINDS = ['clip', 'text', 'sound', 'job'];
const SOUND_TYPE = /^(audio|video)\//;
const VISIT = Date.now().toString(36); // of this document: links of the one before a reload stand for none of its sounds
const sounds = new Map(); // files, which no address can hold, by the names that stand for them

export function linkOf({ kind, value, options = {} }) {
  const { filter, ...numbers } = options;
  const parts = new URLSearchParams({ [kind]: value, ...numbers });
  if (filter) parts.set('filter', JSON.stringify(filter));
  return `#${parts}`;
}

export function questionOf(hash) {
  const parts = new URLSearchParams(hash.slice(1));
  const kind = KINDS.find((name) => parts.has(name));
  return kind ? { kind, value: parts.get(kind), options: optionsOf(parts) } : null;
}

function optionsOf(parts) {
  const options = {};
  for (const name of ['k', 'max_per_artist']) {
    if (parts.get(name)) options[name] = Number(parts.get(name));
  }
  try {
    if (parts.has('filter')) options.filter = JSON.parse(parts.get('filter'));
  } catch {
    // somebody has cut the link: what is left of it is asked
  }
  return options;
}

export function keep(file) {
  const name = `${VISIT}-${sounds.size + 1}`;
  sounds.set(name, file);
  return name;
}

export const keptSound = (name) => sounds.get(name);

export function ask({ kind, value, options }, signal) {
  if (kind === 'clip') return postJson('nearest', { clip_id: value, ...options }, signal);
  if (kind === 'text') return postJson('nearest', { text: value, ...options }, signal);
  return askBySound(value, options, signal);
}

function askBySound(name, { filter, ...numbers }, signal) {
  const file = sounds.get(name);
  if (!file) throw new Error('That sound is not here any more: choose or record it again.');
  const parameters = new URLSearchParams(numbers);
  if (filter) parameters.set('filter', JSON.stringify(filter));
  const type = SOUND_TYPE.test(file.type) ? file.type : 'application/octet-stream';
  return askJson(`nearest?${parameters}`, { method: 'POST', body: file, headers: { 'Content-Type': type }, signal });
}

// As far apart as random directions are: at most n, each once.
export async function randomClips(n, dim, signal) {
  const queries = Array.from({ length: n }, () => ({ embedding: randomVector(dim), k: 10 }));
  const { answers } = await postJson('nearest/batch', { queries }, signal);
  const picked = answers.map(({ results }) => results[Math.floor(Math.random() * results.length)]);
  const byClipId = new Map(picked.map(({ rank, similarity, ...clip }) => [clip.clip_id, clip]));
  return [...byClipId.values()];
}

const randomVector = (dim) => Array.from({ length: dim }, () => Math.random() + Math.random() - 1);
