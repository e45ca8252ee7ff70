// AIFF as WAV, for browsers that play none: the same samples under another header.

const HEADER_BYTES = 44;
const FORMATS = { NONE: 'big', twos: 'big', sowt: 'little', fl32: 'float', FL32: 'float' };
const WAV_INTEGERS = 1;
const WAV_FLOATS = 3;

// A Blob of what an ArrayBuffer holds; null where that is no AIFF, or one that is compressed.
export function wavOf(buffer) {
  const view = new DataView(buffer);
  if (view.byteLength < 12 || tagAt(view, 0) !== 'FORM' || !['AIFF', 'AIFC'].includes(tagAt(view, 8))) return null;
  const { COMM: form, SSND: sound } = chunksOf(view);
  if (!form || !sound || form.nBytes < 18 || sound.nBytes < 8) return null;
  const format = FORMATS[tagAt(view, 8) === 'AIFC' ? tagAt(view, form.start + 18) : 'NONE'];
  const nChannels = view.getUint16(form.start);
  const sampleBytes = Math.ceil(view.getUint16(form.start + 6) / 8);
  if (!format || !nChannels || sampleBytes < 1 || sampleBytes > 4) return null;
  const start = sound.start + 8 + view.getUint32(sound.start);
  const end = sound.start + sound.nBytes;
  const samples = new Uint8Array(buffer.slice(start, end - ((end - start) % (nChannels * sampleBytes))));
  if (sampleBytes === 1) toUnsigned(samples);
  else if (format !== 'little') reverse(samples, sampleBytes);
  const wavFormat = format === 'float' ? WAV_FLOATS : WAV_INTEGERS;
  const header = headerOf(wavFormat, nChannels, sampleBytes, rateAt(view, form.start + 8), samples.length);
  return new Blob([header, samples], { type: 'audio/wav' });
}

const tagAt = (view, place) => String.fromCharCode(...new Uint8Array(view.buffer, place, 4));

function chunksOf(view) {
  const chunks = {};
  for (let place = 12; place + 8 <= view.byteLength;) {
    const nBytes = view.getUint32(place + 4);
    chunks[tagAt(view, place)] ??= { start: place + 8, nBytes: Math.min(nBytes, view.byteLength - place - 8) };
    place += 8 + nBytes + (nBytes % 2);
  }
  return chunks;
}

// Of an 80-bit float, the 32 bits that any rate has.
const rateAt = (view, place) => Math.round(view.getUint32(place + 2) * 2 ** ((view.getUint16(place) & 0x7fff) - 16383 - 31));

function toUnsigned(samples) {
  for (let place = 0; place < samples.length; place += 1) samples[place] ^= 0x80;
}

function reverse(samples, sampleBytes) {
  for (let place = 0; place < samples.length; place += sampleBytes) {
    samples.subarray(place, place + sampleBytes).reverse();
  }
}

function headerOf(format, nChannels, sampleBytes, rateHz, nBytes) {
  const header = new DataView(new ArrayBuffer(HEADER_BYTES));
  const frameBytes = nChannels * sampleBytes;
  const tags = { 0: 'RIFF', 8: 'WAVE', 12: 'fmt ', 36: 'data' };
  const longs = { 4: nBytes + 36, 16: 16, 24: rateHz, 28: rateHz * frameBytes, 40: nBytes };
  const shorts = { 20: format, 22: nChannels, 32: frameBytes, 34: 8 * sampleBytes };
  for (const [place, tag] of Object.entries(tags)) new Uint8Array(header.buffer, Number(place)).set(new TextEncoder().encode(tag));
  for (const [place, value] of Object.entries(longs)) header.setUint32(Number(place), value, true);
  for (const [place, value] of Object.entries(shorts)) header.setUint16(Number(place), value, true);
  return header;
}
