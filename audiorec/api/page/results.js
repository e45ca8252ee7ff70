// The list of clips: found ones with their ranks, picked ones without.

import { byId, element } from './dom.js';
import { playButton } from './player.js';
import { linkOf } from './question.js';
import { soundPath } from './service.js';

const AUDIBLE = /\.(aac|flac|m4a|mp3|mp4|oga|ogg|opus|wav|weba|webm)$/i;

export const nameOf = ({ title, clip_id: clipId }) => title || clipId;

export function lengthOf(seconds) {
  if (seconds < 60) return `${Math.round(seconds * 10) / 10} s`;
  const rounded = Math.round(seconds);
  return `${Math.floor(rounded / 60)}:${String(rounded % 60).padStart(2, '0')}`;
}

export function soundOf(clip, hasSounds) {
  if (hasSounds) return { path: soundPath(clip.clip_id) };
  const url = webAddress(clip.url);
  return url && AUDIBLE.test(url.pathname) ? { url: url.href } : null;
}

export function showResults(results, { hasSounds, options }) {
  byId('results').replaceChildren(...results.map((clip) => row(clip, soundOf(clip, hasSounds), options)));
}

function row(clip, sound, options) {
  const isFound = clip.rank !== undefined;
  return element('li', { className: `result${sound ? '' : ' silent'}${isFound ? '' : ' picked'}` },
    isFound ? element('span', { className: 'rank', textContent: clip.rank }) : null,
    sound && playButton(sound, nameOf(clip)),
    words(clip),
    element('div', { className: 'nearness' }, isFound ? similarity(clip.similarity) : null, links(clip, options)));
}

function words(clip) {
  return element('div', {},
    element('p', { className: 'title', textContent: nameOf(clip) }),
    element('p', { className: 'facts', textContent: facts(clip).join(' · ') }),
    clip.title ? element('p', { className: 'clip-id', textContent: clip.clip_id }) : null);
}

function links(clip, options) {
  const url = webAddress(clip.url);
  const href = linkOf({ kind: 'clip', value: clip.clip_id, options });
  const more = element('a', { href, textContent: 'More like this', 'aria-label': `More like this: ${nameOf(clip)}` });
  const source = url && element('a', { href: url.href, textContent: url.hostname, rel: 'noreferrer noopener', target: '_blank' });
  return element('p', { className: 'links' }, more, source);
}

function facts({ artist, label, metadata, predicted_label: predicted }) {
  const length = typeof metadata.duration_s === 'number' ? lengthOf(metadata.duration_s) : '';
  const heard = predicted && predicted !== label ? `heard as ${predicted.replaceAll(';', ', ')}` : '';
  return [artist, label.replaceAll(';', ', '), heard, length, metadata.license].filter(Boolean);
}

function similarity(value) {
  return element('div', { className: 'similarity' },
    element('meter', { min: 0, max: 1, value: Math.max(0, value), 'aria-label': 'Similarity' }),
    element('span', { textContent: value.toFixed(3) }));
}

function webAddress(text) {
  try {
    const url = new URL(text);
    return ['http:', 'https:'].includes(url.protocol) ? url : null;
  } catch {
    return null;
  }
}
