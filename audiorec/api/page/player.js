// One sound at a time, at the foot of the page, and the buttons that start and stop it.

import { wavOf } from './aiff.js';
import { byId, element } from './dom.js';
import { key, request, urlOf } from './service.js';

const SVG = 'http://www.w3.org/2000/svg';
const PLAY = 'M3 1.5v13l11-6.5z';
const PAUSE = 'M3 2h3.5v12H3zM9.5 2H13v12H9.5z';
const audio = byId('audio');
let current = null; // {button, sound, title, isHeard}
let opener = null; // the button that the player was opened by
let blobUrl = '';
let loading = new AbortController();
let onFailure = () => {};

// A sound is {path} of this service, {url} of elsewhere, or {file} that was chosen here.
export function playButton(sound, title) {
  const button = element('button', { type: 'button', className: 'play' });
  const isCurrent = current !== null && isSame(current.sound, sound); // it plays on from answer to answer
  if (isCurrent) {
    current.button = button;
    opener = button;
  }
  show(button, title, isCurrent && !audio.paused);
  button.onclick = () => toggle(button, sound, title);
  return button;
}

const isSame = (one, other) => ['path', 'url', 'file'].every((name) => one[name] === other[name]);

// onFailure gets the errors that are not about a sound: a key that is asked for.
export function tellFailures(tell) {
  onFailure = tell;
}

export async function play(button, sound, title) {
  stop();
  loading = new AbortController();
  const { signal } = loading;
  current = { button, sound, title, isHeard: false };
  opener = button;
  showPlayer(title, true);
  try {
    await start(await sourceOf(sound, signal), signal).catch(async (error) => start(ownUrl(await wavFor(error, sound, signal)), signal));
  } catch (error) {
    if (!signal.aborted) await tell(error, sound, signal);
  }
}

async function start(source, signal) {
  signal.throwIfAborted();
  audio.src = source;
  await audio.play();
  signal.throwIfAborted();
  current.isHeard = true;
}

function toggle(button, sound, title) {
  if (current?.button !== button) play(button, sound, title);
  else if (audio.paused) audio.play().catch(() => {});
  else audio.pause();
}

function stop() {
  loading.abort();
  audio.pause();
  audio.removeAttribute('src');
  audio.load();
  ownUrl(null);
  if (current) show(current.button, current.title, false);
  current = null;
}

async function sourceOf({ path, url, file }, signal) {
  if (url) return url;
  if (path && !key.get()) return urlOf(path);
  return ownUrl(file ?? await (await request(path, { signal })).blob());
}

function ownUrl(blob) {
  if (blobUrl) URL.revokeObjectURL(blobUrl);
  blobUrl = blob ? URL.createObjectURL(blob) : '';
  return blobUrl;
}

// What a browser that cannot play an AIFF can play instead.
async function wavFor(error, { path, file }, signal) {
  if (error.name !== 'NotSupportedError' || !(path || file)) throw error;
  const isAiff = file || (await typeOf(path, signal)).startsWith('audio/aiff');
  const wav = isAiff && wavOf(await (file ?? await request(path, { signal })).arrayBuffer());
  if (!wav) throw error;
  return wav;
}

const typeOf = async (path, signal) => (await request(path, { headers: { Range: 'bytes=0-0' }, signal })).headers.get('Content-Type');

async function tell(error, { path, file }, signal) {
  if (error.name === 'NotAllowedError') return; // the browser wants a click first: the player is there for it
  const failure = await failureOf(error, path, file, signal);
  if (signal.aborted) return;
  stop();
  showPlayer(failure.message, false);
  if (failure.status === 401) onFailure(failure);
}

// Why: the service's own words, where it has any.
async function failureOf(error, path, file, signal) {
  if (error.status !== undefined) return error;
  try {
    const type = file ? file.type : path && await typeOf(path, signal);
    return new Error(`This browser cannot play ${type || 'that sound'}.`);
  } catch (failure) {
    return failure;
  }
}

function showPlayer(told, hasSound) {
  byId('player').hidden = false;
  byId('player').classList.toggle('failed', !hasSound);
  byId('playing').textContent = told;
  audio.hidden = !hasSound;
}

function show(button, title, isPlaying) {
  const picture = document.createElementNS(SVG, 'svg');
  const shape = document.createElementNS(SVG, 'path');
  picture.setAttribute('viewBox', '0 0 16 16');
  picture.setAttribute('aria-hidden', 'true');
  shape.setAttribute('d', isPlaying ? PAUSE : PLAY);
  picture.append(shape);
  button.replaceChildren(picture);
  button.setAttribute('aria-label', `Play ${title}`);
  button.setAttribute('aria-pressed', String(isPlaying));
}

for (const name of ['play', 'pause', 'ended']) {
  audio.addEventListener(name, () => {
    if (current) show(current.button, current.title, !audio.paused);
  });
}
audio.addEventListener('error', () => {
  if (current?.isHeard) tell(audio.error, current.sound, loading.signal); // else it is told by play()
});
byId('close-player').addEventListener('click', () => {
  stop();
  byId('player').hidden = true;
  opener?.focus();
});
