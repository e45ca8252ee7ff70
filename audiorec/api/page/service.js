// The service that this page came from: requests with the key, and errors in its own words.

const BASE = new URL('..', import.meta.url);
const KEY_NAME = `audiorec key ${BASE.pathname}`;

export class ServiceError extends Error {
  constructor(message, { status = 0, code = '', requestId = '', retryAfterS = null } = {}) {
    super(message);
    Object.assign(this, { status, code, requestId, retryAfterS });
  }
}

export const urlOf = (path) => new URL(path, BASE).href;

export const key = {
  get: () => sessionStorage.getItem(KEY_NAME),
  set: (value) => sessionStorage.setItem(KEY_NAME, value),
  forget: () => sessionStorage.removeItem(KEY_NAME),
};

export const clipPath = (clipId) => `clips/${clipId.split('/').map(encodeURIComponent).join('/')}`;

export const soundPath = (clipId) => `${clipPath(clipId)}/sound`;

export async function request(path, { headers = {}, ...options } = {}) {
  const shown = key.get();
  const response = await fetch(urlOf(path), {
    ...options,
    headers: shown ? { ...headers, 'X-API-Key': shown } : headers,
  }).catch((error) => {
    if (error.name === 'AbortError') throw error;
    const cause = options.body instanceof Blob ? ', or has refused a file of this size' : '';
    throw new ServiceError(`No answer came: the service may be down${cause}.`);
  });
  if (!response.ok) throw await errorOf(response);
  return response;
}

export const askJson = async (path, options) => (await request(path, options)).json();

export function postJson(path, body, signal) {
  return askJson(path, {
    method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' }, signal,
  });
}

async function errorOf(response) {
  const { error = {} } = await response.json().catch(() => ({}));
  const retryAfter = response.headers.get('Retry-After');
  return new ServiceError(error.message ?? `got HTTP ${response.status}, expected an answer of audiorec`, {
    status: response.status,
    code: error.code,
    requestId: error.request_id ?? response.headers.get('X-Request-Id') ?? '',
    retryAfterS: /^\d+$/.test(retryAfter ?? '') ? Number(retryAfter) : null,
  });
}
