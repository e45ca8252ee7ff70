// The page: what is done in it changes the address, and the address says what is shown.

import { addCondition, readConditions, setColumns, writeConditions } from './conditions.js';
import { byId, element } from './dom.js';
import { audioPath, begin, cancel, describeGenerator, follow, progressOf, showProgress } from './job.js';
import { play, playButton, tellFailures } from './player.js';
import { ask, keep, keptSound, linkOf, questionOf, randomClips } from './question.js';
import { canRecord, record } from './recorder.js';
import { lengthOf, nameOf, showResults, soundOf } from './results.js';
import { askJson, clipPath, key } from './service.js';

const N_TO_START = 6;
const TRY_AGAIN = [0, 408, 429, 502, 503, 504];
let model = null;
let asking = new AbortController();
let revealed = ''; // the question whose answer was brought into view

function begun() {
  asking.abort();
  asking = new AbortController();
  return asking.signal;
}

// The work of one request after another: who asks anew gives up what was asked before.
async function attempt(work) {
  const signal = begun();
  byId('failure').replaceChildren();
  showBusy(true);
  try {
    await work(signal);
  } catch (error) {
    if (!signal.aborted) showFailure(error, () => attempt(work));
  } finally {
    if (!signal.aborted) showBusy(false);
  }
}

function showBusy(isBusy) {
  byId('busy').hidden = !isBusy;
  byId('answer').setAttribute('aria-busy', String(isBusy));
}

function showFailure(error, again) {
  const isAsked = error.status === 401 && !key.get(); // the form says it all
  if (error.status === 401) askForKey();
  if (isAsked) return;
  const wait = error.retryAfterS === undefined || error.retryAfterS === null ? '' : `Try again in ${error.retryAfterS} s.`;
  const id = error.requestId ? `Request ${error.requestId}` : '';
  const told = [wait, id].filter(Boolean).join(' ');
  byId('failure').replaceChildren(
    element('p', { textContent: error.message }),
    ...(told ? [element('p', { className: 'hint', textContent: told })] : []),
    ...(again && TRY_AGAIN.includes(error.status) ? [element('button', { type: 'button', textContent: 'Try again', onclick: again })] : []));
}

function askForKey() {
  key.forget();
  byId('forget').hidden = true;
  byId('key-form').hidden = false;
  byId('key').focus();
}

async function loadModel(signal) {
  model = await askJson('model', { signal });
  const { catalogue, encoder, release } = model;
  const hours = catalogue.hours < 1 ? `${Math.round(catalogue.hours * 60)} min` : `${catalogue.hours.toLocaleString('en', { maximumFractionDigits: 1 })} h`;
  byId('catalogue').textContent = `${catalogue.n_clips.toLocaleString('en')} clips · ${hours} · ${encoder.name} · release ${release}`;
  byId('text-form').hidden = !encoder.text;
  byId('forget').hidden = !key.get();
  byId('ask').hidden = false;
  setColumns(model.columns, model.numeric_columns);
  describeGenerator(model.generator);
}

function show() {
  return attempt(async (signal) => {
    const question = questionOf(location.hash);
    if (!model || !question) await loadModel(signal); // random vectors are as long as those of the latest release
    if (question) {
      const isBack = Boolean(history.state?.isSeen) && revealed !== ''; // the browser has scrolled to where one was
      if (isBack) revealed = nameOfQuestion(question);
      fill(question);
      await (question.kind === 'job' ? showJob(question.value, signal) : showNearest(question, signal)).catch((error) => {
        if (!signal.aborted) hideAnswer(); // it is another question's
        throw error;
      });
      reveal(question);
      history.replaceState({ isSeen: true }, '');
    } else await showSome(signal);
  });
}

function hideAnswer() {
  byId('answer').hidden = true;
  document.title = 'audiorec';
  revealed = '';
}

// Before anything is asked: what there is to ask by.
async function showSome(signal) {
  hideAnswer();
  const clips = await randomClips(N_TO_START, model.encoder.dim, signal);
  showAnswer(clips, { heading: 'Some clips to start from' }, readOptions());
  byId('told').textContent = '';
  byId('job').hidden = true;
  document.title = 'audiorec';
}

async function showOne(signal) {
  await loadModel(signal);
  const [clip] = await randomClips(1, model.encoder.dim, signal);
  go('clip', clip.clip_id);
}

const nameOfQuestion = ({ kind, value }) => `${kind} ${value}`;

// Where the answer begins, once for a question: with other options it stays where it is.
function reveal(question) {
  const asked = nameOfQuestion(question);
  if (document.activeElement === document.body) byId('asked').focus({ preventScroll: true });
  const { top, bottom } = byId('asked').getBoundingClientRect();
  if (asked !== revealed && (top < 0 || bottom > innerHeight * 0.7)) byId('asked').scrollIntoView();
  revealed = asked;
}

async function showNearest(question, signal) {
  byId('job').hidden = true;
  const answer = await ask(question, signal);
  if (answer.release !== model.release) await loadModel(signal);
  const asked = await askedClip(question, signal);
  const { query } = answer;
  const length = query.duration_s ? `${lengthOf(query.duration_s)} of sound, ` : '';
  showAnswer(answer.results, asked, question.options);
  const found = `${length}${counted(answer.results.length)} in ${Math.round(answer.took_ms)} ms, release ${answer.release}`;
  byId('told').textContent = answer.results.length ? found : `${found}: none passes the conditions`;
}

const counted = (n) => (n === 1 ? '1 clip' : `${n} clips`);

// {name, sound} of what was asked by, for the heading.
async function askedClip({ kind, value }, signal) {
  if (kind === 'text') return { name: `“${value}”`, sound: null };
  if (kind === 'sound') return { name: keptSound(value).name, sound: { file: keptSound(value) } };
  const { clip } = await askJson(clipPath(value), { signal });
  return { name: nameOf(clip), sound: soundOf(clip, model.has_sounds) };
}

async function showJob(id, signal) {
  let wasAwaited = false;
  const job = await follow(id, signal, (now) => {
    const { prompt } = now.request;
    wasAwaited ||= !now.ended_at;
    byId('prompt').value = prompt;
    byId('cancel').onclick = () => cancel(id).catch((error) => showFailure(error));
    showProgress(now);
    showBusy(false); // it has a bar of its own
    if (!now.ended_at) {
      const told = progressOf(now);
      if (told !== byId('told').textContent) byId('told').textContent = told; // it is read out when it is written
      showAnswer([], { name: `“${prompt}”`, heading: `“${prompt}”` }, {});
      reveal({ kind: 'job', value: id });
    }
  });
  const sound = job.sound && { path: audioPath(id) };
  const found = job.recommendations;
  if (found && found.release !== model.release) await loadModel(signal);
  const trouble = job.error ?? job.recommendations_error;
  const heading = found ? undefined : `“${job.request.prompt}”`;
  showAnswer(found?.results ?? [], { name: `“${job.request.prompt}”`, sound, heading }, wishesOf(job.request));
  byId('told').textContent = endOf(job);
  if (trouble) showFailure(new Error(trouble.message));
  if (sound && wasAwaited) play(byId('asked-sound').firstChild, sound, job.request.prompt);
}

function endOf({ state, sound, generator, recommendations }) {
  if (!sound) return state === 'cancelled' ? 'Cancelled' : 'No sound was made';
  const nearest = recommendations ? `, ${counted(recommendations.results.length)}, release ${recommendations.release}` : '';
  return `${lengthOf(sound.duration_s)} made by ${generator.name} (${generator.licence})${nearest}`;
}

function wishesOf({ k, filter, max_per_artist: perArtist }) {
  return { ...(k !== 10 && { k }), ...(filter && { filter }), ...(perArtist && { max_per_artist: perArtist }) };
}

function showAnswer(results, { name, sound = null, heading = `Nearest to ${name}` }, options) {
  byId('answer').hidden = false;
  byId('asked').textContent = heading;
  document.title = `${name} · audiorec`;
  byId('asked-sound').replaceChildren(...(sound ? [playButton(sound, name)] : []));
  showResults(results, { hasSounds: model.has_sounds, options });
  byId('clips').replaceChildren(...results.map((clip) => element('option', { value: clip.clip_id })));
}

// The form, as the address has it.
function fill({ kind, value, options }) {
  if (['clip', 'text'].includes(kind)) byId(kind).value = value;
  if (kind === 'job') return;
  byId('k').value = options.k ?? '';
  byId('per-artist').value = options.max_per_artist ?? '';
  if (JSON.stringify(options.filter ?? null) !== JSON.stringify(readConditions())) writeConditions(options.filter, optionsChanged);
  tellOptions();
}

function readOptions() {
  const filter = readConditions();
  return {
    ...(byId('k').value && { k: Number(byId('k').value) }),
    ...(byId('per-artist').value && { max_per_artist: Number(byId('per-artist').value) }),
    ...(filter && { filter }),
  };
}

function tellOptions() {
  const { k, max_per_artist: perArtist, filter } = readOptions();
  const n = Object.keys(filter ?? {}).length;
  const told = [k && counted(k), perArtist && `${perArtist} an artist`, n && (n === 1 ? '1 condition' : `${n} conditions`)];
  byId('options-told').textContent = told.filter(Boolean).join(', ');
}

function optionsChanged() {
  tellOptions();
  if (!areOptionsValid()) return;
  const question = questionOf(location.hash);
  if (question && question.kind !== 'job') go(question.kind, question.value);
}

function areOptionsValid() {
  const form = byId('options-form');
  if (form.checkValidity()) return true;
  byId('options').open = true;
  return form.reportValidity();
}

function go(kind, value) {
  if (kind !== 'job' && !areOptionsValid()) return;
  const link = linkOf({ kind, value, options: kind === 'job' ? {} : readOptions() });
  if (link === location.hash) show();
  else location.hash = link;
}

const askBySound = (file) => file && go('sound', keep(file));

function onSubmit(id, work) {
  byId(id).addEventListener('submit', (event) => {
    event.preventDefault();
    work();
  });
}

async function toggleRecording(button) {
  button.onclick = null; // the browser may ask first whether it may
  try {
    const { file, stop } = await record((seconds) => { button.textContent = `Stop, ${seconds} s`; });
    button.textContent = 'Stop';
    button.classList.add('active');
    button.onclick = stop;
    askBySound(await file);
  } catch (error) {
    showFailure(new Error(error.name === 'NotAllowedError' ? 'The browser was not allowed to use the microphone.' : error.message));
  }
  button.textContent = 'Record';
  button.classList.remove('active');
  button.onclick = () => toggleRecording(button);
}

function listen() {
  onSubmit('clip-form', () => go('clip', byId('clip').value));
  onSubmit('text-form', () => go('text', byId('text').value));
  onSubmit('prompt-form', () => areOptionsValid() && attempt(async (signal) => go('job', await begin(readOptions(), signal))));
  onSubmit('options-form', optionsChanged);
  onSubmit('key-form', () => {
    key.set(byId('key').value.trim());
    byId('key-form').reset();
    byId('key-form').hidden = true;
    show();
  });
  byId('options-form').addEventListener('input', tellOptions);
  byId('options-form').addEventListener('change', optionsChanged);
  byId('add-condition').addEventListener('click', () => addCondition(optionsChanged).querySelector('select').focus());
  byId('random').addEventListener('click', () => attempt(showOne));
  byId('forget').addEventListener('click', () => {
    key.forget();
    location.assign('./');
  });
  byId('record').hidden = !canRecord();
  byId('record').onclick = () => toggleRecording(byId('record'));
  byId('file').addEventListener('change', ({ target }) => {
    askBySound(target.files[0]);
    target.value = ''; // the same file again is asked again
  });
  document.addEventListener('paste', (event) => {
    if (event.clipboardData.files.length) askBySound(event.clipboardData.files[0]);
  });
  for (const name of ['dragover', 'dragleave', 'drop']) document.addEventListener(name, onDrag);
  window.addEventListener('hashchange', show);
  tellFailures((error) => showFailure(error));
}

function onDrag(event) {
  if (!event.dataTransfer.types.includes('Files')) return;
  event.preventDefault();
  document.body.classList.toggle('dropping', event.type === 'dragover' || Boolean(event.relatedTarget)); // it left one element for another
  if (event.type === 'drop') askBySound(event.dataTransfer.files[0]);
}

listen();
show();
